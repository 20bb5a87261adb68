"""The one source of time. It is handed in, so that tests and benchmarks turn it by hand."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """What the exporter asks of time."""

    def time(self) -> float:
        """Wall-clock time in Unix seconds. Can step."""
        ...

    def monotonic(self) -> float:
        """Seconds since some instant. Never steps; for durations and due times."""
        ...

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until ``event`` is set, ``seconds`` at most. True when it is set."""
        ...


class SystemClock:
    """The machine's clock."""

    def time(self) -> float:
        """Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds of the machine's monotonic clock."""
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Block the calling thread."""
        return event.wait(seconds)


class ManualClock:
    """A clock that moves only when told to: waiting on it moves it and returns at once."""

    def __init__(self, start: float = 1_795_282_470.0) -> None:
        """Start at ``start`` Unix seconds; the monotonic side starts at 0."""
        self._start = start
        self._elapsed = 0.0
        self._step = 0.0
        self._lock = threading.Lock()

    def time(self) -> float:
        """Unix seconds, with every ``step`` in it."""
        return self._start + self._elapsed + self._step

    def monotonic(self) -> float:
        """Seconds that were advanced so far."""
        return self._elapsed

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Advance by ``seconds`` instead of blocking."""
        if not event.is_set():
            self.advance(max(seconds, 0.0))
        return event.is_set()

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass on both sides."""
        with self._lock:
            self._elapsed += seconds

    def step(self, seconds: float) -> None:
        """Set the wall clock forward (or back) by ``seconds``; the monotonic side does not see it."""
        with self._lock:
            self._step += seconds
