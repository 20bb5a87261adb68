"""The HTTP server: uvicorn on a thread and an event loop of its own, so that the main thread keeps the signals."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Final

import uvicorn

from exporter.web.address import BACKLOG, open_sockets, parse_listen_address

if TYPE_CHECKING:
    import socket

    from starlette.types import ASGIApp

_log = logging.getLogger(__name__)

KEEP_ALIVE: Final = 75
"""Seconds that an idle connection is kept: longer than the usual scrape interval of up to a minute."""

STOP_TIMEOUT: Final = 4.0
"""Seconds that ``stop`` takes at most, unless told otherwise."""

_CUT_MARGIN: Final = 1.0
"""Seconds of the stop that are kept for what comes after the running answers: uvicorn looks every 0.1 s."""


class _Server(uvicorn.Server):
    """uvicorn that says when it takes connections and, at the end, cuts those that do not finish in time."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self.grace = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; then ``ready`` is set."""
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, which waits for running answers; after ``grace`` seconds their connections are cut.

        uvicorn would cancel the tasks and leave the sockets of clients that do not read open.
        """
        cut = asyncio.get_running_loop().call_later(self.grace, self._cut)
        try:
            await super().shutdown(sockets)
        finally:
            cut.cancel()

    def _cut(self) -> None:
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()


class WebServer:
    """Serves ``app`` on ``listen_address`` (``host:port``, ``[IPv6]:port``, ``:port``; port 0: any free one).

    Requests are logged nowhere; uvicorn's warnings and errors go to the logger ``uvicorn.error``.
    A request head may be 16 KiB long, h11's own limit. To be started once.
    """

    def __init__(self, app: ASGIApp, listen_address: str) -> None:
        """Raise ListenError when the address is not one. Nothing is opened yet."""
        self._app = app
        self._address = parse_listen_address(listen_address)
        self._port = self._address.port
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Bind in the calling thread (ListenError when that fails), then serve; returns when requests are taken."""
        sockets = open_sockets(self._address)
        self._port = sockets[0].getsockname()[1]
        self._server = _Server(_config(self._app))
        self._thread = threading.Thread(target=_run, args=(self._server, sockets), name="web", daemon=True)
        self._thread.start()
        self._server.ready.wait()
        if not self._server.started:
            raise RuntimeError("the web server did not start; the log tells why")

    @property
    def port(self) -> int:
        """The port that is listened on, also when the address left the choice to the machine."""
        return self._port

    def stop(self, timeout: float = STOP_TIMEOUT) -> bool:
        """Take no new requests, let the running answers finish, cut what is left; idle connections close at once.

        Takes ``timeout`` seconds at most; True when all is closed. May be called twice, and before ``start``.
        """
        if self._server is None or self._thread is None:
            return True
        self._server.grace = max(timeout - _CUT_MARGIN, 0.0)
        self._server.should_exit = True
        self._thread.join(timeout)
        return not self._thread.is_alive()


def _run(server: _Server, sockets: list[socket.socket]) -> None:
    try:
        server.run(sockets)
    except Exception:  # noqa: BLE001 - last words of a thread
        _log.exception("the web server failed")
    finally:
        for each in sockets:
            each.close()
        server.ready.set()


def _config(app: ASGIApp) -> uvicorn.Config:
    """Settings of uvicorn, none of them from the environment.

    It has no time limit for a request head that never ends, nor for a client that never reads its answer:
    each costs a socket. ``limit_concurrency`` would answer 503 beyond a number of connections.
    """
    return uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        interface="asgi3",
        workers=1,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        log_level="warning",  # below that it tells of a process of its own and of Ctrl-C
    )
