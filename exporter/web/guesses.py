"""Who may be guessing passwords, and how passwords that wait to be verified take turns."""

from __future__ import annotations

import ipaddress
import itertools
import time
from collections import OrderedDict, deque
from collections.abc import Hashable
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


class FairQueue(Generic[K, T]):
    """Items that wait, by client. Two rules take turns, because each alone could be exploited.

    The oldest of all items is next: whoever waits patiently is served. And clients take turns, with the newest item of
    each: however many items the others have, a client is served soon, even behind a shared address after a burst.
    """

    def __init__(self) -> None:
        self._clients: OrderedDict[K, deque[tuple[int, T]]] = OrderedDict()
        self._numbers = itertools.count()
        self._oldest = True

    def __len__(self) -> int:
        """Number of items of all clients."""
        return sum(map(len, self._clients.values()))

    def count(self, client: K) -> int:
        """Number of items of a client."""
        return len(self._clients.get(client, ()))

    def push(self, client: K, item: T) -> None:
        """Append an item."""
        self._clients.setdefault(client, deque()).append((next(self._numbers), item))

    def pop(self, eligible: Callable[[K], bool], rank: Callable[[K], float] = lambda _: 0.0) -> T | None:
        """Remove and return the next item of the eligible clients of the lowest rank; None if there is none."""
        ranks = {client: rank(client) for client in self._clients if eligible(client)}
        if not ranks:
            return None
        lowest = min(ranks.values())
        first = [client for client in ranks if ranks[client] == lowest]
        self._oldest = not self._oldest
        client = min(first, key=lambda each: self._clients[each][0][0]) if self._oldest else first[0]
        items = self._clients[client]
        _, item = items.popleft() if self._oldest else items.pop()
        if not items:
            del self._clients[client]
        elif not self._oldest:
            self._clients.move_to_end(client)
        return item

    def remove(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Remove and return all unwanted items."""
        removed: list[T] = []
        for client, items in tuple(self._clients.items()):
            removed += (item for _, item in items if unwanted(item))
            wanted = deque(numbered for numbered in items if not unwanted(numbered[1]))
            if wanted:
                self._clients[client] = wanted
            else:
                del self._clients[client]
        return removed
