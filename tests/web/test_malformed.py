"""Requests that become malformed after their head, found by bench/fuzz."""

from __future__ import annotations

import logging
import socket
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.web.conftest import StartApp

CHUNKED = b"%s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
BROKEN = b"5 and no chunk\r\n"


@pytest.mark.parametrize("path", [b"GET /-/healthy", b"HEAD /-/healthy", b"GET /metrics", b"POST /nowhere"])
@pytest.mark.parametrize("together", [True, False], ids=["at once", "after the answer"])
def test_malformed_body_is_refused_and_not_logged(
    start_app: StartApp, caplog: pytest.LogCaptureFixture, path: bytes, together: bool
) -> None:
    """A malformed chunk causes a 400 before the answer or closes the connection after it began; neither is logged."""
    caplog.set_level(logging.WARNING)
    with closing(socket.create_connection(("127.0.0.1", start_app().server.port), 10)) as connection:
        connection.sendall(CHUNKED % path + (BROKEN if together else b""))
        answer = b"" if together else connection.recv(64)
        with suppress(ConnectionError):
            connection.sendall(b"" if together else BROKEN)
        with suppress(ConnectionError):
            while part := connection.recv(65_536):
                answer += part

    assert answer.startswith(b"HTTP/1.1 400 " if together else b"HTTP/1.1 ")
    assert [] == [record.getMessage() for record in caplog.records]
