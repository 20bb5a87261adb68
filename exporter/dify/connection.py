"""Connections that keep one deadline over everything: connecting, TLS, a proxy's tunnel, headers and body.

The time-outs of urllib3 begin anew at each byte that arrives, so a server that drips could hold a worker for ever.
Here the socket's time-out is set, before each read, to what is left. Python's TLS handshake and sends keep to one
time-out in all by themselves. Only the name look-up is outside of it: the system's resolver has limits of its own.

Time is the machine's: sockets know no other. Every request comes with a ``Deadline``, so no time-out here is None.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any, cast

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from urllib3 import HTTPResponse

_SHORTEST = 0.001


class StaleConnection(Exception):
    """A connection that had served before was closed by the server before a byte of the answer came.

    Neither an OSError nor one of urllib3's exceptions, so that it passes through urllib3 and requests as it is.
    """


class Deadline(Timeout):
    """A time-out whose parts are all what is left until one instant of ``time.monotonic()``."""

    def __init__(self, at: float) -> None:
        super().__init__()
        self._at = at

    def clone(self) -> Deadline:
        """A copy for one request, with the same end."""
        return Deadline(self._at)

    @property
    def connect_timeout(self) -> float:
        """Seconds left; never 0, which would mean not to block at all."""
        return max(self._at - time.monotonic(), _SHORTEST)

    @property
    def read_timeout(self) -> float:
        """Seconds left."""
        return max(self._at - time.monotonic(), 0.0)


class _DeadlineReader(io.RawIOBase):
    """Reads a socket until the time-out that the socket has at the beginning is used up, over all reads together."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._sock = sock
        self._end = time.monotonic() + cast("float", sock.gettimeout())
        self.touched = False
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("deadline exceeded")
        self._sock.settimeout(left)
        count = self._raw.readinto(buffer)
        self.touched = self.touched or bool(count)
        self.ended = self.ended or count == 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class Silence(ConnectionResetError):
    """The connection was closed, or reset, before a byte of the answer came.

    urllib3 passes over a reset that it meets while it sends; then the end of the stream is all that is left of it.
    """


class _Answer(http.client.HTTPResponse):
    """An answer that is read within the time that its socket had left when it began."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._reader = _DeadlineReader(self.fp.detach(), sock)
        self.fp = io.BufferedReader(self._reader)

    def begin(self) -> None:
        try:
            super().begin()
        except ConnectionError as error:
            if self._reader.touched:
                raise
            raise Silence("closed without an answer") from error
        if self._reader.ended:
            # The library takes headers that the end of the connection cuts for complete ones.
            raise ConnectionResetError("cut in the headers")


class _Connection(HTTPConnection):
    """An HTTP connection with one deadline, that knows whether it has served before."""

    response_class = _Answer
    _served = False

    def _new_conn(self) -> socket.socket:
        end = time.monotonic() + cast("float", self.timeout)
        try:
            sock = _connect(self._dns_host, self.port, end, self.socket_options or ())
        except (socket.gaierror, UnicodeError) as error:
            # UnicodeError: the name has a label that is empty or too long.
            known = error if isinstance(error, socket.gaierror) else socket.gaierror(socket.EAI_NONAME, "invalid name")
            raise NameResolutionError(self.host, self, known) from known
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "connecting took too long") from error
        except OSError as error:
            raise NewConnectionError(self, "no connection") from error
        # What follows on this socket (TLS, a proxy's tunnel, sending) gets the rest.
        sock.settimeout(max(end - time.monotonic(), _SHORTEST))
        return sock

    def connect(self) -> None:
        self._served = False
        super().connect()

    def request(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().request(*args, **kwargs)
        except ssl.SSLError:
            if self._served:
                raise StaleConnection from None
            raise

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3 has it
        try:
            response = super().getresponse()
        except Silence:
            if self._served:
                raise StaleConnection from None
            raise
        self._served = True
        return response


class _TLSConnection(_Connection, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


POOLS = {"http": _Pool, "https": _TLSPool}
"""For ``PoolManager.pool_classes_by_scheme``."""


def _connect(host: str, port: int, end: float, options: Iterable[Any]) -> socket.socket:
    """Try the addresses of a name in turn.

    Each gets an equal share of the time left, so that a dead one leaves some to the others.
    """
    addresses = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    failure: OSError = OSError("the name has no address")
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
