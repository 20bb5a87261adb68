"""The store: from answers to objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.clock import ManualClock
from exporter.dify import DocumentDetail
from exporter.dify.answers import IndexingStatus
from exporter.polling import CONFIGURED_DOCUMENT, Target, TargetStatuses
from exporter.tracking import FINISHED, STATUSES, Batch, Document, Merger, Progress, Store, Wanted
from exporter.tracking.events import Outcome
from tests.polling.fake_server import DATASET, CountingObserver, RecordingListener, item

RECORDINGS = Path(__file__).parents[1] / "recordings"


def new_store(listener: RecordingListener) -> Store:
    """A store that reports unknown values to its listener's observer."""
    observer = CountingObserver()
    statuses = TargetStatuses("main", listener=listener)
    store = Store(
        "main",
        statuses.watched,
        listeners=(listener,),
        unknown=lambda f: observer.unknown_value("main", f),
        clock=ManualClock(start=1_795_290_000.0),
    )
    store.observer = observer  # type: ignore[attr-defined]
    store.statuses = statuses  # type: ignore[attr-defined]
    return store


def recorded(case: str) -> Any:
    """The JSON of a recording."""
    return json.loads((RECORDINGS / f"{case}.json").read_text())["json"]


def detail(case: str) -> DocumentDetail:
    """A recorded detail."""
    return msgspec.convert(recorded(case), DocumentDetail)


@pytest.fixture
def listener() -> RecordingListener:
    """A listener without objects."""
    return RecordingListener()


@pytest.fixture
def store(listener: RecordingListener) -> Store:
    """An empty store."""
    return new_store(listener)


def test_a_batch_is_the_sum_of_its_documents(store: Store, listener: RecordingListener) -> None:
    """A batch sums its documents by status and segments; each document is an object of its own."""
    applied = Merger(store).apply_batch(
        DATASET, "b", msgspec.convert(recorded("indexing-status--batch3-midway"), IndexingStatus).data
    )
    batch = store.batch(DATASET, "b")
    assert batch is not None
    assert dict(zip(STATUSES, batch.counts, strict=True)) == dict.fromkeys(STATUSES, 0) | {"parsing": 2, "splitting": 1}
    assert (batch.segments, batch.completed_segments) == (30, 0)
    assert (applied.moved, applied.settled, len(applied.wanted.details)) == (True, False, 3)
    assert len(listener.of(Document)) == 3


def test_the_same_answer_changes_nothing(store: Store, listener: RecordingListener) -> None:
    """An equal answer, in any order, is no progress and causes no change."""
    Merger(store).apply_batch(DATASET, "b", [item("1", "indexing", 1, 5), item("2", "waiting")])
    before = len(listener.calls)
    applied = Merger(store).apply_batch(DATASET, "b", [item("2", "waiting"), item("1", "indexing", 1, 5)])
    assert applied == Outcome(wanted=Wanted(missing=("2", "1")), stall_due=900.0)
    assert len(listener.calls) == before


def test_one_answer_is_published_in_one_call(store: Store, listener: RecordingListener) -> None:
    """All changes of one answer are published together."""
    before = len(listener.calls)
    Merger(store).apply_batch(DATASET, "b", [item("1", "indexing", 1, 5), item("2", "waiting")])
    assert len(listener.calls) == before + 1


def test_segments_that_no_document_reports_have_no_sum(store: Store) -> None:
    """Null stays unknown; it does not become 0."""
    Merger(store).apply_batch(DATASET, "b", [item("1", "waiting", None, None)])
    batch = store.batch(DATASET, "b")
    assert batch is not None
    assert (batch.counts, batch.segments, batch.completed_segments) == ((1, 0, 0, 0, 0, 0, 0, 0, 0), None, None)


def test_a_document_that_leaves_its_batch_is_gone(store: Store, listener: RecordingListener) -> None:
    """A document deleted in Dify is removed, and the sums are updated."""
    Merger(store).apply_batch(DATASET, "b", [item("1", "completed", 5, 5), item("2", "waiting")])
    applied = Merger(store).apply_batch(DATASET, "b", [item("1", "completed", 5, 5)])
    assert applied == Outcome(moved=True, settled=True, wanted=Wanted(missing=("1",)))
    assert [found.document_id for found in listener.of(Document)] == ["1"]


def test_a_document_that_moves_to_another_batch_appears_once(store: Store, listener: RecordingListener) -> None:
    """A re-uploaded document appears in the new batch and leaves the sums of the old one at the same time."""
    Merger(store).apply_batch(DATASET, "old", [item("1", "completed", 5, 5), item("2", "completed", 3, 3)])
    Merger(store).apply_batch(DATASET, "new", [item("1", "waiting", 5, 5)])
    assert sorted((d.document_id, d.batch) for d in listener.of(Document)) == [("1", "new"), ("2", "old")]
    assert sorted((b.batch, b.documents, b.segments) for b in listener.of(Batch)) == [
        ("new", ("1",), 5),
        ("old", ("2",), 3),
    ]
    Merger(store).apply_batch(DATASET, "old", [item("2", "completed", 3, 3)])
    store.remove_batch(DATASET, "old")
    assert [(d.document_id, d.batch) for d in listener.of(Document)] == [("1", "new")]


def test_a_batch_that_is_gone_takes_its_documents_along(store: Store, listener: RecordingListener) -> None:
    """After a 404 nothing of the batch is left, but for a document that the config names itself."""
    store.statuses.add([Target(CONFIGURED_DOCUMENT, DATASET, "2")])  # type: ignore[attr-defined]
    Merger(store).apply_batch(DATASET, "b", [item("1", "waiting"), item("2", "waiting")])
    store.remove_batch(DATASET, "b")
    store.remove_batch(DATASET, "b")
    assert [(d.document_id, d.batch) for d in listener.of(Document)] == [("2", "")]
    assert listener.of(Batch) == []


def test_a_detail_joins_the_progress_of_its_batch(store: Store) -> None:
    """Progress comes from the batch, everything else from the detail."""
    Merger(store).apply_batch(DATASET, "b", [item("1", "indexing", 3, 9)])
    Merger(store).apply_detail(DATASET, detail("document--completed--without"), document_id="1")
    document = store.document(DATASET, "1")
    assert document is not None
    assert document.progress == Progress("indexing", completed_segments=3, total_segments=9)
    assert document.detail is not None
    assert (document.detail.name, document.detail.segment_count) == ("small.txt", 20)


def test_a_detail_alone_reports_the_progress(store: Store, listener: RecordingListener) -> None:
    """Without a known batch, status and end come from the detail."""
    applied = Merger(store).apply_detail(DATASET, detail("document--completed--without"), document_id="1")
    assert applied == Outcome(moved=True, settled=True, wanted=Wanted(segments=("1",)))
    assert listener.of(Document)[0].progress == Progress("completed", completed_at=1795282543, total_segments=20)
    Merger(store).apply_segments(DATASET, "1", 19)
    assert listener.of(Document)[0].progress.completed_segments == 19
    store.remove_document(DATASET, "1")
    store.remove_document(DATASET, "1")
    assert listener.of(Document) == []


def test_a_document_in_a_batch_is_not_removed_when_its_detail_is_missing(store: Store) -> None:
    """A 404 for a detail does not remove a document in a batch: servers before 1.5.1 have no details."""
    Merger(store).apply_batch(DATASET, "b", [item("1", "indexing", 3, 9)])
    store.remove_document(DATASET, "1")
    assert store.document(DATASET, "1") is not None


def test_a_paused_document_without_batch_is_paused(store: Store) -> None:
    """The detail's indexing_status is never paused; its display status is."""
    Merger(store).apply_detail(DATASET, detail("document--paused--without"), document_id="1")
    document = store.document(DATASET, "1")
    assert document is not None
    assert document.progress.status == "paused"


def test_a_detail_without_status_makes_no_document(store: Store) -> None:
    """A detail without a status creates no document."""
    assert Merger(store).apply_detail(DATASET, DocumentDetail("1"), document_id="1") == Outcome(
        moved=False, settled=False
    )
    assert store.document(DATASET, "1") is None


@pytest.mark.parametrize(
    ("case", "separator", "mode"),
    [("document--completed--without", "\n", "automatic"), ("document--custom--all", "\n", "custom")],
)
def test_the_rule_is_read_under_both_names(store: Store, case: str, separator: str, mode: str) -> None:
    """``delimiter`` of real servers and ``separator`` of the API reference mean the same."""
    Merger(store).apply_detail(DATASET, detail(case), document_id="1")
    document = store.document(DATASET, "1")
    assert document is not None
    assert document.detail is not None
    assert document.detail.rule is not None
    assert (document.detail.rule.separator, document.detail.rule.mode) == (separator, mode)
    assert document.detail.rule.max_tokens is not None


@pytest.mark.parametrize("rule", [None, {}, {"mode": None, "rules": None}])
def test_an_empty_rule_is_no_rule(store: Store, rule: Any) -> None:
    """``{}`` and null are read as no rule."""
    answer = {"id": "1", "indexing_status": "waiting", "document_process_rule": rule, "dataset_process_rule": {}}
    Merger(store).apply_detail(DATASET, msgspec.convert(answer, DocumentDetail), document_id="1")
    document = store.document(DATASET, "1")
    assert document is not None
    assert document.detail is not None
    assert document.detail.rule is None


def test_the_overlap_of_the_official_page_is_that_of_subchunks(store: Store) -> None:
    """The overlap is that of chunks if present, else that of subchunks."""
    rules = {
        "segmentation": {"separator": "#", "max_tokens": 900},
        "parent_mode": "paragraph",
        "subchunk_segmentation": {"separator": "\n", "max_tokens": 200, "chunk_overlap": 7},
    }
    answer = {
        "id": "1",
        "indexing_status": "waiting",
        "document_process_rule": {"mode": "hierarchical", "rules": rules},
    }
    Merger(store).apply_detail(DATASET, msgspec.convert(answer, DocumentDetail), document_id="1")
    document = store.document(DATASET, "1")
    assert document is not None
    assert document.detail is not None
    rule = document.detail.rule
    assert rule is not None
    assert (rule.parent_mode, rule.max_tokens, rule.overlap_tokens, rule.subchunk_max_tokens) == (
        "paragraph",
        900,
        7,
        200,
    )


def test_unknown_words_are_unknown_and_counted(store: Store) -> None:
    """A status of a later Dify version is reported as ``unknown`` and counted."""
    Merger(store).apply_batch(DATASET, "b", [item("1", "dreaming")])
    Merger(store).apply_detail(
        DATASET, DocumentDetail("1", display_status="odd", indexing_status="odd"), document_id="1"
    )
    Merger(store).apply_detail(
        DATASET, DocumentDetail("2", display_status="odd", indexing_status="odd"), document_id="2"
    )
    for document_id in "12":
        document = store.document(DATASET, document_id)
        assert document is not None
        assert document.progress.status == "unknown"
        assert document.detail is not None
        assert document.detail.display_status == "unknown"
    assert store.observer.unknown == {"indexing_status": 2, "display_status": 2}  # type: ignore[attr-defined]


statuses = st.sampled_from([*STATUSES[:-1], "dreaming"])
answers = st.lists(
    st.builds(item, st.sampled_from("123456"), statuses, st.none() | st.integers(0, 9), st.none() | st.integers(0, 9)),
    max_size=6,
    unique_by=lambda found: found.id,
)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.none() | answers), max_size=12))
def test_any_sequence_of_answers_leaves_consistent_objects(steps: list[tuple[str, list[Any] | None]]) -> None:
    """Each document exists once, in the batch that had it last, and the listener agrees with the store."""
    listener = RecordingListener()
    store = new_store(listener)
    owner: dict[str, str] = {}
    for batch, answer in steps:
        owner = {document: name for document, name in owner.items() if name != batch}
        if answer is None:
            store.remove_batch(DATASET, batch)
            assert store.batch(DATASET, batch) is None
        else:
            owner |= {found.id: batch for found in answer}
            applied = Merger(store).apply_batch(DATASET, batch, answer)
            assert applied.settled == all(found.indexing_status in FINISHED for found in answer)
    assert {d.document_id: d.batch for d in listener.of(Document)} == owner
    assert set(store.documents) == set(listener.of(Document))
    for found in listener.of(Batch):
        members = sorted(document for document, name in owner.items() if name == found.batch)
        assert (found.documents, sum(found.counts)) == (tuple(members), len(members))


@given(answers.flatmap(lambda found: st.tuples(st.just(found), st.permutations(found))))
def test_the_order_of_an_answer_does_not_matter(pair: tuple[list[Any], list[Any]]) -> None:
    """``data`` is unordered: any order yields the same batch."""
    batches = []
    for answer in pair:
        store = new_store(RecordingListener())
        Merger(store).apply_batch(DATASET, "b", answer)
        batches.append(store.batch(DATASET, "b"))
    assert batches[0] == batches[1]
