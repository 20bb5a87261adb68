"""Starting, stopping and handling misbehaving clients."""

from __future__ import annotations

import asyncio
import http.client
import logging
import socket
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from exporter.web import ListenError, WebServer
from exporter.yamlconf import Invalid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from tests.web.conftest import FakeExposition, StartApp, StartServer

hello = PlainTextResponse("hello")


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")


def _send(port: int, request: bytes) -> bytes:
    """Send raw bytes and return what the server sends until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(65_536), b""))


def test_port_in_use(start_server: StartServer) -> None:
    """A port in use raises one clear error in the calling thread and leaves no thread behind."""
    port = start_server(hello).port
    threads = threading.active_count()
    second = WebServer(hello, f"127.0.0.1:{port}")

    with pytest.raises(
        ListenError, match=rf"^cannot listen on 127\.0\.0\.1:{port}: address already in use; "
    ) as caught:
        second.start()

    assert "\n" not in str(caught.value)
    assert threads == threading.active_count()
    assert second.stop()


def test_bad_address() -> None:
    """An invalid address is refused before anything is opened."""
    with pytest.raises(Invalid, match="write host:port"):
        WebServer(hello, "9439")


def test_port_before_and_after_start(start_server: StartServer) -> None:
    """Before the start the port is that of the address, afterwards the real one."""
    assert 9439 == WebServer(hello, ":9439").port
    assert start_server(hello).port > 0


@pytest.mark.parametrize(
    ("address", "hosts"),
    [
        ("127.0.0.1:0", ["127.0.0.1"]),
        ("0.0.0.0:0", ["127.0.0.1"]),
        (":0", ["127.0.0.1"]),
        pytest.param(":0", ["127.0.0.1", "::1"], marks=needs_ipv6),
        pytest.param("[::]:0", ["127.0.0.1", "::1"], marks=needs_ipv6),
        pytest.param("[::1]:0", ["::1"], marks=needs_ipv6),
        ("localhost:0", ["localhost"]),
    ],
)
def test_address_forms(start_server: StartServer, address: str, hosts: list[str]) -> None:
    """Every notation of an address is reachable where expected."""
    port = start_server(hello, address).port

    for host in hosts:
        with closing(http.client.HTTPConnection(host, port, timeout=60)) as connection:
            connection.request("GET", "/")
            assert b"hello" == connection.getresponse().read()


def test_stop_closes_connections(start_server: StartServer) -> None:
    """After the stop nothing listens and the thread has ended; idle connections do not delay the stop."""
    server = start_server(hello)
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as idle:
        idle.request("GET", "/")
        idle.getresponse().read()
        half = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        half.sendall(b"GET / HT")
        began = time.monotonic()

        assert server.stop(60)

        assert time.monotonic() - began < 30
        assert b"" == half.recv(1)
        half.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=60)
    assert "web" not in {thread.name for thread in threading.enumerate()}


def test_stop_twice_and_before_start() -> None:
    """Stopping is always allowed."""
    server = WebServer(hello, "127.0.0.1:0")

    assert server.stop()
    server.start()
    assert server.stop()
    assert server.stop()


def test_stop_lets_answers_finish(start_app: StartApp, exposition: FakeExposition) -> None:
    """An answer in progress at the stop is sent completely."""
    exposition.gate.clear()
    client = start_app()
    bodies: list[bytes] = []
    scrape = threading.Thread(target=lambda: bodies.append(client.request("/metrics").body))
    scrape.start()
    assert exposition.entered.wait(60)

    stop = threading.Thread(target=client.server.stop)
    stop.start()
    _wait_until_refused(client.server.port)
    exposition.gate.set()
    stop.join(60)
    scrape.join(60)

    assert [exposition.text] == bodies


def _wait_until_refused(port: int) -> None:
    """Wait until nothing listens on the port."""
    for _ in range(1_000):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=60).close()
        except ConnectionRefusedError:
            return
        threading.Event().wait(0.01)
    pytest.fail("still listening")


async def _stream(_request: Request) -> StreamingResponse:
    """Send as long as the client reads."""
    return StreamingResponse(_endless())


async def _endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 65_536
        await asyncio.sleep(0)


def test_stop_disconnects_clients_that_do_not_read(start_server: StartServer, caplog: pytest.LogCaptureFixture) -> None:
    """An endless answer is cut off: the stop respects its timeout and leaves no connection open."""
    server = start_server(Starlette(routes=[Route("/", _stream)]))
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"H" == client.recv(1)
        began = time.monotonic()

        assert server.stop(1.5)

        assert time.monotonic() - began < 1.5
        rest = b"".join(iter(lambda: client.recv(1 << 20), b""))
    assert not rest.endswith(b"0\r\n\r\n")
    assert "" == caplog.text


@pytest.mark.parametrize("request_", [b"hello\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"], ids=["no HTTP", "TLS"])
def test_malformed_requests(start_server: StartServer, request_: bytes) -> None:
    """A malformed request gets 400 and has no other effect."""
    port = start_server(hello).port

    assert _send(port, request_).startswith(b"HTTP/1.1 400 ")
    assert _send(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").endswith(b"hello")


def test_requests_are_not_logged(start_server: StartServer, caplog: pytest.LogCaptureFixture) -> None:
    """Start, requests and stop log nothing, and answers do not name the server software."""
    caplog.set_level(logging.DEBUG)
    server = start_server(hello)

    answer = _send(server.port, b"GET /?key=secret HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    server.stop()

    assert b"uvicorn" not in answer.lower()
    assert [] == [record for record in caplog.records if record.name.startswith("uvicorn")]


def test_environment_is_not_read(start_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment variables of uvicorn have no effect."""
    monkeypatch.setenv("WEB_CONCURRENCY", "many")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")

    assert start_server(hello).port > 0


def test_failing_start(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A server that fails to start raises in the calling thread, logs the reason and frees the port."""

    async def startup(*_args: object) -> None:
        raise OSError("no more file descriptors")

    monkeypatch.setattr(uvicorn.Server, "startup", startup)
    server = WebServer(hello, "127.0.0.1:0")

    with pytest.raises(RuntimeError, match="did not start"):
        server.start()

    assert "no more file descriptors" in caplog.text
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=60)
