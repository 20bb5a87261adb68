"""The schedule: due times of one server's targets, with one entry per target, so that nothing is queued twice."""

from __future__ import annotations

import heapq
import threading
from typing import TYPE_CHECKING

from exporter.polling.targets import Queue

if TYPE_CHECKING:
    from exporter.polling.targets import Target

TICK = 1.0
"""Seconds between two checks of the schedule. A poll that is late by no more keeps its phase."""

FOLLOW_UP_SHARE = 4
"""While both are due, every fourth poll is a follow-up: progress comes first, but follow-ups never starve."""

SEGMENT_SHARE = 4
"""While both are due, every fourth follow-up counts segments: a detail can end what a count only describes."""

_SLACK = 64
"""Superseded entries that a heap may hold, beyond one per target, before it is cleaned up."""

Entry = tuple[float, int, "Target"]
"""Due time, a serial number that keeps the order of equal ones, and the target."""


class Schedule:
    """Due times in monotonic seconds. Thread-safe: workers take targets and put them back; the tick only looks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heaps: tuple[list[Entry], ...] = tuple([] for _ in Queue)
        self._due: dict[Target, Entry] = {}
        self._taken: dict[Target, float] = {}
        self._wanted: dict[Target, float] = {}
        self._removed: set[Target] = set()
        self._turns = 0
        self._serial = 0

    def put(self, target: Target, due: float) -> None:
        """Make ``target`` due at ``due``, unless it already is earlier: a repeated request must not delay it.

        During its poll this is a request, and the earliest request counts. A target that was removed during its poll is
        restored: the running poll is its own.
        """
        with self._lock:
            self._put(target, due)

    def put_new(self, target: Target, due: float) -> None:
        """Make ``target`` due at ``due`` unless it is scheduled or being polled: it may be waiting after a failure."""
        with self._lock:
            if target not in self:
                self._put(target, due)

    def bring_forward(self, target: Target, due: float) -> None:
        """Make ``target`` due at ``due`` at the latest, if it is scheduled at all."""
        with self._lock:
            if target in self._due:
                if due < self._due[target][0]:
                    self._push(target, due)
            elif target in self._taken and target not in self._removed:
                self._wanted[target] = min(due, self._wanted.get(target, due))

    def bring_all_forward(self, due: float) -> None:
        """Make every target due at ``due`` at the latest."""
        with self._lock:
            targets = [*self._due, *self._taken]
        for target in targets:
            self.bring_forward(target, due)

    def done(self, target: Target, due: float | None) -> bool:
        """Finish the poll of a taken ``target``; it is due again at ``due``, or never (None).

        Returns False if the target was removed in the meantime.
        """
        with self._lock:
            known = self._taken.pop(target, None) is not None and target not in self._removed
            self._removed.discard(target)
            if not known:
                return False
            wanted = self._wanted.pop(target, None)
            if wanted is not None:
                due = wanted if due is None else min(due, wanted)
            if due is not None:
                self._push(target, due)
            return True

    def remove(self, target: Target) -> None:
        """Remove ``target``, even during its poll."""
        with self._lock:
            self._due.pop(target, None)
            self._wanted.pop(target, None)
            if target in self._taken:
                self._removed.add(target)

    def take(self, now: float) -> tuple[Target, float] | None:
        """Take the target to poll now. Returns it with its due time; None: nothing is due."""
        with self._lock:
            self._turns += 1
            for queue in self._order():
                heap = self._heaps[queue]
                if self._peek(heap, now):
                    due, _, target = heapq.heappop(heap)
                    del self._due[target]
                    self._taken[target] = due
                    return target, due
        return None

    def has_due(self, now: float) -> bool:
        """Whether ``take`` would return a target."""
        with self._lock:
            return any(self._peek(heap, now) for heap in self._heaps)

    def lag(self, now: float) -> float:
        """Seconds by which the most overdue target is late, including those being polled."""
        with self._lock:
            firsts = [heap[0][0] for heap in self._heaps if self._tidy(heap)]
            return max(0.0, now - min([*firsts, *self._taken.values()], default=now))

    def next_due(self) -> float | None:
        """When the next target is due; None if the schedule is empty."""
        with self._lock:
            firsts = [heap[0][0] for heap in self._heaps if self._tidy(heap)]
            return min(firsts, default=None)

    def __len__(self) -> int:
        return len(self._due) + len(self._taken) - len(self._removed)

    def __contains__(self, target: Target) -> bool:
        return target in self._due or (target in self._taken and target not in self._removed)

    def _order(self) -> tuple[Queue, ...]:
        """In which order the queues are served at this turn."""
        if self._turns % FOLLOW_UP_SHARE:
            return Queue.PROGRESS, Queue.DETAILS, Queue.SEGMENTS
        if self._turns % (FOLLOW_UP_SHARE * SEGMENT_SHARE):
            return Queue.DETAILS, Queue.SEGMENTS, Queue.PROGRESS
        return Queue.SEGMENTS, Queue.DETAILS, Queue.PROGRESS

    def _put(self, target: Target, due: float) -> None:
        if target in self._taken:
            self._removed.discard(target)
            self._wanted[target] = min(due, self._wanted.get(target, due))
        elif target not in self._due or due < self._due[target][0]:
            self._push(target, due)

    def _push(self, target: Target, due: float) -> None:
        self._serial += 1
        entry = self._due[target] = (due, self._serial, target)
        heap = self._heaps[target.type.queue]
        heapq.heappush(heap, entry)
        if len(heap) > 2 * len(self._due) + _SLACK:
            heap[:] = [entry for entry in heap if self._is_current(entry)]
            heapq.heapify(heap)

    def _is_current(self, entry: Entry) -> bool:
        """Whether the entry has not been superseded."""
        return self._due.get(entry[2]) is entry

    def _tidy(self, heap: list[Entry]) -> bool:
        """Remove superseded entries from the top of the heap. True if an entry remains."""
        while heap:
            if self._is_current(heap[0]):
                return True
            heapq.heappop(heap)
        return False

    def _peek(self, heap: list[Entry], now: float) -> bool:
        return self._tidy(heap) and heap[0][0] <= now


def next_due(due: float, started: float, interval: float) -> float:
    """Next due time of a target that was due at ``due`` and polled at ``started``: no drift while polls are punctual.

    A poll that was late by more than a tick (the budget was used up, the server was slow) shifts the phase, so that
    load spreads.
    """
    return max(due, started - TICK) + interval
