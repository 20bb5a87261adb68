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
from tests.polling.fake_server import DATASET, Rig, item, recorded_store

FOUND = Document("main", DATASET, "1", "", Progress("indexing"))


def restarted(*, batches: tuple[str, ...] = (), status: str = "indexing") -> Rig:
    """A rig that restored a document and its batch; the configuration names the document and these batches."""
    server = ServerConfig("main", "http://x/v1", datasets=(DatasetConfig(DATASET, batches=batches, documents=("1",)),))
    rig = Rig(Polling(), server)
    rig.client.bases[DATASET] = DatasetAnswer(DATASET, "Handbook")
    rig.client.details["1"] = DocumentDetail("1", indexing_status=status, segment_count=3)
    document = Document("main", DATASET, "1", "b", Progress(status, completed_segments=1, total_segments=3))
    rig.store.restore(SavedObjects([document], [sum_batch("main", DATASET, "b", [document])], []))
    rig.poller.watch(configured_targets(server))
    return rig


def told(rig: Rig) -> list[tuple[str, str]]:
    """Batch and status of every shown document."""
    return [(found.batch, found.progress.status) for found in rig.listening.of(Document)]


def test_a_document_whose_batch_is_watched_no_longer_goes_on_by_its_detail() -> None:
    """If the batch was removed from the configuration but the document was not, its detail reports its progress."""
    rig = restarted()
    rig.poll()
    assert told(rig) == [("", "indexing")]


@pytest.mark.parametrize("status", ["indexing", "completed"])
def test_a_document_whose_batch_is_gone_goes_on_by_its_detail(status: str) -> None:
    """If the batch answers 404, the detail reports the progress of the document, finished or not."""
    rig = restarted(batches=("b",), status=status)
    rig.client.batches["b"] = NotFound("Documents not found.", gone=True)
    rig.pass_time(60)
    assert told(rig) == [("", status)]


def test_a_document_that_has_left_its_batch_goes_on_by_its_detail() -> None:
    """If the batch lists another document, the detail reports the progress."""
    rig = restarted(batches=("b",))
    rig.client.batches["b"] = [item("2", "completed", 3, 3)]
    rig.pass_time(60)
    assert sorted(told(rig)) == [("", "indexing"), ("b", "completed")]


def test_a_document_whose_batch_is_watched_waits_for_it() -> None:
    """A detail alone does not show the document: its batch reports more."""
    rig = restarted(batches=("b",))
    rig.client.batches["b"] = NotFound("not of Dify", gone=False)
    rig.pass_time(60)
    assert told(rig) == []
    rig.client.batches["b"] = [item("1", "indexing", 2, 3)]
    rig.pass_time(600)
    (document,) = rig.listening.of(Document)
    assert (document.batch, document.progress.completed_segments) == ("b", 2)
    assert document.detail is not None


def test_a_document_that_was_deleted_meanwhile_is_asked_for_once() -> None:
    """A deleted document is fetched once (404); afterwards its dataset counts as idle."""
    rig = discovering()
    rig.store.restore(SavedObjects([FOUND], [], []))
    rig.client.details["1"] = NotFound("Document Not Exists.", gone=True)
    rig.poll()
    rig.pass_time(7200)
    assert documents(rig) == {}
    assert rig.client.count("document") == 1
    assert rig.poller.snapshot().targets["dataset", "settled"] == 2


def test_a_document_that_was_deleted_meanwhile_leaves_the_state() -> None:
    """A document that was only restored is removed from the state file, once."""
    store, recorder = recorded_store()
    store.restore(SavedObjects([FOUND], [], []))
    store.remove_document(DATASET, "1")
    store.remove_document(DATASET, "1")
    assert recorder.changes == [(FOUND, None)]
    assert store.document(DATASET, "1") is None
    assert store.documents == []
