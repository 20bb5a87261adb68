"""Rate limit for the requests to one server."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.clock import Clock


class Budget:
    """Token bucket of size one: requests are evenly spaced, at least ``1 / requests_per_second`` seconds apart.

    A larger bucket would allow more than ``requests_per_second`` requests in its first second. Shared by all workers
    of a server.
    """

    def __init__(self, requests_per_second: float, clock: Clock) -> None:
        self._spacing = 1.0 / requests_per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._next = clock.monotonic()

    def reserve(self) -> float:
        """Reserve the next free slot and return the seconds to wait for it, 0 if it is free now."""
        with self._lock:
            now = self._clock.monotonic()
            slot = max(now, self._next)
            self._next = slot + self._spacing
            return slot - now

    def change(self, requests_per_second: float) -> None:
        """Use another rate from now on. Nobody waits any more for the slots that were reserved so far."""
        with self._lock:
            self._spacing = 1.0 / requests_per_second
            self._next = min(self._next, self._clock.monotonic() + self._spacing)
