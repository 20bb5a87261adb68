"""HTTP on one connection: uvicorn's, which tells what it waits for and does not log what strangers send."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

from exporter.web.connections import State
from exporter.web.guard import AUTHENTICATED
from exporter.web.tls import alternative_names

if TYPE_CHECKING:
    import asyncio

    from exporter.web.connections import Connection, Connections
    from exporter.web.security import WebSecurity


_REFUSAL: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 0\r\n"
    b"Connection: close\r\n\r\n"
)

_UNSENT: Final = 64 * 1024
"""Bytes of an answer that wait here for its client. With TLS asyncio would hold 512 KiB, and tell only when all of that
is gone that anything was taken."""


class _Quiet(logging.LoggerAdapter[logging.Logger]):
    """A logger whose warnings are of interest to nobody: anyone who can connect can cause them."""

    @property
    def level(self) -> int:
        """That of the logger behind it."""
        return self.logger.level

    def warning(self, msg: object, *args: object, **_options: Any) -> None:
        """Below what uvicorn's logger shows."""
        self.debug(msg, *args)


class HttpProtocol(H11Protocol):
    """As uvicorn makes one for each connection; ``connections`` and ``security`` are bound before."""

    def __init__(self, *, connections: Connections, security: WebSecurity | None, **settings: Any) -> None:
        super().__init__(**settings)
        self.logger = _Quiet(self.logger)  # type: ignore[assignment]
        self._all = connections
        self._security = security
        self._connection: Connection | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """TLS, if any, is set up."""
        transport.set_write_buffer_limits(_UNSENT)
        super().connection_made(transport)
        self._connection = self._all.ready(transport.get_extra_info("socket").fileno(), transport)
        certificate = transport.get_extra_info("peercert")  # empty unless verified
        if self._security is not None:
            allowed = self._security.settings.allowed_sans
            if allowed and not allowed & alternative_names(certificate or {}):
                transport.abort()
        if certificate:
            self.app_state = {**self.app_state, AUTHENTICATED: True}

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed by whomever."""
        if self._connection is not None:
            self._all.lost(self._connection)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request, or of what nobody asked for."""
        if not self._answering:
            self._turn(State.HEAD)
        super().data_received(data)
        if self._answering:
            self._turn(State.ANSWERING)

    def on_response_complete(self) -> None:
        """The last byte of an answer is handed over; the next request may have come already."""
        self._turn(State.IDLE)
        super().on_response_complete()
        if self._answering:
            self._turn(State.ANSWERING)

    def pause_writing(self) -> None:
        """The client does not take the answer as fast as it comes."""
        super().pause_writing()
        self._turn(State.STALLED)

    def resume_writing(self) -> None:
        """It took some."""
        super().resume_writing()
        self._turn(State.ANSWERING if self._answering else State.IDLE)

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]

    def _turn(self, state: State) -> None:
        if self._connection is not None:
            self._all.turn(self._connection, state)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 uvicorn tells it what it tells everybody
        """Refuse what cannot be read: a request, or the rest of one whose answer is under way and then ends here.

        uvicorn would let that answer run into the refusal, or the refusal into it, and log a traceback.
        """
        refusal = _REFUSAL
        if self._answering:
            refusal = b"" if self.cycle.response_started else refusal
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(refusal)
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing: the request is answered as any other."""
