"""The threads that poll one server: as many as it may have connections, asleep while nothing is due."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.tracking.poller import Poller


class Workers:
    """A pool of one server's own: however long it hangs, no other server waits."""

    def __init__(self, poller: Poller, size: int, stop: threading.Event) -> None:
        """``stop`` is set once no new poll is to begin; the client of the poller waits on it too."""
        self._poller = poller
        self._stop = stop
        self._condition = threading.Condition()
        self._calls = 0
        self._active = 0
        self._threads = [
            threading.Thread(target=self._run, name=f"poll-{poller.name}-{number}", daemon=True)
            for number in range(size)
        ]

    def start(self) -> None:
        """Start the threads. They poll when woken."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Let one thread look for due targets; it wakes the next one while there is more than it can do."""
        with self._condition:
            if self._calls < len(self._threads):
                self._calls += 1
                self._condition.notify()

    def stop(self) -> None:
        """Begin no new poll. Running ones go on."""
        self._stop.set()
        with self._condition:
            self._condition.notify_all()

    def join(self, timeout: float) -> bool:
        """Wait for running polls, at most ``timeout`` seconds together. True when all have ended."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._active, timeout)

    @property
    def active(self) -> int:
        """How many threads are at work or called to it."""
        with self._condition:
            return self._active + self._calls

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._calls or self._stop.is_set())
                if self._stop.is_set():
                    return
                self._calls -= 1
                self._active += 1
            self._poller.work(self._stop, on_more=self.wake)
            with self._condition:
                self._active -= 1
                last = not self._active
                self._condition.notify_all()
            if last:
                self._poller.close_connections()
