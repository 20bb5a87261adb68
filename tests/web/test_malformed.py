"""Malformed and unusual requests; some of them were found by bench/fuzz."""

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


def _exchange(port: int, *parts: bytes) -> bytes:
    """All bytes that the server sends until it closes the connection."""
    received = b""
    with closing(socket.create_connection(("127.0.0.1", port), 30)) as connection, suppress(ConnectionError):
        for part in parts:
            connection.sendall(part)
        while data := connection.recv(65_536):
            received += data
    return received


def _status(answer: bytes) -> int:
    return int(answer.split(b" ")[1])


END = b"Host: x\r\n\r\n"
CLOSE = b"Connection: close\r\n" + END


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /-/healthy HTTP/1.1\r\n" + CLOSE, 200),
        (b"GET /-/healthy HTTP/1.0\r\n" + END, 200),
        (b"GET /-/healthy HTTP/2.0\r\n" + END, 505),
        (b"GET /-/healthy HTTP/0.9\r\n" + END, 505),
        (b"PRI * HTTP/2.0\r\n\r\n", 505),
        (b"GET /-/healthy HTTP/1.1\n" + END, 400),
        (b"GET /-/healthy HTTP/1.1\r\nHost: x\n\n", 400),
        (b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\n", 400),
        (b"GET /-/healthy HTTP/1.1\r\nA: b\rC: d\r\n" + END, 400),
        (b"GET /-/healthy HTTP/1.1\r\nA: b\r\n c\r\n" + END, 400),
        (b"GET /-/healthy HTTP/1.1\r\n A: b\r\n" + END, 400),
        (b"GET /-/healthy HTTP/1.1\r\nA : b\r\n" + END, 400),
        (b"POST /-/healthy HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n" + END, 400),
        (b"POST /-/healthy HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n" + END, 400),
        (b"POST /-/healthy HTTP/1.1\r\nTransfer-Encoding: gzip\r\n" + END, 501),
        (b"GET /-/healthy HTTP/1.1\r\nA: %s\r\n" % (b"a" * 16_000) + CLOSE, 200),
        (b"GET /-/healthy HTTP/1.1\r\nA: %s\r\n" % (b"a" * 17_000) + END, 431),
        (b"GET /-/healthy HTTP/1.1\r\nA: %s\r\n" % (b"a" * 200_000) + END, 431),
        (b"GET /-/healthy HTTP/1.1\r\n%s" % (b"A: b\r\n" * 20_000), 431),
        (b"GET /%s HTTP/1.1\r\n" % (b"a" * 17_000) + END, 431),
    ],
)
def test_requests_follow_the_standard(start_app: StartApp, request_bytes: bytes, status: int) -> None:
    """What two parsers may read differently is refused, and the connection closed."""
    answer = _exchange(start_app().server.port, request_bytes)

    assert status == _status(answer)
    assert 1 == answer.count(b"HTTP/1.1 ")
    assert b"connection: close" in answer.lower()


def test_head_in_small_parts(start_app: StartApp) -> None:
    """Checks do not depend on where the network divides a request."""
    whole = b"GET /-/healthy HTTP/1.1\r\nA: b\r\n" + CLOSE

    answer = _exchange(start_app().server.port, *(whole[at : at + 1] for at in range(len(whole))))

    assert 200 == _status(answer)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"http://exporter:9439/-/healthy", 200),
        (b"HTTP://[::1]:9439/-/healthy?x=http://y/", 200),
        (b"https://exporter/-/healthy", 200),
        (b"http://exporter", 200),
        (b"http://exporter?x", 200),
        (b"http:///-/healthy", 404),
        (b"ftp://exporter/-/healthy", 404),
        (b"//exporter/-/healthy", 404),
        (b"/http://exporter/-/healthy", 404),
    ],
)
def test_absolute_targets(start_app: StartApp, target: bytes, status: int) -> None:
    """A client that takes the exporter for a proxy sends whole URLs: their path counts, whatever the host is."""
    answer = _exchange(start_app().server.port, b"GET %s HTTP/1.1\r\n" % target + CLOSE)

    assert status == _status(answer)


def test_chunked_request_ends_its_connection(start_app: StartApp) -> None:
    """After a body in chunks no further request is read: trailers could be understood in two ways."""
    chunked = b"GET /-/healthy HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + END + b"0\r\n\n\r\n"

    answer = _exchange(start_app().server.port, chunked + b"GET /-/ready HTTP/1.1\r\n" + END)

    assert 1 == answer.count(b"HTTP/1.1 200")
