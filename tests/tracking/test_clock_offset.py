"""The offset of the server's clock, estimated from status transitions."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.tracking.clock_offset import OBSERVATIONS, WIDEST, ClockOffset
from exporter.tracking.model import Progress

NOW = 1_795_282_470.0
WAITING = Progress("waiting")
FIELDS = (
    *("processing_started_at", "parsing_completed_at", "cleaning_completed_at", "splitting_completed_at"),
    *("completed_at", "paused_at", "stopped_at"),
)


def transition(offset: ClockOffset, ahead: float, at: float = NOW, field: str = "completed_at") -> None:
    """A time written at ``at`` by a server whose clock is ``ahead``, observed by polls 5 s before and after."""
    after = replace(WAITING, **{field: int(at + ahead)})
    offset.observe(WAITING, after, since=at - 5, now=at + 5)


def test_nothing_is_known_before_a_transition() -> None:
    """There is no estimate before the first transition."""
    assert (None, None) == (ClockOffset().seconds, ClockOffset().zone_hours)


@pytest.mark.parametrize(
    ("ahead", "hours"),
    [
        (0.0, None),
        (-28_800.0, -8.0),  # Asia/Shanghai
        (-19_800.0, -5.5),  # Asia/Kolkata
        (12_600.0, 3.5),  # America/St_Johns
        (18_000.0, 5.0),  # America/New_York
        (-28_770.0, -8.0),  # Asia/Shanghai, and a clock that is half a minute wrong
        (90.0, None),
        (-600.0, None),
        (-28_200.0, None),
    ],
)
def test_zone(ahead: float, hours: float | None) -> None:
    """An offset of half or whole hours is a time zone error; any other is a wrong clock."""
    offset = ClockOffset()
    for second in range(0, 200, 20):
        transition(offset, ahead, NOW + second)

    assert offset.seconds == pytest.approx(ahead, abs=5.5)
    assert hours == offset.zone_hours


@pytest.mark.parametrize("field", FIELDS)
def test_every_phase_time_bounds_the_offset(field: str) -> None:
    """Each time that the server writes is used, even if it overwrites one of an earlier attempt."""
    offset = ClockOffset()
    transition(offset, -28_800.0, field=field)
    assert -8.0 == offset.zone_hours

    again = ClockOffset()
    old = replace(WAITING, **{field: 1_700_000_000})
    again.observe(old, replace(WAITING, **{field: int(NOW)}), since=NOW - 1, now=NOW + 1)
    assert again.seconds == pytest.approx(0.0, abs=1.5)


@given(
    st.floats(-50_000, 50_000),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, WIDEST)), min_size=1, max_size=30),
)
def test_it_gets_narrower_and_never_wrong(ahead: float, polls: list[tuple[float, float]]) -> None:
    """The error of the estimate never exceeds what the closest pair of polls allows."""
    offset = ClockOffset()
    since = NOW
    narrowest = WIDEST
    for share, gap in polls:
        value = int(since + share * gap + ahead)
        offset.observe(WAITING, replace(WAITING, completed_at=value), since=since, now=since + gap)
        narrowest = min(narrowest, gap)
        since += gap
        assert offset.seconds is not None
        if len(polls) <= OBSERVATIONS:
            assert abs(offset.seconds - ahead) <= (narrowest + 1) / 2 + 1e-3


def test_polls_far_apart_give_no_offset() -> None:
    """Transitions between polls that are minutes apart are ignored."""
    offset = ClockOffset()
    offset.observe(WAITING, replace(WAITING, completed_at=int(NOW)), since=NOW, now=NOW + WIDEST + 1)

    assert offset.seconds is None


def test_changes_that_touch_no_time() -> None:
    """A change of status or segments alone yields no observation."""
    offset = ClockOffset()
    done = Progress("completed", 10, 11, 12, 12, 13, completed_segments=5, total_segments=5)
    for _ in range(50):
        offset.observe(done, replace(done, status="indexing", completed_segments=0), since=NOW - 15, now=NOW)
    offset.observe(done, replace(done, completed_at=None), since=NOW - 15, now=NOW)

    assert offset.seconds is None


def test_a_time_that_is_written_twice_is_one_transition() -> None:
    """Times of the same instant, such as cleaning and splitting, are one observation."""
    offset = ClockOffset()
    value = int(NOW)
    both = replace(WAITING, cleaning_completed_at=value, splitting_completed_at=value, parsing_completed_at=value - 2)
    offset.observe(WAITING, both, since=NOW - 4, now=NOW + 4)

    assert 1 == len(offset._bounds)
    assert offset.seconds == pytest.approx(0.0, abs=4.5)


def test_times_that_can_not_be_of_one_gap_are_left_out() -> None:
    """Times further apart than the two polls were not all written between them, and are ignored."""
    offset = ClockOffset()
    stale = replace(WAITING, processing_started_at=int(NOW) - 7_200, completed_at=int(NOW))
    offset.observe(WAITING, stale, since=NOW - 15, now=NOW)

    assert offset.seconds is None


def test_stale_times_that_reappear_change_nothing() -> None:
    """Reappearing times of an earlier attempt do not change the estimate, even for all documents of a batch."""
    offset = ClockOffset()
    transition(offset, 0.0)
    before = offset.seconds
    for number in range(20):
        stale = replace(WAITING, completed_at=int(NOW) + 92 - 7_200 + number % 3)
        offset.observe(WAITING, stale, since=NOW + 85, now=NOW + 100)
    assert before == offset.seconds

    transition(offset, 0.0, NOW + 200)
    transition(offset, -7_200.0, NOW + 300)
    assert offset.zone_hours is None


def test_stale_times_at_first_are_overcome() -> None:
    """If the very first times were stale, two transitions that agree correct the estimate."""
    offset = ClockOffset()
    transition(offset, -3_600.0)
    assert -1.0 == offset.zone_hours

    transition(offset, 0.0, NOW + 100)
    transition(offset, 0.0, NOW + 200)
    assert offset.zone_hours is None
    assert offset.seconds == pytest.approx(0.0, abs=5.5)


@pytest.mark.parametrize("ahead", [-28_800.0, 3_600.0, 300.0, -300.0])
def test_a_clock_that_is_set(ahead: float) -> None:
    """After a clock is set or the time zone fixed, the second transition shows the new offset."""
    offset = ClockOffset()
    for second in range(0, 200, 20):
        transition(offset, ahead, NOW + second)
    transition(offset, 0.0, NOW + 300)
    assert offset.seconds == pytest.approx(ahead, abs=5.5)

    transition(offset, 0.0, NOW + 320)
    assert offset.seconds == pytest.approx(0.0, abs=5.5)
    assert offset.zone_hours is None


@pytest.mark.parametrize("step", [-3_600.0, -20.0, 3_600.0])
def test_the_own_clock_is_set_between_two_polls(step: float) -> None:
    """If the exporter's own clock is set between two polls, that gap is ignored."""
    offset = ClockOffset()
    transition(offset, 0.0)
    before = offset.seconds
    offset.observe(WAITING, replace(WAITING, completed_at=int(NOW) + 100), since=NOW + 95, now=NOW + 105 + step)

    assert before == offset.seconds


def test_only_recent_transitions_count() -> None:
    """The number of transitions in the estimate is bounded."""
    offset = ClockOffset()
    for second in itertools.islice(itertools.count(0, 20), OBSERVATIONS + 5):
        transition(offset, 0.0, NOW + second)

    assert OBSERVATIONS == len(offset._bounds)
