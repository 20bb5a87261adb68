"""The main loop, on a wall clock moved by hand."""

from __future__ import annotations

import itertools
import os
import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
import time_machine

from exporter.clock import ManualClock
from exporter.daemon.loop import Job, Loop

if TYPE_CHECKING:
    from collections.abc import Iterator

AUTUMN = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))


class MachineClock(ManualClock):
    """Waiting also advances the machine's wall clock, so that ``schedule`` sees it."""

    def __init__(self, traveller: Any) -> None:
        super().__init__()
        self._traveller = traveller

    def advance(self, seconds: float) -> None:
        """Advance both clocks."""
        super().advance(seconds)
        self._traveller.shift(seconds)


@pytest.fixture(params=["UTC", "Europe/Berlin"])
def zone(request: pytest.FixtureRequest) -> Iterator[str]:
    """Set the time zone of the process."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield request.param
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def turns_over(hours: float, start: datetime) -> list[float]:
    """The elapsed seconds at which a job of one minute runs."""
    with time_machine.travel(start, tick=False) as traveller:
        clock = MachineClock(traveller)
        times: list[float] = []
        stop = threading.Event()

        def job() -> None:
            times.append(round(clock.monotonic()))
            if clock.monotonic() > hours * 3600:
                stop.set()

        Loop([Job("job", 60, job)], clock).run(stop)
    return times


def test_the_loop_continues_when_daylight_saving_ends(zone: str) -> None:
    """No turn is later than two intervals, in UTC and in a zone whose clock goes back an hour."""
    times = turns_over(2.0, AUTUMN)
    gaps = {later - earlier for earlier, later in itertools.pairwise(times)}
    assert max(gaps) <= 120, zone
    assert len(times) >= 118


def test_the_loop_continues_when_the_wall_clock_is_set_back() -> None:
    """A clock set back by a day does not stop the loop for a day."""
    with time_machine.travel(AUTUMN, tick=False) as traveller:
        clock = MachineClock(traveller)
        runs: list[float] = []
        loop = Loop([Job("job", 1, lambda: runs.append(clock.monotonic()))], clock)
        for second in range(10):
            if second == 5:
                traveller.shift(-86_400)
            loop.turn()
            clock.advance(1.0)
        assert len(runs) >= 7


def test_a_job_that_raises_stops_no_job() -> None:
    """A job that raises runs again in the next turn, and so do the other jobs."""
    with time_machine.travel(AUTUMN, tick=False) as traveller:
        clock = MachineClock(traveller)
        runs: list[str] = []

        def broken() -> None:
            runs.append("broken")
            raise ZeroDivisionError

        loop = Loop([Job("broken", 1, broken), Job("good", 1, lambda: runs.append("good"))], clock)
        for _ in range(3):
            loop.turn()
            clock.advance(1.0)
        assert runs == ["broken", "good"] * 2


def test_seconds_since_the_last_turn() -> None:
    """The health check can read the time since the last turn."""
    with time_machine.travel(AUTUMN, tick=False) as traveller:
        clock = MachineClock(traveller)
        loop = Loop([Job("job", 1, lambda: None)], clock)
        assert loop.seconds_since_turn() == 0.0
        loop.turn()
        clock.advance(7.0)
        assert loop.seconds_since_turn() == 7.0
