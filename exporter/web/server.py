"""The HTTP server: uvicorn on a thread and an event loop of its own, so that the main thread keeps the signals."""

from __future__ import annotations

import asyncio
import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Final

import uvicorn

from exporter.web.address import BACKLOG, open_sockets, parse_listen_address
from exporter.web.connections import Connections, Listener, Patience
from exporter.web.guard import Guard
from exporter.web.passwords import Doorkeeper
from exporter.web.protocol import HttpProtocol

if TYPE_CHECKING:
    import socket

    from starlette.types import ASGIApp

    from exporter.web.security import WebSecurity

_log = logging.getLogger(__name__)

LOOK_EVERY: Final = 1.0
"""Seconds between two looks at the web config file and the files that it names."""

STOP_TIMEOUT: Final = 4.0
"""Seconds that ``stop`` takes at most, unless told otherwise."""

_CUT_MARGIN: Final = 1.0
"""Seconds of the stop that are kept for what comes after the running answers: uvicorn looks every 0.1 s."""


class _Server(uvicorn.Server):
    """uvicorn that says when it takes connections and, at the end, cuts those that do not finish in time."""

    def __init__(self, config: uvicorn.Config, connections: Connections, security: WebSecurity | None) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self.grace = 0.0
        self._connections = connections
        self._security = security
        self._following: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; then ``ready`` is set."""
        await super().startup(sockets)
        if self._security is not None:
            self._following = asyncio.create_task(_follow(self._security))
        self.ready.set()

    async def on_tick(self, counter: int) -> bool:
        """As uvicorn's, every 0.1 s."""
        self._connections.sweep()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, which waits for running answers; after ``grace`` seconds their connections are cut.

        uvicorn would cancel the tasks and leave the sockets of clients that do not read open.
        """
        if self._following is not None:
            self._following.cancel()
        cut = asyncio.get_running_loop().call_later(self.grace, self._connections.cut)
        try:
            await super().shutdown(sockets)
        finally:
            cut.cancel()
            self._connections.cut()


async def _follow(security: WebSecurity) -> None:
    while True:
        await asyncio.sleep(LOOK_EVERY)
        await asyncio.to_thread(security.look)


class WebServer:
    """Serves ``app`` on ``listen_address`` (``host:port``, ``[IPv6]:port``, ``:port``; port 0: any free one).

    ``security``: TLS, users and headers; it is followed while the server runs. ``patience``: how slow clients may be;
    ``limit``: how many connections there may be, by default what the limit of descriptors allows. Beyond that the one
    that has waited for its client the longest is cut.

    Requests are logged nowhere, malformed ones included; uvicorn's errors go to the logger ``uvicorn.error``.
    A request head may be 16 KiB long, h11's own limit. To be started once.
    """

    def __init__(
        self,
        app: ASGIApp,
        listen_address: str,
        *,
        security: WebSecurity | None = None,
        patience: Patience | None = None,
        limit: int | None = None,
    ) -> None:
        """Raise ListenError when the address is not one. Nothing is opened yet."""
        self._security = security
        self._doorkeeper = Doorkeeper()
        self._app = app if security is None else Guard(app, security, self._doorkeeper)
        self._patience = patience or Patience()
        self._connections = Connections(self._patience, limit)
        self._address = parse_listen_address(listen_address)
        self._port = self._address.port
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Bind in the calling thread (ListenError when that fails), then serve; returns when requests are taken."""
        sockets = [Listener.of(each, self._connections) for each in open_sockets(self._address)]
        self._port = sockets[0].getsockname()[1]
        self._server = _Server(self._config(), self._connections, self._security)
        self._thread = threading.Thread(target=_run, args=(self._server, sockets), name="web", daemon=True)
        self._thread.start()
        self._server.ready.wait()
        if not self._server.started:
            raise RuntimeError("the web server did not start; the log tells why")

    def _config(self) -> uvicorn.Config:
        config = _config(self._app, self._patience.idle)
        config.load()
        protocol = partial(HttpProtocol, connections=self._connections, security=self._security)
        config.http_protocol_class = protocol  # type: ignore[assignment]
        config.ssl = self._security.server_context() if self._security else None
        return config

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
        self._doorkeeper.close()
        return not self._thread.is_alive()


def _run(server: _Server, sockets: list[Listener]) -> None:
    try:
        server.run([*sockets])
    except Exception:  # noqa: BLE001 - last words of a thread
        _log.exception("the web server failed")
    finally:
        for each in sockets:
            each.close()
        server.ready.set()


def _config(app: ASGIApp, keep_alive: int) -> uvicorn.Config:
    """Settings of uvicorn, none of them from the environment."""
    return uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        interface="asgi3",
        workers=1,
        backlog=BACKLOG,
        timeout_keep_alive=keep_alive,
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        log_level="warning",  # below that it tells of a process of its own and of Ctrl-C
    )
