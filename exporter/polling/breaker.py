"""Circuit breaker: after some failures, polls of a server or of one dataset are paused instead of sent."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from exporter.dify import Forbidden, RateLimited, Unauthorized, Unreachable
from exporter.polling.intervals import backoff

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.config import Polling
    from exporter.dify import DifyError
    from exporter.tracking.targets import Target

UNREACHED_TARGETS = 3
"""Number of different targets without an answer, in a row, after which the server counts as unreachable."""

_SERVER = ""


class Breaker:
    """Opens for the whole server on a rejected key, a rate limit or an unreachable server; on a 403, for one dataset.

    After the wait the next polls are sent: they close the breaker or open it for longer.
    """

    def __init__(self, polling: Polling, *, random: Callable[[], float]) -> None:
        self._polling = polling
        self._random = random
        self._lock = threading.Lock()
        self._open: dict[str, tuple[int, float]] = {}
        self._unreached: set[Target] = set()

    def closed_until(self, target: Target, now: float) -> float | None:
        """Monotonic second before which ``target`` must not be polled. None: poll it now."""
        if not self._open:
            return None
        until = max(self._open.get(scope, (0, 0.0))[1] for scope in (_SERVER, target.dataset_id))
        return until if until > now else None

    def answered(self, target: Target) -> None:
        """Close the breaker: the server answered."""
        if self._open or self._unreached:
            with self._lock:
                self._unreached.clear()
                self._open.pop(_SERVER, None)
                self._open.pop(target.dataset_id, None)

    def failed(self, target: Target, error: DifyError, now: float) -> None:
        """Record a failed request. One that was sent before the breaker opened is ignored."""
        with self._lock:
            if isinstance(error, Unreachable):
                self._unreached.add(target)
                if len(self._unreached) < UNREACHED_TARGETS and _SERVER not in self._open:
                    return
                scope = _SERVER
            elif isinstance(error, (Unauthorized, RateLimited)):
                scope = _SERVER
            elif isinstance(error, Forbidden):
                scope = target.dataset_id
            else:
                self._unreached.clear()
                return
            failures, until = self._open.get(scope, (0, 0.0))
            if until > now:
                return
            failures += 1
            wait = max(backoff(failures, self._polling, random=self._random), error.retry_after or 0.0)
            self._open[scope] = failures, now + wait
