"""The pace of every target of a server, and how many targets are in which state, without counting them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from exporter.tracking.cadence import Cadence

if TYPE_CHECKING:
    from exporter.tracking.model import Kind, TargetState
    from exporter.tracking.targets import Target


class Paces:
    """Thread-safe. Steps are known too, but are not counted: they are no targets of their own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._targets: dict[Target, Cadence] = {}
        self._steps: dict[Target, Cadence] = {}
        self._new: set[Target] = set()
        self._counts: dict[tuple[Kind, TargetState], int] = {}

    def __contains__(self, target: Target) -> bool:
        return target in (self._steps if target.is_step else self._targets)

    def of(self, target: Target) -> Cadence:
        """The pace of ``target``; a new one when it has none."""
        return (self._steps if target.is_step else self._targets).get(target) or Cadence()

    def add(self, target: Target) -> bool:
        """Begin with a new pace. False when ``target`` has one already, which stays."""
        with self._lock:
            if target in self:
                return False
            self._put(target, Cadence())
            self._new.add(target)
            return True

    def note(self, target: Target, pace: Cadence) -> None:
        """Note the pace of ``target``, which has been polled."""
        with self._lock:
            self._new.discard(target)
            self._put(target, pace)

    def drop(self, target: Target) -> None:
        """Forget the pace of ``target``."""
        with self._lock:
            self._new.discard(target)
            if target.is_step:
                self._steps.pop(target, None)
            elif target in self._targets:
                self._count(target, self._targets.pop(target), -1)

    @property
    def unpolled(self) -> int:
        """How many were added and have not been polled yet."""
        return len(self._new)

    def counts(self) -> dict[tuple[Kind, TargetState], int]:
        """How many targets of each kind are in each state, where there are any."""
        with self._lock:
            return {key: count for key, count in self._counts.items() if count}

    def targets(self) -> set[Target]:
        """Every target, without the steps."""
        with self._lock:
            return set(self._targets)

    def all(self) -> dict[Target, Cadence]:
        """Every pace, those of the steps included."""
        with self._lock:
            return {**self._targets, **self._steps}

    def _put(self, target: Target, pace: Cadence) -> None:
        if target.is_step:
            self._steps[target] = pace
            return
        old = self._targets.get(target)
        if old is not None:
            self._count(target, old, -1)
        self._targets[target] = pace
        self._count(target, pace, 1)

    def _count(self, target: Target, pace: Cadence, more: int) -> None:
        key = (target.metric_kind, pace.state)
        self._counts[key] = self._counts.get(key, 0) + more
