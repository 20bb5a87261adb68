"""An attempt at indexing a document: the order of its phases, what each one writes, and what stops it."""

from __future__ import annotations

from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.simulator import Attempt, DocumentPlan
from exporter.simulator.timeline import Row, Traits, new_timeline, row_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.simulator.scenario import Outcome, Phase

ORDER = ["waiting", "parsing", "splitting", "indexing", "completed", "error"]
ATTEMPTS = st.builds(
    Attempt,
    segments=st.integers(0, 5000),
    parse=st.floats(0, 100),
    split=st.floats(0, 100),
    index=st.floats(0, 1000),
    jumps=st.integers(0, 30),
    missing=st.integers(0, 3),
    outcome=st.sampled_from(["completes", "fails", "dies", "hangs"]),
    phase=st.sampled_from(["parsing", "splitting", "indexing"]),
    after=st.floats(0, 1),
)
TRAITS = st.builds(Traits, economy=st.booleans(), hierarchical=st.booleans(), pipeline=st.booleans())
INSTANTS = st.lists(st.floats(0, 2000), min_size=1, max_size=40)


@given(ATTEMPTS, TRAITS, INSTANTS, st.floats(0, 50))
def test_a_timeline_only_moves_forward(attempt: Attempt, traits: Traits, instants: list[float], wait: float) -> None:
    """Status, counts and times never go back, completed never exceeds total, and the times are in order."""
    row, timeline = Row(), new_timeline(attempt, 10.0, 10.0 + wait, traits)
    seen = [row_at(row, timeline, instant) for instant in sorted(instants)]
    for before, after in pairwise(seen):
        assert ORDER.index(before.status) <= ORDER.index(after.status)
        assert before.completed <= after.completed
        assert before.total <= after.total
    for each in seen:
        assert 0 <= each.completed <= each.total <= attempt.segments
        times = [
            time
            for time in (each.started, each.parsed, each.split, each.completed_at, each.stopped)
            if time is not None
        ]
        assert sorted(times) == times
    assert Row() == row


@given(ATTEMPTS, TRAITS, st.floats(0, 2000))
def test_completed_segments_move_in_ten_jumps_at_most(attempt: Attempt, traits: Traits, step: float) -> None:
    """At any sampling rate, completed segments take at most ten values above 0; one with economy indexing."""
    timeline = new_timeline(attempt, 0.0, 0.0, traits)
    span = timeline.done - timeline.indexing
    fine = [timeline.indexing + span * part / 997 for part in range(998)]
    values = {
        row_at(Row(), timeline, instant).completed for instant in [*fine, step, timeline.done, timeline.done + 1]
    } - {0}
    assert len(values) <= (1 if traits.economy else 10)


def test_high_quality_indexing_moves_in_exactly_ten_jumps(simulate: Callable[..., Any]) -> None:
    """100 segments complete in ten steps of ten, the last one together with the document."""
    simulation = simulate(DocumentPlan(segments=100, parse=1, split=1, index=10), technique="high_quality")
    seen = [simulation.after(0.5).item()["completed_segments"] for _ in range(26)]
    assert [0, *range(10, 101, 10)] == sorted(set(seen))
    assert sorted(seen) == seen


def test_phases_and_times_of_an_economy_document(simulate: Callable[..., Any]) -> None:
    """Total grows while splitting, completed stays 0 until the end; cleaning and splitting end at the same instant."""
    simulation = simulate(DocumentPlan(segments=100, parse=2, split=10, index=10))
    start = int(simulation.world.start)
    parsing = simulation.after(1).item()
    assert ("parsing", start, None, 0) == (
        parsing["indexing_status"],
        parsing["processing_started_at"],
        parsing["parsing_completed_at"],
        parsing["total_segments"],
    )
    splitting = simulation.after(6).item()
    assert ("splitting", start + 2, None, 0, 50) == (
        splitting["indexing_status"],
        splitting["parsing_completed_at"],
        splitting["splitting_completed_at"],
        splitting["completed_segments"],
        splitting["total_segments"],
    )
    indexing = simulation.after(14.4).item()
    assert ("indexing", start + 12, start + 12, 0, 100, None) == (
        indexing["indexing_status"],
        indexing["cleaning_completed_at"],
        indexing["splitting_completed_at"],
        indexing["completed_segments"],
        indexing["total_segments"],
        indexing["completed_at"],
    )
    done = simulation.after(1.5).item()
    assert ("completed", start + 22, 100, 100) == (
        done["indexing_status"],
        done["completed_at"],
        done["completed_segments"],
        done["total_segments"],
    )


@pytest.mark.parametrize("phase", ["parsing", "splitting", "indexing"])
@pytest.mark.parametrize("outcome", ["dies", "hangs"])
def test_a_document_whose_worker_is_lost_stays_as_it_is(
    simulate: Callable[..., Any], phase: Phase, outcome: Outcome
) -> None:
    """A document that dies or hangs stays in its phase: no error, no stop, no further segment."""
    plan = DocumentPlan(parse=10, split=10, index=10, outcome=outcome, phase=phase)
    simulation = simulate(plan, technique="high_quality")
    then = simulation.after(ORDER.index(phase) * 10 - 5).item()
    assert phase == then["indexing_status"]
    assert (None, None) == (then["error"], then["stopped_at"])
    assert then == simulation.after(1_000_000).item()


@pytest.mark.parametrize("phase", ["parsing", "splitting", "indexing"])
def test_a_failure_stops_a_document_with_its_error(simulate: Callable[..., Any], phase: Phase) -> None:
    """A failed document has the error text and the time at which it stopped."""
    simulation = simulate(DocumentPlan(parse=10, split=10, index=10, outcome="fails", phase=phase, error="quota"))
    failed = simulation.after(100).item()
    stopped = int(simulation.world.start) + ORDER.index(phase) * 10 - 5
    assert ("error", "quota", stopped, None) == (
        failed["indexing_status"],
        failed["error"],
        failed["stopped_at"],
        failed["completed_at"],
    )


def test_documents_of_a_batch_run_one_after_another(simulate: Callable[..., Any]) -> None:
    """All documents are in parsing with the same start time from the beginning; only one at a time progresses."""
    simulation = simulate(*(DocumentPlan(name=f"{number}", parse=1, split=1, index=2) for number in range(3)))
    assert ["parsing"] * 3 == [item["indexing_status"] for item in simulation.items()]
    for _ in range(24):
        items = simulation.after(0.5).items()
        assert {int(simulation.world.start)} == {item["processing_started_at"] for item in items}
        assert sum(item["indexing_status"] in ("splitting", "indexing") for item in items) <= 1
    assert ["completed"] * 3 == [item["indexing_status"] for item in simulation.items()]


def test_a_failure_does_not_stop_the_documents_after_it(simulate: Callable[..., Any]) -> None:
    """The worker continues with the next document after a failure, but not after its own death."""
    failed = simulate(DocumentPlan(name="1", outcome="fails"), DocumentPlan(name="2"))
    assert ["error", "completed"] == [item["indexing_status"] for item in failed.after(60).items()]
    died = simulate(DocumentPlan(name="1", outcome="dies"), DocumentPlan(name="2"))
    assert ["indexing", "parsing"] == [item["indexing_status"] for item in died.after(60).items()]


@pytest.mark.parametrize(
    ("plan", "technique", "counts"),
    [
        (DocumentPlan(segments=0), "economy", (0, 0)),
        (DocumentPlan(segments=60, missing=2), "high_quality", (58, 60)),
        (DocumentPlan(segments=7), "high_quality", (7, 7)),
    ],
)
def test_counts_at_completion(
    simulate: Callable[..., Any], plan: DocumentPlan, technique: str, counts: tuple[int, int]
) -> None:
    """An empty text completes at 0/0; a document with segments that never complete ends below its total."""
    done = simulate(plan, technique=technique).after(60).item()
    assert ("completed", *counts) == (done["indexing_status"], done["completed_segments"], done["total_segments"])


def test_pipeline_documents_only_wait(simulate: Callable[..., Any]) -> None:
    """In a pipeline dataset a document waits until it is completed or failed; simulation times stay null."""
    simulation = simulate(DocumentPlan(name="1"), DocumentPlan(name="2", outcome="fails", error="model"), pipeline=True)
    assert ["waiting", "waiting"] == [item["indexing_status"] for item in simulation.after(3.0).items()]
    done, failed = simulation.after(10).items()
    assert ("completed", 20, 20) == (done["indexing_status"], done["completed_segments"], done["total_segments"])
    assert ("error", "model") == (failed["indexing_status"], failed["error"])
    for item in (done, failed):
        for field in ("processing_started_at", "parsing_completed_at", "splitting_completed_at", "stopped_at"):
            assert item[field] is None, field


def test_times_are_too_small_by_the_zone(simulate: Callable[..., Any]) -> None:
    """A server in UTC+8 returns times 28 800 s too small; differences are correct."""
    east, utc = simulate(zone_offset=8.0).after(60).item(), simulate().after(60).item()
    for field in ("processing_started_at", "completed_at"):
        assert 28_800 == utc[field] - east[field]


def test_an_abandoned_timeline_never_ends() -> None:
    """An attempt that never gets its turn has no end: its times are infinite and it parses forever."""
    timeline = new_timeline(Attempt(), 0.0, 0.0, Traits()).abandoned()
    assert (inf, inf) == (timeline.over, timeline.worker_free)
    assert "parsing" == row_at(Row(), timeline, 1e12).status
