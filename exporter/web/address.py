"""Listen addresses: ``host:port`` in the notation of Prometheus and its exporters, and the sockets to listen on."""

from __future__ import annotations

import errno
import re
import socket
from typing import NamedTuple

BACKLOG = 1024
"""Connections that the kernel queues until the server accepts them."""

_ADDRESS = re.compile(r"(?:\[(?P<bracketed>[^\[\]]+)\]|(?P<host>[^:\[\]\s]*)):(?P<port>\d{1,5})")
_REASONS = {
    errno.EADDRINUSE: "address already in use; stop the program that listens there or choose another address",
    errno.EACCES: "permission denied; ports below 1024 require privileges, choose another port",
    errno.EADDRNOTAVAIL: "this machine does not have that address; use 0.0.0.0 for all addresses",
    errno.EAFNOSUPPORT: "this machine does not support that address family; use 0.0.0.0 for all IPv4 addresses",
}
_NOT_HERE = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


class ListenError(Exception):
    """Listening on the address failed. The message names the address and the remedy."""


class ListenAddress(NamedTuple):
    """Host ("" for all addresses of the machine) and port (0 for any free port)."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_listen_address(text: str) -> ListenAddress:
    """Parse ``host:port``, ``[IPv6]:port`` or ``:port``; ListenError for anything else."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65_535:  # noqa: PLR2004 - the highest port number
        raise ListenError(f"cannot listen on {text!r}: expected host:port, [IPv6 address]:port or :port")
    return ListenAddress(match["bracketed"] or match["host"], int(match["port"]))


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
            if not (isinstance(error.__cause__, OSError) and error.__cause__.errno in _NOT_HERE):
                _close(sockets)
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
        reason = _REASONS.get(error.errno or 0, str(error.strerror or error).lower())
        raise ListenError(f"cannot listen on {address}: {reason}") from error


def _close(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()
