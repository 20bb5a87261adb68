"""Slow, silent or many clients: each is disconnected in time without affecting others."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import http.client
import logging
import resource
import socket
import ssl
import threading
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from exporter.web import ClientTimeouts
from exporter.web.connections import (
    MAX_CONNECTIONS,
    ClientConnections,
    ConnectionState,
    ListeningSocket,
    max_connections,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.requests import Request

    from exporter.web import WebServer
    from tests.web.conftest import FakeExposition, LoadWebConfig, StartApp, StartServer

hello = PlainTextResponse("hello")
SHORT_TIMEOUTS = ClientTimeouts(head=0.4, idle=120, stall=0.4, answer=120.0)
PATIENT = ClientTimeouts(head=120.0, idle=120, stall=2.0, answer=120.0)
STEADY = ClientTimeouts(head=120.0, idle=120, stall=120.0, answer=120.0)
SOON = 30.0
"""Seconds in which even a busy machine does what does not wait for one of the longer timeouts."""
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
REQUEST_AND_CLOSE = b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
LARGE = b"x" * 32_000_000


async def _large(_request: Request) -> Response:
    return Response(LARGE)


async def _endless(_request: Request) -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536
            await asyncio.sleep(0)

    return StreamingResponse(chunks())


answers = Starlette(routes=[Route("/", _endless), Route("/large", _large)])


@contextlib.contextmanager
def connect(port: int, sent: bytes = b"", *, host: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A connection from ``host`` with a small receive buffer that has sent some bytes."""
    with socket.socket() as client:
        client.settimeout(60)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.bind((host, 0))
        client.connect(("127.0.0.1", port))
        client.sendall(sent)
        yield client


def read_hello(client: socket.socket, times: int = 1) -> None:
    """Read until the given number of answers has arrived."""
    received = b""
    while received.count(b"hello") < times:
        chunk = client.recv(65_536)
        assert chunk, received
        received += chunk


def seconds_until_closed(client: socket.socket, began: float) -> float:
    """Seconds from ``began`` until the server closes the connection, ignoring received data."""
    with contextlib.suppress(ConnectionResetError):
        while client.recv(1 << 20):
            pass
    return time.monotonic() - began


def wait_until_at_most(server: WebServer, connections: int) -> None:
    """Wait until the server has no more connections, by its own count and by uvicorn's."""
    assert server._server is not None
    deadline = time.monotonic() + SOON
    while max(len(server._connections), len(server._server.server_state.connections)) > connections:
        assert time.monotonic() < deadline, len(server._connections)
        threading.Event().wait(0.01)


def wait_until_no_answer_is_written(server: WebServer) -> None:
    """Wait until every connection waits for its client."""
    while ConnectionState.ANSWERING in [each.state for each in tuple(server._connections._open.values())]:
        threading.Event().wait(0.01)


def wait_until_nobody(server: WebServer) -> None:
    """Wait until the server has no connection."""
    wait_until_at_most(server, 0)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", REQUEST[:-2]], ids=["nothing", "half a line", "no end"])
def test_request_that_never_ends(start_server: StartServer, sent: bytes) -> None:
    """The time for a request's head is limited."""
    server = start_server(hello, timeouts=SHORT_TIMEOUTS)
    began = time.monotonic()

    with connect(server.port, sent) as client:
        assert 0.3 < seconds_until_closed(client, began) < SOON
    wait_until_nobody(server)


def test_request_byte_by_byte(start_server: StartServer) -> None:
    """Sending byte by byte does not extend the time."""
    server = start_server(hello, timeouts=SHORT_TIMEOUTS)
    began = time.monotonic()

    with connect(server.port, b"GET / HTTP/1.1\r\nX: ") as client, contextlib.suppress(OSError):
        while time.monotonic() - began < SOON:
            client.sendall(b"x")
            threading.Event().wait(0.05)

    assert 0.3 < time.monotonic() - began < SOON


def test_second_request_and_body_byte_by_byte(start_server: StartServer) -> None:
    """An unexpected body or a following request gets no more time than a first head."""
    server = start_server(hello, timeouts=SHORT_TIMEOUTS)
    began = time.monotonic()

    with connect(server.port, REQUEST.replace(b"\r\n\r\n", b"\r\nContent-Length: 1000\r\n\r\n")) as client:
        read_hello(client)
        with contextlib.suppress(OSError):
            while time.monotonic() - began < SOON:
                client.sendall(b"x")
                threading.Event().wait(0.05)

    assert 0.3 < time.monotonic() - began < SOON


def test_idle_connection(start_server: StartServer) -> None:
    """An idle connection may last longer than a head, and is then closed gracefully."""
    server = start_server(hello, timeouts=replace(SHORT_TIMEOUTS, idle=1))
    began = time.monotonic()

    with connect(server.port, REQUEST) as client:
        read_hello(client)
        assert 0.8 < seconds_until_closed(client, began) < SOON


def test_pipelined_requests(start_server: StartServer) -> None:
    """Pipelined requests are answered in order."""
    server = start_server(hello, timeouts=SHORT_TIMEOUTS)

    with connect(server.port, REQUEST * 50) as client:
        read_hello(client, 50)
    wait_until_nobody(server)


@pytest.mark.parametrize(
    "sent",
    [
        REQUEST,
        REQUEST.replace(b"/ ", b"/large "),
        REQUEST_AND_CLOSE,
    ],
    ids=["endless", "large", "large, then close"],
)
def test_answer_that_is_not_read(start_server: StartServer, sent: bytes) -> None:
    """A client that reads nothing of its answer is disconnected, also after all of it was handed over."""
    server = start_server(answers, timeouts=SHORT_TIMEOUTS)

    with connect(server.port, sent) as client:
        assert b"HTTP/1.1 200" == client.recv(12)
        wait_until_nobody(server)
        seconds_until_closed(client, 0.0)
    assert server._server is not None
    assert set() == server._server.server_state.tasks


def test_slow_but_steady_reader(start_server: StartServer) -> None:
    """A client that reads its answer slowly but steadily gets all of it."""
    server = start_server(answers, timeouts=PATIENT)
    with connect(server.port, REQUEST_AND_CLOSE) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        received = 0
        while chunk := client.recv(1 << 18):
            received += len(chunk)
            threading.Event().wait(0.025)

    assert received > len(LARGE)


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "TLS"])
def test_slow_reader_of_an_endless_answer(
    start_server: StartServer, load_web_config: LoadWebConfig, *, encrypted: bool
) -> None:
    """Even very small reads count as progress, also with TLS, before the client is disconnected."""
    web_config = (
        load_web_config("tls_server_config: {cert_file: server.pem, key_file: server.key}") if encrypted else None
    )
    server = start_server(answers, web_config=web_config, timeouts=PATIENT)
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(connect(server.port))
        if encrypted:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            client = stack.enter_context(context.wrap_socket(client))
        client.sendall(REQUEST)
        end = time.monotonic() + 1.5 * PATIENT.stall
        while time.monotonic() < end:
            assert client.recv(1 << 14)
            threading.Event().wait(0.02)


def test_endless_answer(start_server: StartServer) -> None:
    """An answer has a time limit, however steadily it is read."""
    server = start_server(answers, timeouts=replace(STEADY, answer=0.5))
    began = time.monotonic()

    with connect(server.port, REQUEST) as client:
        assert 0.3 < seconds_until_closed(client, began) < SOON


def test_tls_handshake_that_never_ends(start_server: StartServer, load_web_config: LoadWebConfig) -> None:
    """A client that never completes the TLS handshake is disconnected like one that never completes its request."""
    web_config = load_web_config("tls_server_config: {cert_file: server.pem, key_file: server.key}")
    server = start_server(hello, web_config=web_config, timeouts=SHORT_TIMEOUTS)

    for sent in (b"", b"\x16\x03\x01\x02\x00"):
        began = time.monotonic()
        with connect(server.port, sent) as client:
            assert 0.3 < seconds_until_closed(client, began) < SOON
    with connect(server.port, b"rubbish"):
        wait_until_nobody(server)


@pytest.mark.parametrize("sent", [b"", REQUEST], ids=["silent", "do not read"])
def test_too_many_connections(start_server: StartServer, sent: bytes) -> None:
    """Beyond the limit slow clients are disconnected; new clients that send requests are served."""
    server = start_server(answers if sent else hello, limit=16, timeouts=STEADY)
    with contextlib.ExitStack() as clients:
        for _ in range(100):
            slow = clients.enter_context(connect(server.port, sent))
            if sent:
                with contextlib.suppress(OSError):
                    slow.recv(1)
        # A connection whose answer is still being written does not make room for a new one.
        wait_until_no_answer_is_written(server)
        began = time.monotonic()
        with connect(server.port, REQUEST) as client:
            assert b"HTTP/1.1 200" == client.recv(12)
        assert time.monotonic() - began < SOON
        assert len(server._connections) <= 20
        wait_until_at_most(server, 16)
    assert server._connections.evicted > 0


def test_many_connections_from_one_address(start_server: StartServer) -> None:
    """The address with the most connections loses one; other addresses keep theirs, however old."""
    server = start_server(hello, limit=8)
    with connect(server.port, REQUEST, host="127.0.0.2") as other, contextlib.ExitStack() as crowd:
        read_hello(other)
        for _ in range(50):
            crowd.enter_context(connect(server.port, b"GET"))
        other.sendall(REQUEST)
        read_hello(other)


def test_all_connections_answering(start_app: StartApp, exposition: FakeExposition) -> None:
    """When every connection waits for the exporter, none is closed: a new client is refused."""
    client = start_app(server={"limit": 2, "timeouts": STEADY})
    exposition.gate.clear()
    bodies: list[bytes] = []
    scrapes = [threading.Thread(target=lambda: bodies.append(client.request("/metrics").body)) for _ in range(2)]
    for each in scrapes:
        each.start()
    while [ConnectionState.ANSWERING] * 2 != [each.state for each in tuple(client.server._connections._open.values())]:
        threading.Event().wait(0.01)
    began = time.monotonic()
    with connect(client.server.port) as newcomer:
        assert seconds_until_closed(newcomer, began) < SOON
    exposition.gate.set()
    for each in scrapes:
        each.join(60)

    assert [exposition.text] * 2 == bodies


def test_burst(start_server: StartServer) -> None:
    """Hundreds of clients that connect and send requests at the same instant all get an answer."""
    server = start_server(hello)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(server.port, REQUEST)) for _ in range(300)]

        for client in clients:
            read_hello(client)


def test_out_of_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without free descriptors a slow client is disconnected; if there is none, asyncio waits for a second."""

    def accept(_self: socket.socket) -> tuple[socket.socket, object]:
        raise OSError(errno.EMFILE, "too many open files")

    connections = ClientConnections()
    with closing(ListeningSocket.adopt(socket.create_server(("127.0.0.1", 0)), connections)) as listener:
        here, there = socket.socketpair()
        with here, there:
            connections.add(here, "127.0.0.1")
            monkeypatch.setattr(socket.socket, "accept", accept)

            with pytest.raises(BlockingIOError):
                listener.accept()
            assert b"" == there.recv(1)
            with pytest.raises(OSError, match="too many open files"):
                listener.accept()


def test_closed_sockets_are_removed() -> None:
    """A connection whose socket was closed elsewhere is not counted and not closed again."""
    connections = ClientConnections(limit=1)
    first, second = socket.socketpair()
    connections.add(first, "a")
    first.close()
    connections.add(second, "b")
    assert (1, 0) == (len(connections), connections.evicted)
    second.close()
    connections.close_overdue()
    assert 0 == len(connections)


def test_limit_follows_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the file descriptors are for connections, within bounds."""
    for limit, most in ((64, 32), (4, 8), (1024, MAX_CONNECTIONS), (resource.RLIM_INFINITY, MAX_CONNECTIONS)):
        monkeypatch.setattr(resource, "getrlimit", lambda _which, limit=limit: (limit, limit))
        assert most == max_connections()


def test_malformed_requests_are_not_logged(start_server: StartServer, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing that a client sends is logged: neither malformed requests nor protocol upgrades."""
    caplog.set_level(logging.INFO)
    server = start_server(hello)

    for sent in (b"hello\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", REQUEST.replace(b"Host", b"Content-Length: x\r\nHost")):
        with connect(server.port, sent) as client:
            assert b"HTTP/1.1 400" == client.recv(12)
    with connect(server.port, REQUEST.replace(b"Host", b"Connection: upgrade\r\nUpgrade: websocket\r\nHost")) as client:
        assert b"HTTP/1.1 200" == client.recv(12)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        connection.request("GET", "/")
        assert b"hello" == connection.getresponse().read()

    assert [] == [record.getMessage() for record in caplog.records]
