"""Gates to the embedded Dify that a test can break: TCP listeners that forward connections or run a script."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Self

    Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

T = TypeVar("T")


@dataclass(frozen=True)
class Way:
    """The behaviour of a gate. ``script``: handles each connection; None: the gate forwards it.

    ``tls``: the TLS context of the gate. ``proxy``: the gate is an HTTP proxy that sends every host's requests to the
    embedded Dify. ``shut``: nothing listens. ``full``: connections are neither accepted nor refused.
    """

    script: Script | None = None
    tls: ssl.SSLContext | None = None
    proxy: bool = False
    shut: bool = False
    full: bool = False


class Gate:
    """One listening port on loopback. Only ``port`` and ``taken`` may be used outside the thread of its event loop."""

    def __init__(self, target: int) -> None:
        """``target``: the port of the embedded Dify."""
        self._target = target
        self._way = Way()
        self._server: asyncio.Server | None = None
        self._crowd: list[socket.socket] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.taken = 0
        """The number of connections accepted."""

    async def go(self, way: Way) -> None:
        """Change the behaviour. Running answers end; for a further request the connection is closed."""
        await self.close()
        self._way = way
        if way.shut:
            return
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", self.port))
        self.port = sock.getsockname()[1]
        if way.full:
            # When the accept queue is full, loopback drops connection attempts, as a router without a route back does.
            sock.listen(0)
            self._crowd = [sock, *(_caller(self.port) for _ in range(3))]
        else:
            self._server = await asyncio.start_server(partial(self._take, way), sock=sock, ssl=way.tls)

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for sock in self._crowd:
            sock.close()
        self._crowd = []

    def cut(self) -> None:
        """Abort every connection."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _take(self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken += 1
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError, EOFError):
                await (way.script or (self._proxy if way.proxy else self._forward))(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes = b"") -> None:
        """Forward everything to the embedded Dify and back, ``first`` before everything else."""
        there, away = await asyncio.open_connection("127.0.0.1", self._target)
        away.write(first)
        way, requests = self._way, itertools.count()

        def is_open() -> bool:
            """Whether a request is forwarded: the first one of a connection always is, as the gate has accepted it."""
            return next(requests) == 0 or self._way is way

        try:
            await asyncio.gather(_pump(reader, away, is_open), _pump(there, writer))
        finally:
            away.close()

    async def _proxy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Act as an HTTP proxy for one request: every host is the embedded Dify."""
        head = await reader.readuntil(b"\r\n\r\n")
        method, url, rest = head.split(b" ", 2)
        # Each request uses its own connection, so that every one is rewritten.
        rest = rest.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
        path = b"/" + url.split(b"/", 3)[3]
        await self._forward(reader, writer, b" ".join((method, path, rest)))


class Gates:
    """All gates of a test, on one event loop in its own thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gates", daemon=True)
        self._gates: list[Gate] = []

    def open(self, target: int, way: Way) -> Gate:
        """Open a gate to the port ``target``."""
        gate = Gate(target)
        self._gates.append(gate)
        self.go(gate, way)
        return gate

    def go(self, gate: Gate, way: Way) -> None:
        """Change the behaviour of a gate."""
        self._call(gate.go(way))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _close(self) -> None:
        for gate in self._gates:
            await gate.close()
        await _turns()  # connections accepted just now reach their handlers
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for gate in self._gates:
            gate.cut()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _turns()


async def _turns() -> None:
    """Let the event loop run what is scheduled."""
    for _ in range(5):
        await asyncio.sleep(0)


def _caller(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        sock.connect(("127.0.0.1", port))
    return sock


async def _pump(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, still: Callable[[], bool] = lambda: True
) -> None:
    with contextlib.suppress(OSError):
        while (data := await source.read(65_536)) and still():
            sink.write(data)
            await sink.drain()
    with contextlib.suppress(OSError):
        sink.close()
