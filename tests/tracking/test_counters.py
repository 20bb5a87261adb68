"""The event counters of a dataset."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import ERROR_REASONS as REASONS
from exporter.tracking.counters import (
    PHASE_BOUNDS,
    PHASES,
    count_finished,
    count_restarted,
    new_counters,
    restored_counters,
)
from exporter.tracking.model import DatasetCounters, Distribution

EMPTY = new_counters("main", "ds")


def test_everything_starts_at_zero() -> None:
    """Every outcome, reason and phase exists from the start, so that the first event is an increase."""
    assert {("completed", ""): 0, **{("error", reason): 0 for reason in REASONS}} == dict(EMPTY.finished)
    assert 0 == EMPTY.restarted
    assert PHASES == tuple(phase for phase, _ in EMPTY.phases)
    assert {(0,) * (len(PHASE_BOUNDS) + 1)} == {seen.counts for _, seen in EMPTY.phases}


def test_an_end_counts_once_where_it_belongs() -> None:
    """Only the counter of that status and reason increases; the previous object is unchanged."""
    after = count_finished(EMPTY, "error", "quota")

    assert {("error", "quota"): 1} == {end: count for end, count in after.finished if count}
    assert (EMPTY.restarted, EMPTY.phases) == (after.restarted, after.phases)
    assert 0 == sum(count for _, count in EMPTY.finished)


def test_a_restart_counts_once() -> None:
    """Only the restart counter increases."""
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
    """A duration counts in the first bucket whose bound it does not exceed; above all bounds, in the last one."""
    seen = dict(count_finished(EMPTY, "completed", "", [("parsing", seconds)]).phases)["parsing"]

    assert [bucket] == [position for position, count in enumerate(seen.counts) if count]
    assert seconds == seen.total


@given(st.lists(st.tuples(st.sampled_from(PHASES), st.floats(0, 1e6))))
def test_no_duration_is_lost(durations: list[tuple[str, float]]) -> None:
    """The buckets of a phase contain all counted durations, and their sum is right."""
    counters = EMPTY
    for duration in durations:
        counters = count_finished(counters, "completed", "", [duration])

    assert len(durations) == dict(counters.finished)["completed", ""]
    for phase, seen in counters.phases:
        spent = [seconds for name, seconds in durations if name == phase]
        assert len(spent) == sum(seen.counts)
        assert seen.total == pytest.approx(sum(spent))


def test_counters_continue_after_a_restart() -> None:
    """Saved counters continue; counters that are new in this version start at 0, so that every series exists."""
    known = tuple((phase, seen) for phase, seen in EMPTY.phases if phase != "queued")
    before = count_finished(
        DatasetCounters("main", "ds", ((("completed", ""), 7),), 3, known), "completed", "", [("total", 2.0)]
    )
    after = restored_counters("main", "ds", before)

    assert {**dict(EMPTY.finished), ("completed", ""): 8} == dict(after.finished)
    assert 3 == after.restarted
    assert {**dict(EMPTY.phases), "total": dict(before.phases)["total"]} == dict(after.phases)
    assert EMPTY == restored_counters("main", "ds", None)


def test_a_histogram_with_other_bounds_starts_again() -> None:
    """Counts for other bucket bounds cannot be converted: they are discarded, like a counter reset."""
    before = DatasetCounters("main", "ds", EMPTY.finished, 0, (("total", Distribution((1, 2), 9.0)),))

    assert EMPTY.phases == restored_counters("main", "ds", before).phases


@pytest.mark.parametrize("total", [math.inf, -math.inf, math.nan, 1e300, -1.0])
def test_a_histogram_with_an_absurd_sum_starts_again(total: float) -> None:
    """An infinite sum would be infinite forever, and hide the whole histogram; the other phases continue."""
    fine = Distribution((1,) * (len(PHASE_BOUNDS) + 1), 9.0)
    phases = (("total", Distribution(fine.counts, total)), ("parsing", fine))
    before = DatasetCounters("main", "ds", EMPTY.finished, 0, phases)

    assert dict(EMPTY.phases) | {"parsing": fine} == dict(restored_counters("main", "ds", before).phases)


def test_a_reason_or_phase_that_is_new_is_taken_in() -> None:
    """An outcome or phase that is not in the counters yet is added."""
    after = count_finished(DatasetCounters("main", "ds"), "error", "plugin", [("total", 2.0)])

    assert {("error", "plugin"): 1} == dict(after.finished)
    assert 2.0 == dict(after.phases)["total"].total
