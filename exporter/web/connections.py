"""Listening sockets, and what each open connection waits for, so that slow clients cost little and block nobody."""

from __future__ import annotations

import errno
import resource
import socket
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from exporter.web.guesses import client_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Iterator

    from exporter.config import ListenAddress


class ListenError(Exception):
    """Listening on the address failed. The message names the address and the remedy."""


MAX_CONNECTIONS: Final = 512
"""Maximum number of open connections, unless the limit of file descriptors requires fewer."""

_MIN_CONNECTIONS: Final = 8

_MAX_ACCEPTED_IN_A_ROW: Final = 64
"""Connections accepted in a row before pending requests are processed."""

BACKLOG: Final = 1024
"""Connections that the kernel queues until the server accepts them."""

_SEND_BUFFER: Final = 128 * 1024
"""Bytes of an answer that the kernel buffers for a slow client (Linux doubles it); the default is megabytes."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_LISTEN_ERRORS = {
    errno.EADDRINUSE: "address already in use; stop the program that listens there or choose another address",
    errno.EACCES: "permission denied; ports below 1024 require privileges, choose another port",
    errno.EADDRNOTAVAIL: "this machine does not have that address; use 0.0.0.0 for all addresses",
    errno.EAFNOSUPPORT: "this machine does not support that address family; use 0.0.0.0 for all IPv4 addresses",
}
_NO_SUCH_ADDRESS = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


def max_connections() -> int:
    """The connection limit: leaves half of the file descriptors to everything else."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(_MIN_CONNECTIONS, min(MAX_CONNECTIONS, descriptors // 2))


@dataclass(frozen=True, slots=True)
class ClientTimeouts:
    """Time limits for clients, in seconds.

    ``head``: from connecting, or the first byte, to the end of a request's head, TLS handshake included. ``idle``:
    between two requests; longer than the usual scrape interval of up to a minute. ``stall``: without reading any part
    of an answer. ``answer``: for the whole answer.
    """

    head: float = 10.0
    idle: int = 75
    stall: float = 20.0
    answer: float = 300.0


class ConnectionState(Enum):
    """What a connection is doing. Only an ``ANSWERING`` connection waits for the exporter instead of its client."""

    HEAD = auto()
    IDLE = auto()
    ANSWERING = auto()
    STALLED = auto()


class ClientConnection:
    """One client connection. ``transport`` is None during the TLS handshake."""

    __slots__ = (
        "_socket",
        "_unsent",
        "_unverified",
        "answering_since",
        "client",
        "descriptor",
        "since",
        "state",
        "transport",
    )

    def __init__(self, accepted: socket.socket, host: str, now: float) -> None:
        self._socket = accepted
        self.descriptor = accepted.fileno()
        self.client = client_of(host)
        self.transport: asyncio.Transport | None = None
        self._unsent = 0
        self._unverified = False
        self.state = ConnectionState.HEAD
        self.since = self.answering_since = now

    @property
    def closed(self) -> bool:
        """Whether the socket is closed, for example after a failed TLS handshake."""
        return self._socket.fileno() < 0

    @property
    def dispensable(self) -> bool:
        """Whether it may be closed to make room: all but those of verified clients whose answer is being made."""
        return self._unverified or self.state is not ConnectionState.ANSWERING

    @contextmanager
    def unverified(self) -> Iterator[None]:
        """While its password is being verified, the connection is dispensable."""
        self._unverified = True
        try:
            yield
        finally:
            self._unverified = False

    def overdue(self, now: float, timeouts: ClientTimeouts) -> bool:
        """Whether the client exceeds a time limit. Call it repeatedly: it compares unsent bytes with the last call."""
        unsent = self.transport.get_write_buffer_size() if self.transport is not None else 0
        if unsent < self._unsent and self.state in {ConnectionState.IDLE, ConnectionState.STALLED}:
            self.since = now
        self._unsent = unsent
        waited, answering = now - self.since, now - self.answering_since
        match self.state:
            case ConnectionState.HEAD:
                return waited > timeouts.head
            case ConnectionState.IDLE if not unsent:
                return waited > timeouts.idle + timeouts.stall  # uvicorn normally closes it before, gracefully
            case ConnectionState.ANSWERING:
                return answering > timeouts.answer
            case _:  # uvicorn would wait forever for the client to read the rest
                return waited > timeouts.stall or answering > timeouts.answer

    def abort(self) -> None:
        """Close immediately and discard unsent data. asyncio notices and ends what depends on the connection."""
        if self.transport is not None:
            self.transport.abort()
            return
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


class ClientConnections:
    """All connections of a server. Use it only in the server's event loop."""

    def __init__(
        self,
        timeouts: ClientTimeouts | None = None,
        limit: int | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeouts = timeouts or ClientTimeouts()
        self._limit = limit or max_connections()
        self._hard_limit = self._limit + self._limit // 4  # only for a moment, while all are being answered
        self._now = now
        self._open: dict[int, ClientConnection] = {}
        self.evicted = 0
        """Number of connections that were closed because there were too many."""

    def __len__(self) -> int:
        """Number of open connections."""
        return len(self._open)

    def add(self, accepted: socket.socket, host: str) -> bool:
        """Add a connection. Beyond the limit another is closed; False when none can be and the reserve is used up."""
        if len(self._open) >= self._limit:
            self._remove_closed()
        if len(self._open) >= self._limit and not self.evict() and len(self._open) >= self._hard_limit:
            return False
        self._open[accepted.fileno()] = ClientConnection(accepted, host, self._now())
        return True

    def attach(self, descriptor: int, transport: asyncio.Transport) -> ClientConnection | None:
        """Add the transport on which requests arrive, after the TLS handshake. None when the connection is closed."""
        connection = self._open.get(descriptor)
        if connection is not None:
            connection.transport = transport
        return connection

    def set_state(self, connection: ClientConnection, state: ConnectionState) -> None:
        """Record the new state of a connection. Repeating a state does not restart its time."""
        now = self._now()
        if state is ConnectionState.ANSWERING and connection.state in {ConnectionState.HEAD, ConnectionState.IDLE}:
            connection.answering_since = now
        if connection.state is not state:
            connection.state, connection.since = state, now

    def remove(self, connection: ClientConnection) -> None:
        """Remove a connection."""
        if self._open.get(connection.descriptor) is connection:
            del self._open[connection.descriptor]

    def evict(self) -> bool:
        """Close the dispensable connection that has waited longest, from the client with the most of them."""
        waiting = [each for each in self._open.values() if each.dispensable]
        if not waiting:
            return False
        per_client = Counter(each.client for each in waiting)
        self._abort(min(waiting, key=lambda each: (-per_client[each.client], each.since)))
        self.evicted += 1
        return True

    def close_overdue(self) -> None:
        """Close the connections whose client exceeds a time limit. Call it several times per second."""
        self._remove_closed()
        while len(self._open) > self._limit and self.evict():
            pass
        now = self._now()
        for connection in tuple(self._open.values()):
            if connection.overdue(now, self._timeouts):
                self._abort(connection)

    def close_all(self) -> None:
        """Close all connections."""
        for connection in tuple(self._open.values()):
            self._abort(connection)

    def _abort(self, connection: ClientConnection) -> None:
        self.remove(connection)
        connection.abort()

    def _remove_closed(self) -> None:
        for connection in tuple(self._open.values()):
            if connection.closed:
                self.remove(connection)


class ListeningSocket(socket.socket):
    """A listening socket that records the connections it accepts."""

    connections: ClientConnections
    _accepted_in_a_row = 0

    @classmethod
    def adopt(cls, listening: socket.socket, connections: ClientConnections) -> ListeningSocket:
        """Take ownership of ``listening``."""
        self = cls(listening.family, listening.type, listening.proto, fileno=listening.detach())
        self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)  # accepted sockets inherit it
        self.connections = connections
        return self

    def accept(self) -> tuple[socket.socket, Any]:
        """Like any socket's; out of descriptors, it closes a slow client's connection. BlockingIOError: try again."""
        self._accepted_in_a_row += 1
        if self._accepted_in_a_row > _MAX_ACCEPTED_IN_A_ROW:
            self._accepted_in_a_row = 0
            raise BlockingIOError
        try:
            connection, address = super().accept()
        except BlockingIOError:
            self._accepted_in_a_row = 0
            raise
        except OSError as error:
            if error.errno in _EXHAUSTED and self.connections.evict():
                raise BlockingIOError from error
            raise
        if not self.connections.add(connection, str(address[0])):
            connection.close()
            raise BlockingIOError
        return connection, address


def open_all(addresses: Iterable[ListenAddress]) -> dict[ListenAddress, list[socket.socket]]:
    """Listening sockets by address, with the port that the system has chosen; ListenError when one cannot be opened."""
    opened: dict[ListenAddress, list[socket.socket]] = {}
    for address in addresses:
        try:
            sockets = open_sockets(address)
        except ListenError as error:
            for each in chain(*opened.values()):
                each.close()
            overlapping = [str(each) for each in opened if each.port == address.port]
            if overlapping and isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE:
                reason = f"{overlapping[0]}, which is to be listened on as well, may include it; remove one of them"
                raise ListenError(f"cannot listen on {address}: address already in use: {reason}") from error
            raise
        opened[address._replace(port=sockets[0].getsockname()[1])] = sockets
    return opened


def open_sockets(address: ListenAddress) -> list[socket.socket]:
    """Listening sockets, one per address that the host resolves to; ListenError when none can be opened.

    "" and ``::`` include IPv4 where the machine has both. A name such as localhost may resolve to an address that the
    machine lacks: the other addresses are enough.
    """
    if address.host in {"", "::"} and socket.has_dualstack_ipv6():
        return [_listen(address, socket.AF_INET6, ("::", address.port), dualstack=True)]
    sockets: list[socket.socket] = []
    absent: ListenError | None = None
    port = address.port
    for family, host, *scope in _resolve(address):
        try:
            sockets.append(_listen(address, family, (host, port, *scope)))
        except ListenError as error:
            if not (isinstance(error.__cause__, OSError) and error.__cause__.errno in _NO_SUCH_ADDRESS):
                for each in sockets:
                    each.close()
                raise
            absent = error
        else:
            port = sockets[0].getsockname()[1]  # one port for all addresses, also when the system chose it
    if absent and not sockets:
        raise absent
    return sockets


def _resolve(address: ListenAddress) -> list[tuple[socket.AddressFamily, str, *tuple[int, ...]]]:
    """Family, host and, with IPv6, flow and scope of each address of the host, without duplicates."""
    try:
        found = socket.getaddrinfo(
            address.host or "0.0.0.0",  # noqa: S104 - "" means all addresses
            address.port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )
    except (OSError, UnicodeError) as error:
        raise ListenError(f"cannot listen on {address}: host name could not be resolved (DNS)") from error
    return list(dict.fromkeys((family, str(where[0]), *map(int, where[2:])) for family, _, _, _, where in found))


def _listen(
    address: ListenAddress, family: socket.AddressFamily, where: tuple[str | int, ...], *, dualstack: bool = False
) -> socket.socket:
    try:
        return socket.create_server(where, family=family, backlog=BACKLOG, dualstack_ipv6=dualstack)
    except OSError as error:
        reason = _LISTEN_ERRORS.get(error.errno or 0, str(error.strerror or error).lower())
        raise ListenError(f"cannot listen on {address}: {reason}") from error
