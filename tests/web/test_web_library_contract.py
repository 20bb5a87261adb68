"""What exporter.web relies on below the public face of uvicorn and h11, for which pyproject.toml bounds versions."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import h11
import pytest
import uvicorn
from starlette.responses import StreamingResponse
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.web.authority import Certificate

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


async def _app(scope: Any, _receive: Any, send: Any) -> None:
    """Answers with the state of the request, in two parts."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": repr(scope["state"]).encode(), "more_body": True})
    await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b"."})


def _config(*, app: Any = _app, http: Any = "h11") -> uvicorn.Config:
    return uvicorn.Config(app, loop="asyncio", http=http, ws="none", lifespan="off", interface="asgi3", log_config=None)


class _Transport(asyncio.Transport):
    """Collects what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class _Protocol(H11Protocol):
    """Records the calls that ``HttpProtocol`` extends."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.calls: list[str] = []

    def on_response_complete(self) -> None:
        assert self.cycle.response_complete
        self.calls.append("complete")
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        self.calls.append(msg)

    def _unsupported_upgrade_warning(self) -> None:
        self.calls.append("upgrade")


def _connection(app: Any = _app) -> tuple[_Protocol, _Transport]:
    """A new connection with the arguments that uvicorn's server passes."""
    config = _config(app=app)
    config.load()
    protocol = _Protocol(config=config, server_state=ServerState(), app_state={}, _loop=None)
    transport = _Transport()
    protocol.connection_made(transport)
    return protocol, transport


async def _wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0)
    pytest.fail("the application has run, and the condition does not hold")


def test_progress_of_an_answer() -> None:
    """``HttpProtocol._answering``: ``cycle`` is None at first, and tells when its answer has begun and is complete."""

    async def main() -> None:
        protocol, transport = _connection()
        assert protocol.cycle is None
        protocol.data_received(REQUEST)
        assert (False, False) == (protocol.cycle.response_started, protocol.cycle.response_complete)
        await _wait_for(lambda: protocol.cycle.response_started)
        assert not protocol.cycle.response_complete
        await _wait_for(lambda: protocol.cycle.response_complete)
        assert ["complete"] == protocol.calls
        assert transport.written.startswith(b"HTTP/1.1 200 ")
        protocol.connection_lost(None)

    asyncio.run(main())


def test_next_request_in_the_same_bytes() -> None:
    """``HttpProtocol.on_response_complete``: uvicorn's starts the answer to a pipelined request before it returns."""

    async def main() -> None:
        protocol, _ = _connection()
        protocol.data_received(REQUEST * 2)
        first = protocol.cycle
        await _wait_for(lambda: first.response_complete)
        assert protocol.cycle is not first
        await _wait_for(lambda: protocol.cycle.response_complete)
        assert ["complete"] * 2 == protocol.calls
        protocol.connection_lost(None)

    asyncio.run(main())


def test_state_of_a_connection() -> None:
    """``HttpProtocol.connection_made``: ``app_state`` of a connection is the state of each of its requests."""

    async def main() -> None:
        protocol, transport = _connection()
        protocol.app_state = {**protocol.app_state, "authenticated": True}
        protocol.data_received(REQUEST)
        await _wait_for(lambda: protocol.cycle.response_complete)
        assert b"{'authenticated': True}" in transport.written
        protocol.connection_lost(None)

    asyncio.run(main())


def test_client_that_disconnects() -> None:
    """``scrape_endpoint``: the answer to a client that disconnects ends; with uvicorn 0.32 it does not."""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0)

    async def main() -> None:
        protocol, transport = _connection(StreamingResponse(endless()))
        protocol.data_received(REQUEST)
        await _wait_for(lambda: transport.written.endswith(b"x\r\n"))
        protocol.connection_lost(None)
        await _wait_for(lambda: not protocol.tasks)

    asyncio.run(main())


@pytest.mark.parametrize("sent", [b"rubbish\r\n\r\n", CHUNKED + b"5 and no chunk\r\n"], ids=["head", "body"])
def test_malformed_requests(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """``HttpProtocol``: malformed requests end in ``send_400_response``, after a warning to ``logger``."""

    async def main() -> None:
        protocol, _ = _connection()
        assert isinstance(protocol.logger, logging.Logger)
        protocol.data_received(sent)
        assert ["Invalid HTTP request received."] == protocol.calls
        if protocol.cycle is not None:
            protocol.cycle.disconnected = True  # what send_400_response sets to end the answer that has begun
            protocol.cycle.message_event.set()
            await _wait_for(lambda: not protocol.tasks)
        protocol.connection_lost(None)

    asyncio.run(main())

    assert [logging.WARNING] == [record.levelno for record in caplog.records]


def test_upgrades() -> None:
    """``HttpProtocol._unsupported_upgrade_warning``: all that an upgrade causes; the request is answered."""

    async def main() -> None:
        protocol, _ = _connection()
        protocol.data_received(REQUEST.replace(b"Host", b"Connection: upgrade\r\nUpgrade: websocket\r\nHost"))
        await _wait_for(lambda: protocol.cycle.response_complete)
        assert ["upgrade", "complete"] == protocol.calls
        protocol.connection_lost(None)

    asyncio.run(main())


class _Server(uvicorn.Server):
    """Records the calls that the server of exporter.web extends, and their times."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self.ticks: list[float] = []
        self.calls: list[tuple[str, bool]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.calls.append(("startup", self.started))
        self.ready.set()

    async def on_tick(self, counter: int) -> bool:
        self.ticks.append(time.monotonic())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.calls.append(("shutdown", self.should_exit))
        await super().shutdown(sockets)


class _Listener(socket.socket):
    """Counts the connections that it accepts; the first time it has none."""

    accepted = -1

    def accept(self) -> tuple[socket.socket, Any]:
        self.accepted += 1
        if not self.accepted:
            raise BlockingIOError
        return super().accept()


@contextmanager
def _running(config: uvicorn.Config) -> Iterator[tuple[_Server, _Listener]]:
    """Uvicorn on a free port in its own thread, as ``WebServer`` runs it."""
    opened = socket.create_server(("127.0.0.1", 0))
    listener = _Listener(opened.family, opened.type, opened.proto, fileno=opened.detach())
    server = _Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        assert server.ready.wait(60)
        yield server, listener
    finally:
        server.should_exit = True
        thread.join(60)
        listener.close()
    assert not thread.is_alive()


def _get(port: int, context: ssl.SSLContext | None = None) -> bytes:
    with ExitStack() as stack:
        client = stack.enter_context(socket.create_connection(("127.0.0.1", port), 60))
        if context:
            client = stack.enter_context(context.wrap_socket(client))
        client.sendall(REQUEST.replace(b"Host", b"Connection: close\r\nHost"))
        return b"".join(iter(lambda: client.recv(4096), b""))


def test_life_of_a_server() -> None:
    """``server._Server``: ``started`` after ``startup``, ``on_tick`` each 0.1 s, ``shutdown`` once ``should_exit``."""
    with _running(_config()) as (server, _):
        while len(server.ticks) < 3:
            threading.Event().wait(0.01)

    assert [("startup", True), ("shutdown", True)] == server.calls
    assert server.ticks[2] - server.ticks[0] > 0.15


def test_accepting() -> None:
    """``ListeningSocket.accept``: each connection comes from the given socket; after BlockingIOError it is retried."""
    with _running(_config()) as (_, listener):
        assert _get(listener.getsockname()[1]).startswith(b"HTTP/1.1 200 ")
        assert listener.accepted > 0


def test_protocol_and_tls_of_a_loaded_config(localhost: Certificate) -> None:
    """``WebServer``: ``http`` may be a factory; a loaded config may get a context, which is used per connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(localhost.certificate, localhost.key)
    wrapped: list[ssl.SSLObject] = []
    sockets: list[socket.socket | None] = []

    class Delegating(ssl.SSLContext):
        def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
            wrapped.append(context.wrap_bio(*arguments, **options))
            return wrapped[-1]

    class Protocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            assert transport.get_extra_info("socket").fileno() > 0
            assert not transport.get_extra_info("peercert")
            sockets.append(transport.get_extra_info("socket"))

    config = _config(http=partial(Protocol))
    config.load()
    config.ssl = Delegating(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    with _running(config) as (_, listener):
        port = listener.getsockname()[1]
        assert [b"HTTP/1.1 200 "] * 2 == [_get(port, client)[:13] for _ in range(2)]

    assert (2, 2) == (len(wrapped), len(sockets))


def test_h11_refuses_a_chunk_without_its_end() -> None:
    """``HttpProtocol``: h11 reads no request behind a malformed chunk, as versions before 0.16 do."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(CHUNKED + b"3\r\nabcXX0\r\n\r\n" + REQUEST)

    assert isinstance(connection.next_event(), h11.Request)
    assert isinstance(connection.next_event(), h11.Data)
    with pytest.raises(h11.RemoteProtocolError):
        connection.next_event()


def test_h11_limits_the_head() -> None:
    """``WebServer``: a request head may be 16 KiB long, h11's limit, which uvicorn does not change."""
    limits: dict[int, bool] = {}

    async def main() -> None:
        for size in (15_000, 17_000):
            protocol, _ = _connection()
            protocol.data_received(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * size)
            limits[size] = bool(protocol.calls)
            protocol.connection_lost(None)

    asyncio.run(main())

    assert {15_000: False, 17_000: True} == limits
