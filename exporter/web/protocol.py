"""HTTP on one connection: uvicorn's protocol, extended to report what it waits for and to log no client errors."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

from exporter.web.auth import AUTHENTICATED, CONNECTION
from exporter.web.connections import ConnectionState
from exporter.web.requests import StrictConnection
from exporter.web.tls import alternative_names

if TYPE_CHECKING:
    import asyncio

    from exporter.web.connections import ClientConnection, ClientConnections
    from exporter.web.web_config import WebConfigFile


_REFUSAL: Final = (
    "HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 0\r\n"
    "Connection: close\r\n\r\n"
)

_MAX_UNSENT: Final = 64 * 1024
"""Bytes of an answer buffered for its client; with TLS asyncio would buffer 512 KiB and report progress only after."""


class _QuietLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger that lowers warnings to debug level: anyone who can connect can cause them."""

    @property
    def level(self) -> int:
        """The level of the wrapped logger."""
        return self.logger.level

    def warning(self, msg: object, *args: object, **_options: Any) -> None:
        """Log below the level that uvicorn's logger shows."""
        self.debug(msg, *args)


class HttpProtocol(H11Protocol):
    """Created by uvicorn for each connection; ``connections`` and ``web_config`` are bound beforehand."""

    def __init__(self, *, connections: ClientConnections, web_config: WebConfigFile | None, **settings: Any) -> None:
        super().__init__(**settings)
        self.logger = _QuietLogger(self.logger)  # type: ignore[assignment]
        self.conn = self._requests = StrictConnection()
        self._client_connections = connections
        self._web_config = web_config
        self._connection: ClientConnection | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The connection is ready; the TLS handshake, if any, is done."""
        transport.set_write_buffer_limits(_MAX_UNSENT)
        super().connection_made(transport)
        self._connection = self._client_connections.attach(transport.get_extra_info("socket").fileno(), transport)
        self.app_state = {**self.app_state, CONNECTION: self._connection}
        certificate = transport.get_extra_info("peercert")  # empty unless verified
        if self._web_config is not None:
            allowed = self._web_config.settings.allowed_sans
            if allowed and not allowed & alternative_names(certificate or {}):
                transport.abort()
        if certificate:
            self.app_state = {**self.app_state, AUTHENTICATED: True}

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection was closed, by either side."""
        if self._connection is not None:
            self._client_connections.remove(self._connection)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request, or unsolicited bytes."""
        if not self._answering:
            self._set_state(ConnectionState.HEAD)
        super().data_received(data)
        if self._answering:
            self._set_state(ConnectionState.ANSWERING)

    def on_response_complete(self) -> None:
        """The last byte of an answer was handed over; the next request may have arrived already."""
        self._set_state(ConnectionState.IDLE)
        super().on_response_complete()
        if self._answering:
            self._set_state(ConnectionState.ANSWERING)

    def pause_writing(self) -> None:
        """The client reads the answer more slowly than it is written."""
        super().pause_writing()
        self._set_state(ConnectionState.STALLED)

    def resume_writing(self) -> None:
        """The client has read some of the answer."""
        super().resume_writing()
        self._set_state(ConnectionState.ANSWERING if self._answering else ConnectionState.IDLE)

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]

    def _set_state(self, state: ConnectionState) -> None:
        if self._connection is not None:
            self._client_connections.set_state(self._connection, state)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's text is the same for every client
        """Refuse a malformed request, or a malformed rest of a request whose answer has begun and ends here.

        uvicorn would mix that answer with the refusal and log a traceback.
        """
        refusal = _REFUSAL.format(status=self._requests.refusal).encode()
        if self._answering:
            refusal = b"" if self.cycle.response_started else refusal
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(refusal)
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: the request is answered like any other."""
