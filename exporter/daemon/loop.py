"""The main loop: a few periodic jobs that only hand out work, driven by the ``schedule`` library."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import schedule
import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exporter.clock import Clock

_log = structlog.get_logger(__name__)


class Job(NamedTuple):
    """A periodic job; ``seconds``: whole seconds between runs. It must be short; longer work belongs in a thread."""

    name: str
    seconds: int
    run: Callable[[], None]


class BackgroundJob:
    """Longer work in a thread of its own. A run is skipped while the previous one is in progress."""

    def __init__(self, name: str, run: Callable[[], object]) -> None:
        self._name = name
        self._run = run
        self._running = threading.Lock()

    def start(self) -> None:
        """Start the work, unless it is running."""
        if self._running.acquire(blocking=False):
            threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def _work(self) -> None:
        try:
            self._run()
        except Exception:  # noqa: BLE001 one bug must not stop the job forever
            _log.exception("background job failed because of a bug in the exporter: please report it", chore=self._name)
        finally:
            self._running.release()


class Loop:
    """Runs jobs until stopped.

    The library plans by the local wall clock. Before each turn, the loop moves all planned runs by as much as the wall
    clock was set since the last one, so that only elapsed time counts: setting the clock, the end of daylight saving
    time and a suspended machine neither delay nor repeat a run.
    """

    def __init__(self, jobs: Sequence[Job], clock: Clock) -> None:
        self._clock = clock
        self._scheduler = schedule.Scheduler()
        self._shortest = min(job.seconds for job in jobs)
        self._last_turn: float | None = None
        self._last_read = self._read_clocks()
        for job in jobs:
            self._scheduler.every(job.seconds).seconds.do(self._guarded, job)

    def run(self, stop: threading.Event) -> None:
        """Run every job at once, then each at its interval, until ``stop`` is set."""
        self._follow_wall_clock()
        self._scheduler.run_all()
        while not stop.is_set():
            self.turn()
            self._clock.wait(stop, max(0.0, min(self._scheduler.idle_seconds or 0.0, self._shortest)))

    def turn(self) -> None:
        """Run the jobs that are due."""
        self._follow_wall_clock()
        self._scheduler.run_pending()
        self._last_turn = self._clock.monotonic()

    def seconds_since_turn(self) -> float:
        """Seconds since the last turn of the loop; 0 before the first one."""
        return 0.0 if self._last_turn is None else self._clock.monotonic() - self._last_turn

    def _follow_wall_clock(self) -> None:
        """Move planned runs by as much as the wall clock was set. No run is further away than its interval."""
        wall, monotonic = self._read_clocks()
        step = wall - self._last_read[0] - timedelta(seconds=monotonic - self._last_read[1])
        self._last_read = wall, monotonic
        for job in self._scheduler.jobs:
            if job.next_run is not None:
                job.next_run = min(job.next_run + step, wall + timedelta(seconds=job.interval))

    def _read_clocks(self) -> tuple[datetime, float]:
        """The clock that the library reads, and the one that is never set (seconds)."""
        return datetime.now(), self._clock.monotonic()  # noqa: DTZ005

    def _guarded(self, job: Job) -> None:
        """Run a job and log its exception, which would otherwise end the loop and with it all monitoring."""
        try:
            job.run()
        except Exception:  # noqa: BLE001 one bug must not end all polling
            _log.exception("scheduled job failed because of a bug in the exporter: please report it", job=job.name)
