"""Sends inputs to the real web server over a socket, as everything that a client sends."""

from __future__ import annotations

import base64
import http.client
import itertools
import logging
import os
import re
import shutil
import socket
import tempfile
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.fuzz.canned import check, seeds
from bench.fuzz.files import HASH
from exporter.metrics import Exposition, SelfMetrics
from exporter.web import ExporterStatus, WebConfigFile, WebServer, create_app

if TYPE_CHECKING:
    from starlette.types import ASGIApp

TIMEOUT: Final = 10.0
"""Seconds until a server that neither answers nor closes is called stuck."""

LOOKED_AFTER_EVERY: Final = 200
MOST_DESCRIPTORS: Final = 64

_STATUS = re.compile(rb"HTTP/1\.1 (\d\d\d) ")


class Request:
    """Two servers in turn: one without authentication, one with a password."""

    separator = b"\r\n"

    def __init__(self) -> None:
        self.seeds = [*seeds("request"), b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"]
        user = base64.b64encode(b"prometheus:right")
        self.words = (
            *(
                b"GET ",
                b"POST ",
                b"HEAD ",
                b"OPTIONS ",
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                b" HTTP/1.1",
                b" HTTP/1.0",
            ),
            *(b"/metrics", b"/-/healthy", b"/-/ready", b"/-/reload", b"/", b"//", b"/%2e%2e/", b"/%00", b"/\xff", b"*"),
            *(b"Host: x\r\n", b"Accept: ", b"application/openmetrics-text;version=1.0.0;q=", b"q=0.5,", b"text/plain;"),
            *(b"Accept-Encoding: gzip;q=1.0, *;q=", b"Connection: keep-alive\r\n", b"Connection: Upgrade\r\n"),
            *(
                b"Upgrade: websocket\r\n",
                b"Content-Length: ",
                b"18446744073709551616",
                b"Transfer-Encoding: chunked\r\n",
            ),
            *(
                b"Expect: 100-continue\r\n",
                b"ffffffffffffffff\r\n",
                b"0\r\n\r\n",
                b"\r\n\r\n",
                b"Authorization: Basic ",
            ),
            *(user, b"Authorization: Bearer x\r\n", b"Range: bytes=0-\r\n", b"http://other/metrics"),
        )
        self._folder = Path(tempfile.mkdtemp())
        web = self._folder / "web.yaml"
        web.write_text(f"basic_auth_users: {{prometheus: {HASH.decode()}}}\n", encoding="ascii")
        self._faults: list[str] = []
        self._handler = _Ear(self._faults)
        logging.getLogger().addHandler(self._handler)
        self._reports = threading.excepthook
        threading.excepthook = lambda fault: self._faults.append(repr(fault.exc_value))
        self_metrics = SelfMetrics()
        application = _application(Exposition(self_metrics=self_metrics, document_name=True))
        self._servers = [
            WebServer(application, "127.0.0.1:0"),
            WebServer(application, "127.0.0.1:0", web_config=WebConfigFile(web)),
        ]
        for server in self._servers:
            server.start()
        self._turns = itertools.cycle(self._servers)
        self._taken = 0

    def take(self, data: bytes) -> str:
        """Send the input, shut down the sending side, and read until the server closes."""
        answer = _converse(next(self._turns).port, data)
        check(not self._faults, "\n".join(self._faults))
        check(not answer or answer.startswith(b"HTTP/1.1 "), f"not an HTTP answer: {answer[:100]!r}")
        statuses = _STATUS.findall(answer)
        check(b"500" not in statuses, "500")
        self._taken += 1
        if self._taken % LOOKED_AFTER_EVERY == 0:
            self._look_after()
        return b" ".join(sorted(set(statuses))).decode() + f" {len(answer).bit_length()}"

    def close(self) -> None:
        """Stop the servers."""
        for server in self._servers:
            check(server.stop(), "the web server did not stop")
        threading.excepthook = self._reports
        logging.getLogger().removeHandler(self._handler)
        shutil.rmtree(self._folder)

    def _look_after(self) -> None:
        """Check that a scrape still works and no descriptor is leaked."""
        for server, status in zip(self._servers, (200, 401), strict=True):
            with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)) as connection:
                connection.request("GET", "/metrics")
                check(connection.getresponse().status == status, "a scrape returns another status")
        descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 names only
        check(descriptors < MOST_DESCRIPTORS, f"{descriptors} file descriptors are open")


class _Ear(logging.Handler):
    """Collects errors that the server caught."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._faults = faults

    def emit(self, record: logging.LogRecord) -> None:
        """Store the error."""
        self._faults.append(self.format(record))


def _application(exposition: Exposition) -> ASGIApp:
    return create_app(exposition.page, ExporterStatus(), telemetry_path="/metrics")


def _converse(port: int, data: bytes) -> bytes:
    parts = []
    with closing(socket.create_connection(("127.0.0.1", port), TIMEOUT)) as connection:
        # A server that has heard enough may close before all is sent.
        with suppress(ConnectionError, BrokenPipeError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while part := connection.recv(65_536):
                parts.append(part)
    return b"".join(parts)
