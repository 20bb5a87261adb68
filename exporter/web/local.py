"""Requests from the machine itself, and what is answered there without a password."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

HEALTHY_PATH: Final = "/-/healthy"
READY_PATH: Final = "/-/ready"

_OF_A_PROXY = ("forwarded", "x-forwarded-for", "x-real-ip")


def is_local(request: HTTPConnection) -> bool:
    """Whether the client is on this machine and is not a proxy that forwards for a client elsewhere."""
    if request.client is None or any(name in request.headers for name in _OF_A_PROXY):
        return False
    try:
        address = ipaddress.ip_address(request.client.host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def is_health_check(request: HTTPConnection) -> bool:
    """Whether the request is a health check from the machine itself, without a password.

    If health checks required a password, a hung exporter would answer them the same way and would never be restarted.
    """
    asks = request.scope["path"] in {HEALTHY_PATH, READY_PATH} and "authorization" not in request.headers
    return asks and is_local(request)
