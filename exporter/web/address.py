"""Listen addresses: ``host:port`` as Prometheus and its exporters write it, and the sockets for one."""

from __future__ import annotations

import errno
import re
import socket
from typing import NamedTuple

BACKLOG = 1024
"""Connections that wait in the kernel until the server takes them."""

_ADDRESS = re.compile(r"(?:\[(?P<bracketed>[^\[\]]+)\]|(?P<host>[^:\[\]\s]*)):(?P<port>\d{1,5})")
_REASONS = {
    errno.EADDRINUSE: "address already in use; stop the program that listens there or choose another address",
    errno.EACCES: "permission denied; ports below 1024 need a privilege, choose another port",
    errno.EADDRNOTAVAIL: "this machine has no such address; 0.0.0.0 stands for all of them",
    errno.EAFNOSUPPORT: "this machine does not speak that address family; 0.0.0.0 stands for all of IPv4",
}
_NOT_HERE = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


class ListenError(Exception):
    """The address cannot be listened on. The message names it and the remedy."""


class ListenAddress(NamedTuple):
    """Host ("" for every address of the machine) and port (0 for any free one)."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_listen_address(text: str) -> ListenAddress:
    """Read ``host:port``, ``[IPv6]:port`` or ``:port``; ListenError when it is none of them."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65_535:  # noqa: PLR2004 - the largest port there is
        raise ListenError(f"cannot listen on {text!r}: write host:port, [IPv6 address]:port or :port")
    return ListenAddress(match["bracketed"] or match["host"], int(match["port"]))


def open_sockets(address: ListenAddress) -> list[socket.socket]:
    """Sockets that listen, one for each address that the host stands for; ListenError when there is none.

    "" and ``::`` take IPv4 too, where the machine has both. A name such as localhost may stand for an address that
    the machine lacks: the others are enough.
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
            port = sockets[0].getsockname()[1]  # one port for all, also when any free one will do
    if absent and not sockets:
        raise absent
    return sockets


def _resolve(address: ListenAddress) -> list[tuple[socket.AddressFamily, str, *tuple[int, ...]]]:
    """Family, host and, with IPv6, flow and scope of each address of the host, none twice."""
    try:
        found = socket.getaddrinfo(
            address.host or "0.0.0.0",  # noqa: S104 - "" asks for all addresses
            address.port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )
    except (OSError, UnicodeError) as error:
        raise ListenError(f"cannot listen on {address}: no such host as {address.host!r}") from error
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
