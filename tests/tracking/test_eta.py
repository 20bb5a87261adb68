"""The ETA of a batch: no estimate rather than a wrong one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.clock import Instant
from exporter.config import StallLimits
from exporter.tracking.eta import RECENT, estimate_eta
from exporter.tracking.model import STATUSES, Batch, Document, Progress
from exporter.tracking.progress import sum_batch, update_batch

WALL = 1_795_282_470.25
"""Unix seconds at monotonic second 0."""

At = tuple[str, int, int]
"""Status, completed segments and total of a document."""


class Watching:
    """A polled batch: each answer builds on the previous one."""

    def __init__(self) -> None:
        self.batch: Batch | None = None

    def see(self, second: float, *documents: At) -> float | None:
        """The ETA in seconds from the start of the watch."""
        described = [
            Document("main", "ds", str(number), "b1", Progress(status, completed_segments=done, total_segments=total))
            for number, (status, done, total) in enumerate(documents)
        ]
        now = Instant(WALL + second, second)
        milestones, eta = estimate_eta(self.batch.milestones if self.batch else (), described, now)
        self.batch = Batch("main", "ds", "b1", (), (), milestones=milestones)
        return None if eta is None else eta - WALL


def test_ten_jumps() -> None:
    """For ten even jumps the ETA is exact from the second jump on, also between jumps."""
    watching = Watching()
    seen = [watching.see(second, ("indexing", second // 60 * 10, 100)) for second in range(0, 600, 15)]

    assert [None] * 8 == seen[:8]
    assert {True} == {eta is not None and 600 <= eta < 601 for eta in seen[8:]}


def test_uneven_jumps() -> None:
    """The rate is that of all remembered jumps, not of the last one."""
    watching = Watching()
    for second, done in ((0, 0), (10, 10), (20, 30), (70, 70)):
        eta = watching.see(second, ("indexing", done, 100))

    assert eta == pytest.approx(70 + 30, abs=1)


def test_a_single_jump_gives_no_eta() -> None:
    """With economy indexing all segments complete in one jump: there is no ETA before it."""
    watching = Watching()
    assert [None] * 4 == [watching.see(second, ("indexing", 0, 3_200)) for second in range(0, 60, 15)]
    assert watching.see(60, ("completed", 3_200, 3_200)) is None


def test_economy_documents_one_after_another() -> None:
    """While the other documents are not split yet, the rate is in documents."""
    watching = Watching()
    histories = [
        [("completed", 50, 50)] * done + [("indexing", 0, 50)] + [("parsing", 0, 0)] * (9 - done) for done in range(10)
    ]
    seen = [watching.see(100 * done, *documents) for done, documents in enumerate(histories)]

    assert [None, None] == seen[:2]
    assert [pytest.approx(1_000, abs=1)] * 8 == seen[2:]


def test_many_documents_of_ten_jumps() -> None:
    """Jumps within documents do not displace the ends of documents, which the ETA of a large batch relies on."""
    watching = Watching()
    etas = {}
    for second in range(0, 5_000, 10):
        done, jumps = divmod(second, 100)
        documents = [("completed", 10, 10)] * done + [("indexing", jumps // 10, 10)] + [("parsing", 0, 0)] * (49 - done)
        etas[second] = watching.see(second, *documents)

    assert {None} == {eta for second, eta in etas.items() if second < 200}
    assert {True} == {eta is not None and 4_990 <= eta < 5_011 for second, eta in etas.items() if second >= 200}
    assert watching.batch is not None
    assert len(watching.batch.milestones) <= 2 * RECENT


def test_segments_count_once_all_of_the_rest_is_split() -> None:
    """When only large documents remain, the rate is in segments: small documents were faster."""
    watching = Watching()
    small = [("completed", 1, 1)] * 3
    for second, done in enumerate(range(4)):
        rest = [("parsing", 0, 0)] * (3 - done)
        watching.see(second, *small[:done], *rest, ("parsing", 0, 0))
    etas = [watching.see(second, *small, ("indexing", second, 1_000)) for second in range(10, 200, 10)]

    assert etas[-1] == pytest.approx(1_000, abs=2)


@pytest.mark.parametrize("status", ["waiting", "parsing", "splitting", "unknown"])
def test_queued_documents_have_no_eta(status: str) -> None:
    """A batch that has not started has no ETA."""
    watching = Watching()

    assert [None] * 5 == [watching.see(second, (status, 0, 0), (status, 0, 0)) for second in range(0, 75, 15)]


def test_a_paused_document_has_no_end() -> None:
    """A paused document has no ETA; once resumed, the rate is available again."""
    watching = Watching()
    for done in range(4):
        watching.see(10 * done, *[("completed", 5, 5)] * done, *[("parsing", 0, 0)] * (6 - done))
    three = [("completed", 5, 5)] * 3

    assert watching.see(35, *three, ("paused", 0, 0), ("parsing", 0, 0), ("parsing", 0, 0)) is None
    assert watching.see(40, *three, ("parsing", 0, 0), ("parsing", 0, 0), ("parsing", 0, 0)) is not None


def test_a_stalled_batch_has_no_end() -> None:
    """A stalled batch has no ETA, whatever its earlier rate."""
    stall = StallLimits(after=900.0)
    batch: Batch | None = None
    seen = []
    for second, done in ((0, 0), (600, 1), (1_200, 2), (1_800, 2), (2_100, 2)):
        document = Document("main", "ds", "d", "b1", Progress("indexing", completed_segments=done, total_segments=100))
        summed = sum_batch("main", "ds", "b1", [document])
        moved = batch is None or batch.completed_segments != done
        batch, _ = update_batch(
            batch, summed, [document], moved=moved, now=Instant(WALL + second, second), limits=stall
        )
        seen.append((batch.stalled, batch.eta is not None))

    assert [(False, False), (False, False), (False, True), (False, True), (True, False)] == seen


def test_a_restart_resets_the_milestones() -> None:
    """When a document restarts indexing, earlier jumps are discarded."""
    watching = Watching()
    for second in range(0, 100, 10):
        watching.see(second, ("indexing", second, 100))
    assert watching.see(100, ("indexing", 0, 100)) is None
    assert watching.see(120, ("indexing", 5, 100)) is None

    assert watching.see(140, ("indexing", 10, 100)) == pytest.approx(140 + 90 * 4, abs=1)


def test_a_document_that_falls_back_resets_the_milestones() -> None:
    """A document that leaves ``completed`` with all its segments also resets the rate: it is indexed again."""
    watching = Watching()
    for done in range(4):
        watching.see(10 * done, *[("completed", 5, 5)] * done, *[("parsing", 0, 0)] * (5 - done))
    waiting = watching.see(40, ("waiting", 5, 5), *[("completed", 5, 5)] * 2, *[("parsing", 0, 0)] * 2)

    assert waiting is None


def test_indexed_but_not_finished() -> None:
    """With all segments completed but the document unfinished, there is no ETA."""
    watching = Watching()
    for second in range(0, 110, 10):
        eta = watching.see(second, ("indexing", second, 100))

    assert eta is None


def test_an_eta_that_has_passed_is_absent() -> None:
    """An ETA that has passed is withdrawn instead of remaining in the past."""
    watching = Watching()
    for second in range(0, 60, 10):
        eta = watching.see(second, ("indexing", second, 100))
    assert eta is not None

    assert watching.see(eta - 1, ("indexing", 50, 100)) == eta
    assert watching.see(eta + 1, ("indexing", 50, 100)) is None


def test_a_finished_batch_keeps_no_milestones() -> None:
    """A finished batch has no ETA, and a new attempt starts without a rate."""
    watching = Watching()
    for second in range(0, 100, 10):
        watching.see(second, ("indexing", second, 100))
    assert watching.see(100, ("completed", 100, 100)) is None
    assert watching.batch is not None
    assert () == watching.batch.milestones

    assert watching.see(110, ("error", 100, 100), ("indexing", 10, 100)) is None


statuses = st.sampled_from(STATUSES)
answers = st.lists(
    st.tuples(
        st.floats(0, 2_000) | st.just(15.0),
        st.lists(st.tuples(statuses, st.integers(0, 40), st.integers(0, 40)), max_size=4),
    ),
    max_size=25,
)


@given(answers)
def test_an_end_is_never_in_the_past(steps: list[tuple[float, list[At]]]) -> None:
    """For any answers, an ETA is not in the past, not before the last jump, and only set while work remains."""
    watching = Watching()
    second = 0.0
    for gap, documents in steps:
        second += gap
        eta = watching.see(second, *documents)
        assert watching.batch is not None
        if eta is not None:
            assert eta >= second
            assert eta >= watching.batch.milestones[-1].monotonic
            assert any(status not in {"completed", "error"} for status, _, _ in documents)
            assert all(status != "paused" for status, _, _ in documents)


@given(st.integers(1, 500), st.integers(1, 300))
def test_a_steady_rate_gives_a_steady_eta(gap: int, amount: int) -> None:
    """At any steady rate the ETA is exact from the second jump on."""
    watching = Watching()
    etas = [watching.see(gap * turn, ("indexing", amount * turn, 1_000)) for turn in range(-(-1_000 // amount))]

    assert [None] * 2 == etas[:2]
    assert [pytest.approx(gap * 1_000 / amount, abs=1.01)] * len(etas[2:]) == etas[2:]
