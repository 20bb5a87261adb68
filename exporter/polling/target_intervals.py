"""The poll interval of every target of a server, and the number of targets in each state."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from exporter.polling.intervals import PollInterval

if TYPE_CHECKING:
    from exporter.tracking.model import Kind, TargetState
    from exporter.tracking.targets import Target


class PollIntervals:
    """Poll intervals by target. Thread-safe. Follow-up targets are included but not counted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._targets: dict[Target, PollInterval] = {}
        self._steps: dict[Target, PollInterval] = {}
        self._new: set[Target] = set()
        self._counts: dict[tuple[Kind, TargetState], int] = {}

    def __contains__(self, target: Target) -> bool:
        return target in (self._steps if target.is_step else self._targets)

    def of(self, target: Target) -> PollInterval:
        """The poll interval of ``target``; a new one if it has none."""
        return (self._steps if target.is_step else self._targets).get(target) or PollInterval()

    def add(self, target: Target) -> bool:
        """Add ``target`` with a new interval. False if it is already known; it then keeps its interval."""
        with self._lock:
            if target in self:
                return False
            self._put(target, PollInterval())
            self._new.add(target)
            return True

    def note(self, target: Target, pace: PollInterval) -> None:
        """Set the interval of ``target`` after a poll."""
        with self._lock:
            self._new.discard(target)
            self._put(target, pace)

    def drop(self, target: Target) -> None:
        """Remove ``target``."""
        with self._lock:
            self._new.discard(target)
            if target.is_step:
                self._steps.pop(target, None)
            elif target in self._targets:
                self._count(target, self._targets.pop(target), -1)

    @property
    def unpolled(self) -> int:
        """Number of targets that were added and have not been polled yet."""
        return len(self._new)

    def counts(self) -> dict[tuple[Kind, TargetState], int]:
        """Number of targets by type and state, without zeros."""
        with self._lock:
            return {key: count for key, count in self._counts.items() if count}

    def targets(self) -> set[Target]:
        """All targets, without follow-ups."""
        with self._lock:
            return set(self._targets)

    def all(self) -> dict[Target, PollInterval]:
        """All intervals, follow-ups included."""
        with self._lock:
            return {**self._targets, **self._steps}

    def _put(self, target: Target, pace: PollInterval) -> None:
        if target.is_step:
            self._steps[target] = pace
            return
        old = self._targets.get(target)
        if old is not None:
            self._count(target, old, -1)
        self._targets[target] = pace
        self._count(target, pace, 1)

    def _count(self, target: Target, pace: PollInterval, more: int) -> None:
        key = (target.metric_kind, pace.state)
        self._counts[key] = self._counts.get(key, 0) + more
