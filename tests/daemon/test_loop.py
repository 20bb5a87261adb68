"""The main loop, on a wall clock moved by hand."""

from __future__ import annotations

import itertools
import os
import threading
import time
from datetime import datetime
from functools import partial
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


STEPS = [seconds * sign for seconds in (1, 600, 3600, 86_400) for sign in (-1, 1)]


@pytest.mark.parametrize("step", STEPS)
def test_setting_the_wall_clock_changes_no_run(step: int) -> None:
    """Only elapsed time counts: a job of a second, a minute or an hour runs neither later nor earlier."""
    expected = _runs({})
    assert expected == _runs({90.5: step})
    assert expected == _runs({90.5: step, 91.5: step, 130.0: -step})


def test_a_wall_clock_that_is_set_again_and_again_changes_no_run() -> None:
    """A time service that corrects the clock every few seconds does not postpone a job of a minute."""
    assert _runs({}) == _runs({float(second): -2.0 for second in range(1, 180, 3)})


def _runs(steps: dict[float, float]) -> dict[str, list[float]]:
    """When each job runs, in seconds since the start. ``steps``: when the wall clock is set, and by how much."""
    with time_machine.travel(AUTUMN, tick=False) as traveller:
        clock = MachineClock(traveller)
        start = clock.monotonic()
        runs: dict[str, list[float]] = {"poll": [], "expire": [], "claim": []}
        seconds = {"poll": 1, "expire": 60, "claim": 3600}

        def note(name: str) -> None:
            runs[name].append(clock.monotonic() - start)

        loop = Loop([Job(name, seconds[name], partial(note, name)) for name in runs], clock)
        pending = dict(sorted(steps.items()))
        while clock.monotonic() - start < 180.0:
            for at in [at for at in pending if at <= clock.monotonic() - start]:
                traveller.shift(pending.pop(at))
            loop.turn()
            clock.advance(0.5)
        return runs


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
