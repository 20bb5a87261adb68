"""The HTTP server: uvicorn in its own thread and event loop, so that the main thread handles the signals."""

from __future__ import annotations

import asyncio
import logging
import threading
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final

import uvicorn

from exporter.config import parse_listen_address
from exporter.web.auth import WebConfigMiddleware
from exporter.web.connections import BACKLOG, ClientConnections, ClientTimeouts, ListeningSocket, open_all
from exporter.web.passwords import PasswordVerifier
from exporter.web.protocol import HttpProtocol

if TYPE_CHECKING:
    import socket

    from starlette.types import ASGIApp

    from exporter.web.web_config import WebConfigFile

_log = logging.getLogger(__name__)

CHECK_INTERVAL: Final = 1.0
"""Seconds between checks of the web config file and the files that it names."""

STOP_TIMEOUT: Final = 4.0
"""Default limit of ``stop``, in seconds."""

_CLOSE_MARGIN: Final = 1.0
"""Seconds of the stop reserved for the steps after the running answers: uvicorn checks every 0.1 s."""


class _Server(uvicorn.Server):
    """uvicorn, extended to signal when it accepts connections and to close unfinished connections at the end."""

    def __init__(
        self,
        config: uvicorn.Config,
        connections: ClientConnections,
        verifier: PasswordVerifier,
        web_config: WebConfigFile | None,
    ) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self.grace = 0.0
        self._connections = connections
        self._verifier = verifier
        self._web_config = web_config
        self._watching: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; then sets ``ready``."""
        await super().startup(sockets)
        if self._web_config is not None:
            self._watching = asyncio.create_task(_watch(self._web_config))
        self.ready.set()

    async def on_tick(self, counter: int) -> bool:
        """As uvicorn's, every 0.1 s."""
        self._connections.close_overdue()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, which waits for running answers; after ``grace`` seconds their connections are closed.

        uvicorn would cancel the tasks but keep the sockets of clients that do not read open.
        """
        if self._watching is not None:
            self._watching.cancel()
        self._verifier.release()
        closing = asyncio.get_running_loop().call_later(self.grace, self._connections.close_all)
        try:
            await super().shutdown(sockets)
        finally:
            closing.cancel()
            self._connections.close_all()


async def _watch(web_config: WebConfigFile) -> None:
    while True:
        await asyncio.sleep(CHECK_INTERVAL)
        await asyncio.to_thread(web_config.check)


class WebServer:
    """Serves ``app`` on ``listen_addresses`` (``host:port``, ``[IPv6]:port``, ``:port``; port 0: any free port).

    ``web_config``: TLS, users and headers; changed files are applied while the server runs. ``timeouts``: time limits
    for slow clients; ``limit``: maximum number of connections, by default derived from the limit of file descriptors.
    Beyond it, the connection that has waited longest for its client is closed.

    Requests are not logged, not even malformed ones; uvicorn's errors go to the logger ``uvicorn.error``.
    Requests must follow RFC 9112 to the letter, with heads of at most 16 KiB. A server can be started once.
    """

    def __init__(
        self,
        app: ASGIApp,
        *listen_addresses: str,
        web_config: WebConfigFile | None = None,
        timeouts: ClientTimeouts | None = None,
        limit: int | None = None,
    ) -> None:
        """Raise ``Invalid`` for an invalid address. Opens nothing yet."""
        self._web_config = web_config
        self._verifier = PasswordVerifier()
        self._app = app if web_config is None else WebConfigMiddleware(app, web_config, self._verifier)
        self._timeouts = timeouts or ClientTimeouts()
        self._connections = ClientConnections(self._timeouts, limit)
        self.addresses = [parse_listen_address(each) for each in listen_addresses]
        """The addresses to listen on; once started, with the ports that the system has chosen."""
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port of the first address."""
        return self.addresses[0].port

    def start(self) -> None:
        """Bind in the calling thread (ListenError on failure), then serve; returns once requests are accepted."""
        opened = open_all(self.addresses)
        self.addresses = list(opened)
        sockets = [ListeningSocket.adopt(each, self._connections) for each in chain(*opened.values())]
        self._server = _Server(self._config(), self._connections, self._verifier, self._web_config)
        self._thread = threading.Thread(target=_run, args=(self._server, sockets), name="web", daemon=True)
        self._thread.start()
        self._server.ready.wait()
        if not self._server.started:
            raise RuntimeError("the web server did not start; see the log for the reason")

    def _config(self) -> uvicorn.Config:
        """Settings of uvicorn, none of them from the environment."""
        config = uvicorn.Config(
            self._app,
            loop="asyncio",
            http=partial(HttpProtocol, connections=self._connections, web_config=self._web_config),  # type: ignore[arg-type]
            ws="none",
            lifespan="off",
            interface="asgi3",
            workers=1,
            backlog=BACKLOG,
            timeout_keep_alive=self._timeouts.idle,
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_config=None,
            log_level="warning",  # below that level uvicorn logs its process and Ctrl-C
        )
        config.load()
        config.ssl = self._web_config.server_context() if self._web_config else None
        return config

    def stop(self, timeout: float = STOP_TIMEOUT) -> bool:
        """Accept no new requests, finish the running answers, then close the rest; idle connections close at once.

        Takes at most ``timeout`` seconds; returns True when all is closed. May be called twice, and before ``start``.
        """
        if self._server is None or self._thread is None:
            return True
        self._server.grace = max(timeout - _CLOSE_MARGIN, 0.0)
        self._server.should_exit = True
        self._thread.join(timeout)
        self._verifier.close()
        return not self._thread.is_alive()


def _run(server: _Server, sockets: list[ListeningSocket]) -> None:
    try:
        server.run([*sockets])
    except Exception:  # noqa: BLE001 - the thread ends here, so every error is logged
        _log.exception("web server failed")
    finally:
        for each in sockets:
            each.close()
        server.ready.set()
