"""Listen addresses: ``host:port`` in the notation of Prometheus and its exporters."""

from __future__ import annotations

import re
from typing import NamedTuple

_ADDRESS = re.compile(r"(?:\[(?P<bracketed>[^\[\]]+)\]|(?P<host>[^:\[\]\s]*)):(?P<port>\d{1,5})")


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
