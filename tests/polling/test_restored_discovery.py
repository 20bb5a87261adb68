"""Documents from before a restart that only discovery can follow up."""

from __future__ import annotations

import pytest

from exporter.config import DatasetConfig, ServerConfig
from exporter.dify import DocumentDetail, NotFound, ServerFailed
from exporter.tracking import Document, Merger, SavedObjects
from exporter.tracking.model import DatasetCounters, Progress
from exporter.tracking.progress import sum_batch
from tests.polling.discovery_server import OTHER, URL, discovering, documents, listed, reload
from tests.polling.fake_server import DATASET, PollerHarness, item, recorded_store


def remembered(document_id: str, batch: str = "") -> Document:
    """A document that was indexing before the restart."""
    return Document("main", DATASET, document_id, batch, Progress("indexing", completed_segments=1, total_segments=3))


def remember(harness: PollerHarness, *known: Document) -> None:
    """Simulate a restart of the exporter."""
    batches = [sum_batch("main", DATASET, found.batch, [found]) for found in known if found.batch]
    harness.store.restore(SavedObjects(list(known), batches, []))


def completed(harness: PollerHarness) -> float:
    """Number of counted completions."""
    (counters,) = (found for found in harness.listener.of(DatasetCounters) if found.dataset_id == DATASET)
    return float(dict(counters.finished)["completed", ""])


@pytest.mark.parametrize("lost", [False, True], ids=["its batch is gone", "its batch has lost it"])
def test_a_document_that_was_uploaded_again_meanwhile_is_found(*, lost: bool) -> None:
    """A document now in a batch that nobody configured is shown, and its end is counted."""
    harness = discovering(DatasetConfig(DATASET, batches=("b",)))
    remember(harness, remembered("1", "b"))
    harness.client.batches["b"] = (
        [item("2", "completed", 3, 3)] if lost else NotFound("Documents not found.", gone=True)
    )
    harness.client.listed[DATASET] = [listed("1", "indexing", "indexing")]
    harness.client.details["1"] = DocumentDetail("1", indexing_status="indexing", segment_count=3)
    harness.client.details["2"] = DocumentDetail("2", indexing_status="completed", segment_count=3)
    harness.poll()
    harness.pass_time(600, tick=5.0)
    assert documents(harness)["1"] == "indexing"
    harness.client.listed[DATASET] = []
    harness.client.details["1"] = DocumentDetail("1", indexing_status="completed", segment_count=3, completed_at=5)
    harness.pass_time(1200, tick=5.0)
    assert completed(harness) == 1


@pytest.mark.parametrize("batch", ["", "b"])
def test_an_end_that_came_meanwhile_is_counted_once(batch: str) -> None:
    """An end during the downtime is counted once, even if the document's batch is no longer configured."""
    harness = discovering()
    remember(harness, remembered("1", batch))
    harness.client.details["1"] = DocumentDetail("1", indexing_status="completed", completed_at=5, segment_count=3)
    harness.poll()
    harness.pass_time(7200, tick=5.0)
    assert (completed(harness), harness.client.count("document")) == (1, 1)


def test_nothing_is_restored_of_a_removed_dataset() -> None:
    """A reload removes a dataset while the details of its restored documents are pending: nothing stays."""
    harness = discovering(DatasetConfig(OTHER))
    remember(harness, *(remembered(f"{number}") for number in range(5)))
    for number in range(5):
        harness.client.details[f"{number}"] = ServerFailed("Internal Server Error")
    harness.poll()
    reload(harness, ServerConfig("main", URL, datasets=(DatasetConfig(OTHER),)))
    asked = harness.client.count("document")
    for number in range(5):
        harness.client.details[f"{number}"] = DocumentDetail(f"{number}", indexing_status="indexing", segment_count=3)
    harness.pass_time(3600, tick=5.0)
    assert (documents(harness), harness.client.count("document")) == ({}, asked)
    assert {found.dataset_id for found in harness.listener.of(DatasetCounters)} == {OTHER}


def test_a_document_removed_from_the_config_stays_while_discovery_keeps_it() -> None:
    """A document that discovery still tracks keeps its stall after it is removed from the configuration."""
    harness = discovering(DatasetConfig(DATASET, documents=("1",)))
    harness.client.listed[DATASET] = [listed("1", "indexing", "indexing")]
    harness.client.details["1"] = DocumentDetail("1", indexing_status="indexing", segment_count=3)
    harness.client.segments["1"] = 1
    harness.poll()
    harness.pass_time(3600, tick=5.0)
    (before,) = harness.listener.of(Document)
    assert before.stalled
    reload(harness, ServerConfig("main", URL, discover=True, datasets=(DatasetConfig(DATASET),)))
    harness.pass_time(300, tick=5.0)
    (after,) = harness.listener.of(Document)
    assert (after.stalled, after.last_progress) == (True, before.last_progress)


def test_removed_objects_are_removed_from_the_state_file() -> None:
    """Objects that were only restored are removed from the state file; a closed store reports nothing more."""
    store, recorder = recorded_store()
    one, other = remembered("1", "b"), remembered("2", "c")
    batch, rest = (sum_batch("main", DATASET, found.batch, [found]) for found in (one, other))
    store.restore(SavedObjects([one, other], [batch, rest], []))
    store.remove_batch(DATASET, "b")
    assert recorder.changes == [(batch, None)]
    store.close()
    assert {id(old) for old, _ in recorder.changes} >= {id(rest), id(other)}
    assert store.document(DATASET, "1") is None
    reported = len(recorder.changes)
    Merger(store).apply_batch(DATASET, "b", [item("1", "indexing", 1, 3)])
    assert len(recorder.changes) == reported
