"""Malformed headers, found by bench/fuzz."""

from __future__ import annotations

import contextlib
import io
import logging
import socket
import threading
from typing import TYPE_CHECKING

import pytest
import structlog

from bench.fuzz.canned import Silent
from exporter.clock import SystemClock
from exporter.config import Secret, ServerConfig
from exporter.daemon.logs import set_up_logging
from exporter.dify import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "dataset-nobody-may-see-this"
ANSWER = b"HTTP/1.1 200 OK\r\nno header\r\nset-cookie: x-token=%s\r\nContent-Length: 2\r\n\r\n{}" % KEY.encode()


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that is logged at level debug, with the exporter's logging setup."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    with contextlib.redirect_stderr(stream):
        set_up_logging("debug", "logfmt")
        yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_unreadable_headers_are_not_logged(log: io.StringIO) -> None:
    """The library would log malformed headers verbatim, and Dify returns the API key in one."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_serve, args=(listening,))
        thread.start()
        server = ServerConfig(
            "main", f"http://127.0.0.1:{listening.getsockname()[1]}/v1", api_key=Secret(KEY), timeout=5.0
        )
        client = Client(server, observer=Silent(), clock=SystemClock(), user_agent="test")
        with contextlib.suppress(Exception):
            client.documents("a", "indexing")
        client.close_connections()
        thread.join()

    assert "" == log.getvalue()


def _serve(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.recv(4_096)
        connection.sendall(ANSWER)
