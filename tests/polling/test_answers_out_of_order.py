"""Answers can arrive in a different order than their requests: several workers poll one document in several ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.clock import ManualClock
from exporter.config import DatasetConfig
from exporter.dify import DocumentDetail
from exporter.polling import BATCH_STATUS, DOCUMENT_DETAIL, Target, TargetStatuses
from exporter.tracking import Document, Merger, Store
from exporter.tracking.model import DatasetCounters, Progress
from tests.polling.discovery_server import discovering, documents, listed
from tests.polling.fake_server import DATASET, PollerHarness, RecordingListener, item

if TYPE_CHECKING:
    from collections.abc import Callable


def counted(listener: RecordingListener) -> tuple[int, int]:
    """Number of finished and of restarted documents counted in the dataset."""
    (counters,) = [found for found in listener.of(DatasetCounters) if found.dataset_id == DATASET]
    return sum(count for _, count in counters.finished), counters.restarted


def between_lists(harness: PollerHarness, meanwhile: Callable[[], None]) -> None:
    """Run something once during a document scan, after its list of indexing documents."""
    real, todo = harness.client.documents, [meanwhile]

    def read(dataset_id: str, status: str, **more: Any) -> Any:
        answer = real(dataset_id, status, **more)
        if status == "indexing" and todo:
            todo.pop()()
        return answer

    harness.client.documents = read  # type: ignore[method-assign]


def between_polls(harness: PollerHarness, key: str, meanwhile: Callable[[], None]) -> None:
    """Run something once while ``key`` is being requested, after the server has created its answer."""
    todo = [meanwhile]

    def before_answer(asked: str) -> None:
        if asked == key and todo:
            todo.pop()()

    harness.client.before_answer = before_answer


@pytest.fixture
def harness() -> PollerHarness:
    """A document that discovery found while it was indexing."""
    harness = discovering()
    harness.client.listed[DATASET] = [listed("1", "indexing", "indexing")]
    harness.client.details["1"] = DocumentDetail("1", indexing_status="indexing", segment_count=3)
    harness.poll()
    return harness


def complete(harness: PollerHarness) -> None:
    """The document finishes, and another worker fetches its detail."""
    harness.client.listed[DATASET] = []
    harness.client.details["1"] = DocumentDetail("1", indexing_status="completed", completed_at=9, segment_count=3)
    harness.clock.advance(1)
    harness.poller.schedule.put(Target(DOCUMENT_DETAIL, DATASET, "1"), harness.clock.monotonic())
    harness.poll()
    assert documents(harness) == {"1": "completed"}


def test_an_end_is_not_taken_back_by_a_list_from_before_it(harness: PollerHarness) -> None:
    """A scan takes several requests; a detail fetched in between is newer than the first lists of the scan."""
    between_lists(harness, lambda: complete(harness))
    harness.pass_time(3600)
    assert documents(harness) == {"1": "completed"}
    assert counted(harness.listener) == (1, 0)


def test_an_end_is_not_taken_back_by_a_batch_from_before_it(harness: PollerHarness) -> None:
    """If the first answer of a new batch is older than the end of a document, the batch is polled again."""
    harness.client.batches["b"] = [item("1", "indexing", 2, 3)]

    def meanwhile() -> None:
        complete(harness)
        harness.client.batches["b"] = [item("1", "completed", 3, 3, completed_at=9)]

    between_polls(harness, "b", meanwhile)
    harness.poller.watch([Target(BATCH_STATUS, DATASET, "b")])
    harness.poll()
    assert harness.client.count("batch") == 2
    (document,) = harness.listener.of(Document)
    assert (document.batch, document.progress.completed_segments) == ("b", 3)
    assert counted(harness.listener) == (1, 0)


def test_an_ignored_answer_is_decoded_when_it_repeats(harness: PollerHarness) -> None:
    """An answer identical to one that was ignored as outdated is decoded: by now it is current."""
    harness.client.batches["b"] = [item("1", "indexing", 2, 3)]
    between_polls(harness, "b", lambda: complete(harness))
    harness.poller.watch([Target(BATCH_STATUS, DATASET, "b")])
    harness.poll()
    assert documents(harness) == {"1": "indexing"}
    assert counted(harness.listener) == (1, 1)


def test_a_document_stays_in_the_batch_that_took_it_last() -> None:
    """A document that is uploaded again during a request for its old batch stays in the new batch."""
    harness = discovering(DatasetConfig(DATASET, batches=("old",)))
    harness.client.batches = {"old": [item("1", "indexing", 1, 3)], "new": [item("1", "waiting", 0, 3)]}
    harness.poll()
    harness.client.batches["old"] = [item("1", "completed", 3, 3, completed_at=9)]

    def upload() -> None:
        harness.client.batches["old"] = []
        harness.clock.advance(1)
        harness.poller.watch([Target(BATCH_STATUS, DATASET, "new")])
        harness.poll()

    between_polls(harness, "old", upload)
    harness.pass_time(60)
    (document,) = harness.listener.of(Document)
    assert (document.batch, document.progress.status) == ("new", "waiting")
    assert counted(harness.listener) == (0, 0)


class Race:
    """One document, and running requests about it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.listener = RecordingListener()
        statuses = TargetStatuses("main", listener=self.listener)
        self.store = Store(
            "main", statuses.watched, listeners=(self.listener,), unknown=lambda _: None, clock=self.clock
        )
        self.store.watch_dataset(DATASET)
        self.moves = 0
        self.under_way: list[Callable[[], object]] = []

    @property
    def ends(self) -> int:
        """How often indexing really finished."""
        return (self.moves + 1) // 3

    @property
    def status(self) -> str:
        """The real status of the document: one attempt follows the other."""
        return ("waiting", "indexing", "completed")[self.moves % 3]

    def act(self, what: str) -> None:
        """The document progresses, the server creates an answer, or the oldest pending answer arrives last."""
        self.clock.advance(1)
        if what == "move":
            self.moves += 1
        elif what in ("first", "last"):
            if self.under_way:
                self.under_way.pop(0 if what == "first" else -1)()
        else:
            self.under_way.append(self.answer(what))

    def answer(self, kind: str) -> Callable[[], object]:
        """The answer that the server would send now."""
        store, asked, status = self.store, self.clock.monotonic(), self.status
        completed_at = 1000 * self.ends if self.ends else None
        segments = self.moves % 3 * 5
        match kind:
            case "detail":
                told = DocumentDetail("1", indexing_status=status, completed_at=completed_at, segment_count=10)
                return lambda: Merger(store).apply_detail(DATASET, told, document_id="1", sent=asked)
            case "segments":
                return lambda: Merger(store).apply_segments(DATASET, "1", segments, sent=asked)
            case "list":
                unfinished = {} if status == "completed" else {"1": (Progress(status), None)}
                return lambda: Merger(store).apply_listed(DATASET, unfinished, sent=asked)
            case _:
                items = [item("1", status, segments, 10, completed_at=completed_at)]
                return lambda: Merger(store).apply_batch(DATASET, "b", items, sent=asked)


acts = st.sampled_from(["move", "first", "last", "detail", "segments", "list", "batch"])


@settings(max_examples=200)
@given(st.lists(acts, max_size=40))
def test_no_order_of_answers_counts_what_did_not_happen(what: list[str]) -> None:
    """Ends and restarts never exceed the real ones, and the next requested answer shows the real status."""
    race = Race()
    for act in what:
        race.act(act)
        ends, restarts = counted(race.listener)
        assert ends <= race.ends
        assert restarts <= race.moves // 3
    while race.under_way:
        race.act("last")
    before = race.store.document(DATASET, "1")
    race.act("batch" if before and before.batch else "detail")
    race.act("last")
    (document,) = race.store.documents
    assert document.progress.status == race.status
