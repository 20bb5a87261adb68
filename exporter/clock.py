"""The one source of time. It is injected, so that tests and benchmarks can control it."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple, Protocol


class Instant(NamedTuple):
    """One instant: Unix seconds to show, monotonic seconds to measure with."""

    wall: float
    monotonic: float


class Clock(Protocol):
    """The time functions that the exporter uses."""

    def time(self) -> float:
        """Wall-clock time in Unix seconds. Can step."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary instant. Never steps; for durations and due times."""
        ...

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until ``event`` is set, for at most ``seconds``. True if the event is set."""
        ...


def instant(clock: Clock) -> Instant:
    """The present instant of ``clock``."""
    return Instant(clock.time(), clock.monotonic())


class SystemClock:
    """The system clock."""

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
    """A clock that moves only when advanced: waiting on it advances it and returns at once."""

    def __init__(self, start: float = 1_795_282_470.0) -> None:
        """Start the wall clock at ``start`` Unix seconds; the monotonic clock starts at 0."""
        self._start = start
        self._elapsed = 0.0
        self._step = 0.0
        self._lock = threading.Lock()

    def time(self) -> float:
        """Unix seconds, including every ``step``."""
        return self._start + self._elapsed + self._step

    def monotonic(self) -> float:
        """Seconds advanced so far."""
        return self._elapsed

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Advance by ``seconds`` instead of blocking."""
        if not event.is_set():
            self.advance(max(seconds, 0.0))
        return event.is_set()

    def advance(self, seconds: float) -> None:
        """Advance both clocks by ``seconds``."""
        with self._lock:
            self._elapsed += seconds

    def step(self, seconds: float) -> None:
        """Step the wall clock by ``seconds`` (may be negative); the monotonic clock does not change."""
        with self._lock:
            self._step += seconds
