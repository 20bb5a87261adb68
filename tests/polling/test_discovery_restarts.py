"""Documents that were discovered before a restart."""

from __future__ import annotations

from exporter.dify import DocumentDetail
from exporter.tracking import SavedObjects
from exporter.tracking.model import DatasetCounters
from tests.polling.discovery_server import discovering, documents, listed
from tests.polling.fake_server import DATASET


def test_a_restored_document_is_fetched_in_full_again() -> None:
    """A restored document's detail is fetched even if its status is unchanged: only the detail shows its segments."""
    before = discovering()
    before.client.listed[DATASET] = [listed("1", "splitting", "indexing")]
    before.client.details["1"] = DocumentDetail("1", indexing_status="splitting", segment_count=3)
    before.poll()
    after = discovering()
    after.client.listed, after.client.details = before.client.listed, before.client.details
    after.store.restore(SavedObjects(before.store.documents, [], []))
    after.poll()
    assert 1 == after.client.count("document")


def test_a_found_document_that_ends_while_the_exporter_is_down_is_counted_once() -> None:
    """A document that was unfinished before the restart and is missing from the lists is fetched by its detail."""
    before = discovering()
    before.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    before.client.details["1"] = DocumentDetail("1", indexing_status="waiting")
    before.poll()
    after = discovering()
    after.client.details["1"] = DocumentDetail("1", indexing_status="completed")
    after.store.restore(SavedObjects(before.store.documents, [], before.listener.of(DatasetCounters)))
    after.poll()
    assert documents(after) == {"1": "completed"}
    (counters,) = [found for found in after.listener.of(DatasetCounters) if found.dataset_id == DATASET]
    assert dict(counters.finished)["completed", ""] == 1
    after.store.expire(0.0)
    assert documents(after) == {}
