"""Documents from before a restart whose batch, dataset or configuration changed during the downtime."""

from __future__ import annotations

import pytest

from exporter.config import DatasetConfig, Polling, ServerConfig
from exporter.dify import DatasetAnswer, DocumentDetail, NotFound
from exporter.polling import configured_targets
from exporter.tracking import Document, SavedObjects
from exporter.tracking.model import Progress
from exporter.tracking.progress import sum_batch
from tests.polling.discovery_server import discovering, documents
from tests.polling.fake_server import DATASET, PollerHarness, item, recorded_store

FOUND = Document("main", DATASET, "1", "", Progress("indexing"))


def restarted(*, batches: tuple[str, ...] = (), status: str = "indexing") -> PollerHarness:
    """A rig that restored a document and its batch; the configuration names the document and these batches."""
    server = ServerConfig("main", "http://x/v1", datasets=(DatasetConfig(DATASET, batches=batches, documents=("1",)),))
    harness = PollerHarness(Polling(), server)
    harness.client.bases[DATASET] = DatasetAnswer(DATASET, "Handbook")
    harness.client.details["1"] = DocumentDetail("1", indexing_status=status, segment_count=3)
    document = Document("main", DATASET, "1", "b", Progress(status, completed_segments=1, total_segments=3))
    harness.store.restore(SavedObjects([document], [sum_batch("main", DATASET, "b", [document])], []))
    harness.poller.watch(configured_targets(server))
    return harness


def told(harness: PollerHarness) -> list[tuple[str, str]]:
    """Batch and status of every shown document."""
    return [(found.batch, found.progress.status) for found in harness.listener.of(Document)]


def test_a_document_whose_batch_is_no_longer_watched_continues_by_its_detail() -> None:
    """If the batch was removed from the configuration but the document was not, its detail reports its progress."""
    harness = restarted()
    harness.poll()
    assert told(harness) == [("", "indexing")]


@pytest.mark.parametrize("status", ["indexing", "completed"])
def test_a_document_whose_batch_is_gone_continues_by_its_detail(status: str) -> None:
    """If the batch answers 404, the detail reports the progress of the document, finished or not."""
    harness = restarted(batches=("b",), status=status)
    harness.client.batches["b"] = NotFound("Documents not found.", gone=True)
    harness.pass_time(60)
    assert told(harness) == [("", status)]


def test_a_document_removed_from_its_batch_continues_by_its_detail() -> None:
    """If the batch lists another document, the detail reports the progress."""
    harness = restarted(batches=("b",))
    harness.client.batches["b"] = [item("2", "completed", 3, 3)]
    harness.pass_time(60)
    assert sorted(told(harness)) == [("", "indexing"), ("b", "completed")]


def test_a_document_whose_batch_is_watched_waits_for_it() -> None:
    """A detail alone does not show the document: its batch reports more."""
    harness = restarted(batches=("b",))
    harness.client.batches["b"] = NotFound("not of Dify", gone=False)
    harness.pass_time(60)
    assert told(harness) == []
    harness.client.batches["b"] = [item("1", "indexing", 2, 3)]
    harness.pass_time(600)
    (document,) = harness.listener.of(Document)
    assert (document.batch, document.progress.completed_segments) == ("b", 2)
    assert document.detail is not None


def test_a_document_deleted_meanwhile_is_fetched_once() -> None:
    """A deleted document is fetched once (404); afterwards its dataset counts as idle."""
    harness = discovering()
    harness.store.restore(SavedObjects([FOUND], [], []))
    harness.client.details["1"] = NotFound("Document Not Exists.", gone=True)
    harness.poll()
    harness.pass_time(7200)
    assert documents(harness) == {}
    assert harness.client.count("document") == 1
    assert harness.poller.snapshot().targets["dataset", "settled"] == 2


def test_a_document_deleted_meanwhile_is_removed_from_the_state_file() -> None:
    """A document that was only restored is removed from the state file, once."""
    store, recorder = recorded_store()
    store.restore(SavedObjects([FOUND], [], []))
    store.remove_document(DATASET, "1")
    store.remove_document(DATASET, "1")
    assert recorder.changes == [(FOUND, None)]
    assert store.document(DATASET, "1") is None
    assert store.documents == []
