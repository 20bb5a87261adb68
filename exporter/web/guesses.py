"""Who may be guessing passwords, and how passwords that wait to be verified take turns."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

TOLERATED: Final = 3
"""Wrong passwords after which an address is suspect."""

FORGIVEN_AFTER: Final = 10.0
"""Seconds after which one wrong password no longer counts."""

MAX_DELAY: Final = 30.0
"""Maximum number of seconds that the answer to a wrong password is delayed."""

_MAX_COUNTED: Final = 16
_MAX_CLIENTS: Final = 4096
_IPV6_CUSTOMER: Final = 64
"""Length of the IPv6 prefix that a single customer has at least: its addresses cost nothing."""

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


def client_of(host: str) -> str:
    """Who is behind an address: an IPv4 address, or an IPv6 network of 64 bits. Other text stands for itself."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), _IPV6_CUSTOMER), strict=False))


class Guesses:
    """Counts the wrong passwords of each client; each one counts until ``FORGIVEN_AFTER`` has passed for it."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._counts: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def add(self, client: str) -> None:
        """Count a wrong password."""
        self._counts[client] = min(self.count(client) + 1, _MAX_COUNTED), self._now()
        self._counts.move_to_end(client)
        while len(self._counts) > _MAX_CLIENTS:
            self._counts.popitem(last=False)

    def count(self, client: str) -> float:
        """How many wrong passwords count at present."""
        count, since = self._counts.get(client, (0.0, 0.0))
        return max(count - (self._now() - since) / FORGIVEN_AFTER, 0.0)

    def is_suspect(self, client: str) -> bool:
        """Whether the client seems to guess."""
        return self.count(client) > TOLERATED

    def delay(self, client: str) -> float:
        """Seconds to delay the answer to the latest wrong password: none at first, then 1, 2, 4 and so on."""
        excess = self.count(client) - TOLERATED
        return 0.0 if excess <= 0 else min(2.0 ** (excess - 1), MAX_DELAY)


@dataclass(slots=True)
class _Line(Generic[T]):
    """The items of one client, oldest first. ``newest``: which end the next turn is for."""

    items: deque[T] = field(default_factory=deque)
    newest: bool = False


class FairQueue(Generic[K, T]):
    """Items that wait, by client. Clients take turns, however many items each of them has.

    Of one client, the oldest and the newest item take turns: behind a shared address, one that waits patiently is
    served soon although others keep arriving, and one that arrives after a burst is, too.
    """

    def __init__(self) -> None:
        self._lines: OrderedDict[K, _Line[T]] = OrderedDict()

    def __len__(self) -> int:
        """Number of items of all clients."""
        return sum(len(line.items) for line in self._lines.values())

    def count(self, client: K) -> int:
        """Number of items of a client."""
        return len(self._lines[client].items) if client in self._lines else 0

    def push(self, client: K, item: T) -> None:
        """Append an item."""
        self._lines.setdefault(client, _Line()).items.append(item)

    def pop(self, eligible: Callable[[K], bool], rank: Callable[[K], float] = lambda _: 0.0) -> T | None:
        """Remove and return the next item of the eligible clients of the lowest rank; None if there is none."""
        client = min(filter(eligible, self._lines), key=rank, default=None)
        if client is None:
            return None
        line = self._lines[client]
        item = line.items.pop() if line.newest else line.items.popleft()
        line.newest = not line.newest
        self._lines.move_to_end(client)
        if not line.items:
            del self._lines[client]
        return item

    def remove(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Remove and return all unwanted items."""
        removed: list[T] = []
        for client, line in tuple(self._lines.items()):
            removed += filter(unwanted, line.items)
            line.items = deque(item for item in line.items if not unwanted(item))
            if not line.items:
                del self._lines[client]
        return removed
