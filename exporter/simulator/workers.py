"""Events in time order, and the workers that index documents, one task at a time."""

from __future__ import annotations

import heapq
from collections import deque
from itertools import count
from math import inf
from typing import TYPE_CHECKING

from exporter.simulator.documents import IndexingTask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from exporter.simulator.documents import Document


class EventQueue:
    """Future events in time order. Events due at the same instant run in the order in which they were scheduled."""

    def __init__(self) -> None:
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()

    def schedule(self, instant: float, callback: Callable[[float], None]) -> None:
        """Call ``callback(instant)`` when the time has come; never, if the instant is infinite."""
        if instant != inf:
            heapq.heappush(self._events, (instant, next(self._order), callback))

    def run(self, now: float) -> None:
        """Run all events that are due, each at its own instant."""
        while self._events and self._events[0][0] <= now:
            instant, _, callback = heapq.heappop(self._events)
            callback(instant)

    def __len__(self) -> int:
        return len(self._events)


class Workers:
    """Workers and the queue of their tasks. ``size``: the number of workers; None: no limit."""

    def __init__(self, events: EventQueue, size: int | None) -> None:
        self._events = events
        self._free: float = inf if size is None else size
        self._queue: deque[IndexingTask] = deque()
        self._running: set[IndexingTask] = set()

    def submit(self, documents: Iterable[Document], instant: float, *, delay: float = 0.0) -> None:
        """Send a message to index these documents. It reaches the queue after ``delay`` seconds."""
        task = IndexingTask(tuple(documents))
        self._events.schedule(instant + delay, lambda now: self._enqueue(task, now))

    def release_at(self, task: IndexingTask, instant: float) -> None:
        """End a running task at ``instant``, unless something ends it earlier."""
        if task in self._running:
            self._events.schedule(instant, lambda now: self._release(task, now))

    def cancel(self, task: IndexingTask, instant: float) -> None:
        """Remove a task from the queue or from its worker."""
        task.canceled = True
        if task in self._queue:
            self._queue.remove(task)
        self._release(task, instant)

    def _enqueue(self, task: IndexingTask, instant: float) -> None:
        if not task.canceled:
            self._queue.append(task)
            self._start_next(instant)

    def _start_next(self, instant: float) -> None:
        while self._queue and self._free >= 1:
            task = self._queue.popleft()
            self._free -= 1
            self._running.add(task)
            self.release_at(task, task.start(instant))

    def _release(self, task: IndexingTask, instant: float) -> None:
        if task in self._running:
            self._running.remove(task)
            self._free += 1
            self._start_next(instant)
