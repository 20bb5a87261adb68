"""Events in time order, and workers that run one task at a time."""

from __future__ import annotations

import heapq
from collections import deque
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Agenda:
    """Future events in time order. Events due at the same instant run in the order in which they were entered."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()

    def enter(self, instant: float, happen: Callable[[float], None]) -> None:
        """Call ``happen(instant)`` when the time has come; never, if the instant is infinite."""
        if instant != inf:
            heapq.heappush(self._entries, (instant, next(self._order), happen))

    def run(self, now: float) -> None:
        """Run all events that are due, each at its own instant."""
        while self._entries and self._entries[0][0] <= now:
            instant, _, happen = heapq.heappop(self._entries)
            happen(instant)

    def __len__(self) -> int:
        return len(self._entries)


class Task(Protocol):
    """Work for one worker."""

    def start(self, instant: float) -> float:
        """Start the task at ``instant``; return when the worker is free again."""
        ...


class Workers:
    """Workers and their queue. ``size`` None: no limit."""

    def __init__(self, agenda: Agenda, size: int | None) -> None:
        self._agenda = agenda
        self._free: float = inf if size is None else size
        self._queue: deque[Task] = deque()
        self._running: set[Task] = set()

    def submit(self, task: Task, instant: float) -> None:
        """Submit a task: it starts now or when a worker becomes free."""
        self._queue.append(task)
        self._next(instant)

    def end(self, task: Task, instant: float) -> None:
        """End a running task at ``instant``, unless something ends it earlier."""
        if task in self._running:
            self._agenda.enter(instant, lambda now: self._release(task, now))

    def withdraw(self, task: Task, instant: float) -> None:
        """Remove a task from the queue or from its worker."""
        if task in self._running:
            self._release(task, instant)
        elif task in self._queue:
            self._queue.remove(task)

    def _next(self, instant: float) -> None:
        while self._queue and self._free >= 1:
            task = self._queue.popleft()
            self._free -= 1
            self._running.add(task)
            self.end(task, task.start(instant))

    def _release(self, task: Task, instant: float) -> None:
        if task in self._running:
            self._running.remove(task)
            self._free += 1
            self._next(instant)
