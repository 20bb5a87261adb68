"""The threads that poll one server: one per permitted connection, asleep while nothing is due."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.polling.poller import Poller

_log = structlog.get_logger(__name__)


class Workers:
    """The thread pool of one server: a server that hangs delays no other."""

    def __init__(
        self, poller: Poller, size: int, stop: threading.Event, *, on_restart: Callable[[], None] = lambda: None
    ) -> None:
        """``stop`` is set once no new poll may start; the poller's client waits for it too.

        ``on_restart`` is called when a thread that has died was started again.
        """
        self._poller = poller
        self._stop = stop
        self._fields = {"server": poller.name}
        self._condition = threading.Condition()
        self._calls = 0
        self._active = 0
        self._size = size
        self._on_restart = on_restart
        self._threads: dict[int, threading.Thread] = {}

    def start(self) -> None:
        """Start the threads. They poll when woken."""
        for number in range(self._size):
            self._start(number)

    def restart_dead(self) -> None:
        """Start those threads again that have died. Not thread-safe."""
        for number, thread in self._threads.items():
            if not thread.is_alive() and not self._stop.is_set():
                self._start(number)
                self._on_restart()

    def wake(self) -> None:
        """Wake one thread to poll what is due; it wakes the next one while there is more to do."""
        with self._condition:
            if self._calls < self._size:
                self._calls += 1
                self._condition.notify()

    def stop(self) -> None:
        """Start no new polls. Running polls continue."""
        self._stop.set()
        with self._condition:
            self._condition.notify_all()

    def join(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for all running polls. True if all have ended."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._active, timeout)

    @property
    def active(self) -> int:
        """Number of threads that are polling or have been woken."""
        with self._condition:
            return self._active + self._calls

    def _start(self, number: int) -> None:
        thread = threading.Thread(target=self._run, name=f"poll-{self._poller.name}-{number}", daemon=True)
        thread.start()
        self._threads[number] = thread

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._calls or self._stop.is_set())
                if self._stop.is_set():
                    return
                self._calls -= 1
                self._active += 1
            try:
                self._poller.work(self._stop, on_more=self.wake)
            except BaseException:  # noqa: BLE001 whatever it is: the thread is started again
                _log.exception(
                    "polling thread died because of a bug in the exporter and is started again: please report it",
                    **self._fields,
                )
                return
            finally:
                self._ended()

    def _ended(self) -> None:
        """A thread has nothing to poll any more, or has died."""
        with self._condition:
            self._active -= 1
            last = not self._active
            self._condition.notify_all()
        if last:
            self._poller.close_connections()
