"""Connections with one deadline for the whole request: connecting, TLS, proxy tunnel, headers and body.

urllib3 restarts its timeouts with every byte received, so a server that sends byte by byte could block a worker
forever. Here the socket's timeout is set to the remaining time before each read. Python's TLS handshake and sends
already apply the timeout to the whole operation. Only name resolution is not covered: the system's resolver has its
own limits.

Deadlines use the system's monotonic clock, as sockets do. Every request has a ``Deadline``, so no timeout is None.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from urllib3 import HTTPResponse

_SHORTEST = 0.001

_INTERIM = range(HTTPStatus.PROCESSING, HTTPStatus.OK)

_MOST_INTERIM = 20
"""Interim answers (1xx) before the final one; more are not HTTP as any server speaks it."""


class Deadline(Timeout):
    """Timeout whose parts are all the time remaining until one instant of ``time.monotonic()``."""

    def __init__(self, at: float) -> None:
        super().__init__()
        self._at = at

    def clone(self) -> Deadline:
        """A copy for one request, with the same deadline."""
        return Deadline(self._at)

    @property
    def connect_timeout(self) -> float:
        """Seconds remaining; never 0, which would make the socket non-blocking."""
        return max(self._at - time.monotonic(), _SHORTEST)

    @property
    def read_timeout(self) -> float:
        """Seconds remaining."""
        return max(self._at - time.monotonic(), 0.0)


class _DeadlineReader(io.RawIOBase):
    """Reads a socket. All reads together must finish within the timeout that the socket has at construction."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._sock = sock
        self._end = time.monotonic() + cast("float", sock.gettimeout())
        self._finished = False
        self.touched = False
        self.ended = False

    def finish(self) -> None:
        """Receive nothing more."""
        self._finished = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        if self._finished:
            return None
        remaining = self._end - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("deadline exceeded")
        self._sock.settimeout(remaining)
        count = self._raw.readinto(buffer)
        self.touched = self.touched or bool(count)
        self.ended = self.ended or count == 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _AnswerBuffer(io.BufferedReader):
    """Buffer of one answer. ``has_surplus``: whether it was closed with received bytes after the answer's end."""

    has_surplus = False

    def __init__(self, reader: _DeadlineReader) -> None:
        super().__init__(reader)
        self._reader = reader

    def close(self) -> None:
        if not self.closed:
            self._reader.finish()
            self.has_surplus = bool(self.peek(1))
        super().close()


class ClosedWithoutAnswer(ConnectionResetError):
    """The connection was closed or reset before a byte of the answer was received. ``reused``: it had served others.

    urllib3 ignores a reset while it sends a request; the only remaining sign of it is the end of the stream.
    """

    reused = False


class _Answer(http.client.HTTPResponse):
    """Response that must be read completely within the timeout that its socket has at construction."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._reader = _DeadlineReader(self.fp.detach(), sock)
        self.fp = self._buffer = _AnswerBuffer(self._reader)

    @property
    def leaves_bytes(self) -> bool:
        """Whether the next bytes of the connection may belong to this answer."""
        return self._buffer.has_surplus or self.status == HTTPStatus.SWITCHING_PROTOCOLS

    def begin(self) -> None:
        try:
            self._begin()
        except ConnectionError as error:
            if self._reader.touched:
                raise
            raise ClosedWithoutAnswer("closed without an answer") from error
        if self._reader.ended:
            # http.client accepts headers that the end of the connection truncates as complete.
            raise ConnectionResetError("closed within the headers")

    def _begin(self) -> None:
        """Read status and headers of the final answer. http.client skips 100, but neither 102 nor 103."""
        for _ in range(_MOST_INTERIM):
            super().begin()
            if self.status not in _INTERIM:
                return
            self.headers = None  # type: ignore[assignment]  # http.client's sign that nothing has been read yet
        raise http.client.BadStatusLine("too many interim answers")


class _Connection(HTTPConnection):
    """HTTP connection with one deadline. It records whether it has already served a request.

    A connection on which bytes of an earlier answer may follow is not used again: they would be taken for the answer
    to the next request.
    """

    response_class = _Answer
    _used = False
    _last: _Answer | None = None

    @property
    def is_connected(self) -> bool:
        """Whether the connection can be used for another request."""
        return super().is_connected and not (self._last is not None and self._last.leaves_bytes)

    def _new_conn(self) -> socket.socket:
        end = time.monotonic() + cast("float", self.timeout)
        try:
            sock = _connect(self._dns_host, self.port, end, self.socket_options or ())
        except (socket.gaierror, UnicodeError) as error:
            # UnicodeError: a label of the name is empty or too long.
            known = error if isinstance(error, socket.gaierror) else socket.gaierror(socket.EAI_NONAME, "invalid name")
            raise NameResolutionError(self.host, self, known) from known
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "connecting took too long") from error
        except OSError as error:
            raise NewConnectionError(self, "no connection") from error
        # TLS, a proxy tunnel and sending share the remaining time.
        sock.settimeout(max(end - time.monotonic(), _SHORTEST))
        return sock

    def connect(self) -> None:
        self._used = False
        self._last = None
        super().connect()

    def request(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().request(*args, **kwargs)
        except ssl.SSLError as error:
            if not self._used:
                raise
            stale = ClosedWithoutAnswer("closed while idle")
            stale.reused = True
            raise stale from error

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # urllib3's own signature
        try:
            response = super().getresponse()
        except ClosedWithoutAnswer as error:
            error.reused = self._used
            raise
        self._used = True
        self._last = cast("_Answer", response._original_response)  # noqa: SLF001
        return response


class _TLSConnection(_Connection, HTTPSConnection):
    """HTTPS connection with one deadline."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


POOLS: dict[str, type[HTTPConnectionPool]] = {"http": _Pool, "https": _TLSPool}
"""For ``PoolManager.pool_classes_by_scheme``."""


def _connect(host: str, port: int, end: float, options: Iterable[Any]) -> socket.socket:
    """Try the addresses of a host name in turn.

    Each address gets an equal share of the remaining time, so that an unresponsive one leaves time for the others.
    """
    addresses = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    failure: OSError = OSError("the host name has no address")
    for tried, (family, kind, protocol, _, address) in enumerate(addresses):
        sock = None
        try:
            sock = socket.socket(family, kind, protocol)
            for option in options:
                sock.setsockopt(*option)
            share = (end - time.monotonic()) / (len(addresses) - tried)
            sock.settimeout(max(share, _SHORTEST))
            sock.connect(address)
        except OSError as error:
            if sock is not None:
                sock.close()
            failure = error
        else:
            return sock
    raise failure
