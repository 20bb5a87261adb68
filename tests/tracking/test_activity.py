"""What is counted of a knowledge base."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.tracking.activity import PHASE_BOUNDS, PHASES, count_finished, count_restarted, no_activity
from exporter.tracking.reasons import REASONS

EMPTY = no_activity("main", "ds")


def test_everything_starts_at_zero() -> None:
    """Every end, reason and phase is there from the start, so that the first event is an increase."""
    assert {("completed", ""): 0, **{("error", reason): 0 for reason in REASONS}} == dict(EMPTY.finished)
    assert 0 == EMPTY.restarted
    assert PHASES == tuple(phase for phase, _ in EMPTY.phases)
    assert {(0,) * (len(PHASE_BOUNDS) + 1)} == {seen.counts for _, seen in EMPTY.phases}


def test_an_end_counts_once_where_it_belongs() -> None:
    """One more of that status and reason; nothing else changes, and the one before stays as it was."""
    after = count_finished(EMPTY, "error", "quota")

    assert {("error", "quota"): 1} == {end: count for end, count in after.finished if count}
    assert (EMPTY.restarted, EMPTY.phases) == (after.restarted, after.phases)
    assert 0 == sum(count for _, count in EMPTY.finished)


def test_a_restart_counts_once() -> None:
    """Only the restarts change."""
    after = count_restarted(count_restarted(EMPTY))

    assert 2 == after.restarted
    assert (EMPTY.finished, EMPTY.phases) == (after.finished, after.phases)


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [
        (0.0, 0),
        (PHASE_BOUNDS[0], 0),
        (PHASE_BOUNDS[0] + 0.001, 1),
        (PHASE_BOUNDS[-1], len(PHASE_BOUNDS) - 1),
        (PHASE_BOUNDS[-1] + 1, len(PHASE_BOUNDS)),
    ],
)
def test_a_bound_belongs_to_its_bucket(seconds: float, bucket: int) -> None:
    """A duration is in the first bucket whose bound it does not exceed; beyond all bounds it is in the last one."""
    seen = dict(count_finished(EMPTY, "completed", "", [("parsing", seconds)]).phases)["parsing"]

    assert [bucket] == [position for position, count in enumerate(seen.counts) if count]
    assert seconds == seen.total


@given(st.lists(st.tuples(st.sampled_from(PHASES), st.floats(0, 1e6))))
def test_no_duration_is_lost(durations: list[tuple[str, float]]) -> None:
    """The buckets of a phase have as many durations as were counted, and their sum."""
    activity = EMPTY
    for duration in durations:
        activity = count_finished(activity, "completed", "", [duration])

    assert len(durations) == dict(activity.finished)["completed", ""]
    for phase, seen in activity.phases:
        spent = [seconds for name, seconds in durations if name == phase]
        assert len(spent) == sum(seen.counts)
        assert seen.total == pytest.approx(sum(spent))


def test_what_was_recalled_without_a_reason_or_phase_goes_on() -> None:
    """Counters of an earlier version that knew fewer reasons and phases take the new ones in."""
    old = type(EMPTY)("main", "ds", ((("completed", ""), 7),), 3)
    after = count_finished(count_finished(old, "error", "plugin"), "completed", "", [("total", 2.0)])

    assert {("completed", ""): 8, ("error", "plugin"): 1} == dict(after.finished)
    assert ("total", 2.0) == (after.phases[0][0], after.phases[0][1].total)
