"""The API over HTTP/1.1 on its own thread: keep-alive, a connection limit, latency, and every kind of failure."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from email.utils import formatdate
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, Self, cast

from exporter.simulator.api import ControlApi

if TYPE_CHECKING:
    from exporter.simulator.api import Api
    from exporter.simulator.faults import Response

_HEAD_LIMIT = 65_536
_BODY_LIMIT = 1_048_576
_CHUNK = b" " * 65_536


class SimulatorServer:
    """Serves an ``Api`` until stopped; usable as a context manager.

    ``port`` 0: any free port. ``latency``: seconds before each answer. ``connections``: how many are served
    concurrently (None: no limit); further ones wait, as in a backlog. ``idle``: seconds after which an idle connection
    is closed.
    """

    def __init__(
        self,
        api: Api,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        latency: float = 0.0,
        connections: int | None = 10,
        idle: float = 2.0,
    ) -> None:
        self.api = api
        self.control = ControlApi(api)
        self.host = host
        self.port = port
        self.latency = latency
        self.connections = connections
        self.idle = idle
        self.opened = 0
        self.peak = 0
        self.loop = asyncio.new_event_loop()
        self.serving: set[_Connection] = set()
        self.waiting: deque[_Connection] = deque()
        self._thread = threading.Thread(target=self._run, name="simulator", daemon=True)
        self._stopped = False
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The base URL, ending in ``/v1``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/v1"

    def start(self) -> None:
        """Listen. Raises ``OSError`` if the address is not available."""
        try:
            self._server = self.loop.run_until_complete(
                self.loop.create_server(lambda: _Connection(self), self.host, self.port, backlog=512)
            )
        except OSError:
            self.loop.close()
            raise
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread.start()

    def stop(self) -> None:
        """Close the socket and every connection. Does nothing if the server is not running."""
        if self._server is None or self._stopped:
            return
        self._stopped = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        self.loop.run_forever()
        self.loop.run_until_complete(self._close())
        self.loop.close()

    async def _close(self) -> None:
        cast("asyncio.Server", self._server).close()
        for connection in (*self.serving, *self.waiting):
            connection.abort()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)

    def admit(self, connection: _Connection) -> bool:
        """Admit a connection, or queue it until there is room."""
        if self.connections is not None and len(self.serving) >= self.connections:
            self.waiting.append(connection)
            return False
        self.serving.add(connection)
        self.opened += 1
        self.peak = max(self.peak, len(self.serving))
        return True

    def remove(self, connection: _Connection) -> None:
        """Remove a connection and admit the next one that waits."""
        self.serving.discard(connection)
        with contextlib.suppress(ValueError):
            self.waiting.remove(connection)
        while self.waiting and (self.connections is None or len(self.serving) < self.connections):
            following = self.waiting.popleft()
            if self.admit(following):
                following.serve()


class _Connection(asyncio.Protocol):
    """One connection: reads and answers one request at a time."""

    def __init__(self, server: SimulatorServer) -> None:
        self._server = server
        self._buffer = b""
        self._busy = True
        self._keep_alive = True
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._writable.set()
        self._local = ip_address(self._transport.get_extra_info("peername")[0].partition("%")[0]).is_loopback
        if self._server.admit(self):
            self.serve()
        else:
            self._transport.pause_reading()

    def serve(self) -> None:
        """Start reading."""
        self._transport.resume_reading()
        self._await_request()

    def abort(self) -> None:
        """Abort the connection."""
        self._transport.abort()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, _error: Exception | None) -> None:
        self._writable.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        self._server.remove(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._busy:
            self._read()

    def _await_request(self) -> None:
        """Wait for the next request; close the connection if none arrives in time."""
        self._busy = False
        self._timer = self._server.loop.call_later(self._server.idle, self._transport.close)
        if self._buffer:
            self._read()

    def _read(self) -> None:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            if len(head) > _HEAD_LIMIT:
                self._transport.close()
            return
        request, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = headers.get("content-length", "0")
        parts = request.split(" ")
        if len(parts) != 3 or not length.isdigit() or int(length) > _BODY_LIMIT:  # noqa: PLR2004 -- method, target, version
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self._transport.close()
            return
        if len(rest) < int(length):
            return
        self._buffer = rest[int(length) :]
        self._busy = True
        if self._timer is not None:
            self._timer.cancel()
        self._keep_alive = headers.get("connection", "").lower() != "close" and parts[2] != "HTTP/1.0"
        self._respond(parts[0], parts[1], headers, rest[: int(length)])

    def _respond(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        path, _, query = target.partition("?")
        if path.startswith("/_simulator/") and self._local:
            response = self._server.control.handle(method, path, body)
            latency = 0.0
        else:
            response = self._server.api.handle(method, path, query, headers)
            latency = self._server.latency + response.delivery.delay
        if latency > 0:
            self._timer = self._server.loop.call_later(latency, self._send, method, response)
        else:
            self._send(method, response)

    def _send(self, method: str, response: Response) -> None:
        delivery = response.delivery
        if delivery.cut == "before":
            self._transport.abort()
            return
        if delivery.interim:
            self._transport.write(_interim(delivery.interim))
        head = _head(response, keep_alive=self._keep_alive)
        body = b"" if method == "HEAD" else response.body
        if delivery.cut:
            whole = head if delivery.cut == "headers" else head + body
            keep = len(head) // 2 if delivery.cut == "headers" else len(head) + len(body) // 2
            self._transport.write(whole[:keep])
            self._transport.close()
        elif delivery.drip or (delivery.filler and body):
            stream = self._stream(head + body, delivery.drip, delivery.filler if body else 0)
            self._task = self._server.loop.create_task(stream)
        else:
            self._transport.write(head + body)
            self._finish()

    def _finish(self) -> None:
        if self._keep_alive:
            self._await_request()
        else:
            self._transport.close()

    async def _stream(self, data: bytes, drip: float, filler: int) -> None:
        """Send slowly, or send a large body."""
        if drip:
            for offset in range(len(data)):
                self._transport.write(data[offset : offset + 1])
                await asyncio.sleep(drip)
        else:
            self._transport.write(data)
        while filler > 0:
            await self._writable.wait()
            self._transport.write(_CHUNK[:filler])
            filler -= len(_CHUNK)
            await asyncio.sleep(0)
        self._task = None
        self._finish()


def _head(response: Response, *, keep_alive: bool) -> bytes:
    """The status line and the headers."""
    delivery = response.delivery
    length = len(response.body) + delivery.filler if delivery.length is None else delivery.length
    lines = [
        _status_line(response.status),
        f"Date: {formatdate(usegmt=True)}",
        f"Connection: {'keep-alive' if keep_alive else 'close'}",
        *(f"{name}: {value}" for name, value in response.headers),
        f"Content-Length: {length}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", errors="replace")


def _interim(status: int) -> bytes:
    """An interim response, as a proxy sends it before the answer."""
    return f"{_status_line(status)}\r\nLink: </style.css>; rel=preload\r\n\r\n".encode("latin-1")


def _status_line(status: int) -> str:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    return f"HTTP/1.1 {status} {phrase}"
