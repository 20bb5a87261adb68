"""Tracking discovered documents: progress, stalls, ends."""

from __future__ import annotations

import pytest

from exporter.config import DatasetConfig
from exporter.dify import BadRequest, DocumentDetail, NotFound, SchemaMismatch, ServerFailed
from exporter.polling import BATCH_STATUS, Target
from exporter.tracking import Document
from exporter.tracking.model import DatasetCounters
from tests.polling.discovery_server import discovering, documents, listed
from tests.polling.fake_server import DATASET, item


def test_an_unfinished_document_is_followed_to_its_end_and_then_dropped() -> None:
    """Status from the list, segments from the segment count, end from the detail; removed after the retention."""
    harness = discovering()
    harness.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    harness.client.details["1"] = DocumentDetail("1", name="a", indexing_status="waiting", segment_count=0)
    harness.poll()
    harness.client.listed[DATASET] = [listed("1", "indexing", "indexing")]
    harness.client.details["1"] = DocumentDetail("1", name="a", indexing_status="indexing", segment_count=9)
    harness.client.segments["1"] = 4
    harness.pass_time(70)
    (document,) = harness.listener.of(Document)
    assert (document.progress.status, document.progress.completed_segments, document.progress.total_segments) == (
        "indexing",
        4,
        9,
    )
    harness.client.listed[DATASET] = [listed("1", "completed", "available")]
    harness.client.details["1"] = DocumentDetail("1", name="a", indexing_status="completed", segment_count=9)
    harness.client.segments["1"] = 9
    harness.pass_time(70)
    (document,) = harness.listener.of(Document)
    assert (document.progress.status, document.progress.completed_segments) == ("completed", 9)
    (counters,) = [found for found in harness.listener.of(DatasetCounters) if found.dataset_id == DATASET]
    assert dict(counters.finished)["completed", ""] == 1
    asked = harness.client.count("document") + harness.client.count("segments")
    harness.pass_time(3600)
    assert harness.client.count("document") + harness.client.count("segments") == asked
    harness.store.expire(7200.0)
    assert documents(harness) == {"1": "completed"}
    harness.store.expire(3000.0)
    assert documents(harness) == {}


def test_moving_segments_keep_a_found_document_from_stalling() -> None:
    """Slow is not stalled: only 15 minutes without newly completed segments are a stall."""
    harness = discovering()
    harness.client.listed[DATASET] = [listed("1", "indexing", "indexing")]
    harness.client.details["1"] = DocumentDetail("1", indexing_status="indexing", segment_count=1000)
    harness.poll()
    for minute in range(40):
        harness.client.segments["1"] = minute // 10
        harness.pass_time(60)
        assert not harness.listener.of(Document)[0].stalled
    harness.pass_time(15 * 60)
    assert harness.listener.of(Document)[0].stalled
    harness.client.segments["1"] = 4
    harness.pass_time(70)
    assert not harness.listener.of(Document)[0].stalled


def test_a_document_that_waits_forever_is_found_and_stalls() -> None:
    """A document that is queued forever and has no known batch stalls after ``queued_after``, not before."""
    harness = discovering()
    harness.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    harness.client.details["1"] = DocumentDetail("1", indexing_status="waiting", segment_count=0)
    harness.poll()
    harness.pass_time(1795)
    assert not harness.listener.of(Document)[0].stalled
    harness.pass_time(70)
    assert harness.listener.of(Document)[0].stalled


def test_a_list_does_not_show_that_segments_stand_still() -> None:
    """Segments completed just before the limit prevent a stall, whichever request comes first."""
    harness = discovering()
    harness.client.listed[DATASET] = [listed("1", "indexing", "indexing")]
    harness.client.details["1"] = DocumentDetail("1", indexing_status="indexing", segment_count=1000)
    harness.poll()
    moved = harness.listener.of(Document)[0].last_progress_monotonic
    for jump in range(1, 6):
        harness.pass_time(moved + 899 - harness.clock.monotonic())
        harness.client.segments["1"] = jump
        harness.pass_time(61)
        (document,) = harness.listener.of(Document)
        assert (jump, False) == (document.progress.completed_segments, document.stalled)
        moved = document.last_progress_monotonic
    harness.pass_time(moved + 900 - harness.clock.monotonic())
    assert harness.listener.of(Document)[0].stalled


@pytest.mark.parametrize("error", [BadRequest("provider_not_initialize"), SchemaMismatch("no total")])
def test_a_document_whose_segments_are_refused_is_judged_without_them(error: Exception) -> None:
    """If the server rejects the segment count, the document is judged by its other values."""
    harness = discovering()
    harness.client.listed[DATASET] = [listed("1", "indexing", "indexing")]
    harness.client.details["1"] = DocumentDetail("1", indexing_status="indexing", segment_count=1000)
    harness.client.segments["1"] = error
    harness.poll()
    harness.pass_time(895)
    assert not harness.listener.of(Document)[0].stalled
    harness.pass_time(10)
    assert harness.listener.of(Document)[0].stalled


def test_segments_that_cannot_be_read_are_not_taken_for_still_ones() -> None:
    """A segment count that cannot be fetched does not mean a stall."""
    harness = discovering()
    harness.client.listed[DATASET] = [listed("1", "indexing", "indexing")]
    harness.client.details["1"] = DocumentDetail("1", indexing_status="indexing", segment_count=1000)
    harness.client.segments["1"] = ServerFailed("segments: 500")
    harness.poll()
    harness.pass_time(3600)
    assert not harness.listener.of(Document)[0].stalled


def test_a_batch_serves_the_documents_that_it_covers() -> None:
    """A document in a batch is not polled itself; if the batch considers it finished, the batch is polled at once."""
    harness = discovering(DatasetConfig(DATASET, batches=("b",)))
    harness.client.batches["b"] = [item("1", "completed", 9, 9)]
    harness.client.listed[DATASET] = [listed("1", "completed", "available")]
    harness.client.details["1"] = DocumentDetail("1", indexing_status="completed")
    harness.poll()
    harness.pass_time(300)
    harness.client.batches["b"] = [item("1", "indexing", 9, 9)]
    harness.client.listed[DATASET] = [listed("1", "indexing", "indexing")]
    harness.pass_time(250)
    assert documents(harness) == {"1": "indexing"}
    assert harness.client.count("segments") == 0


def test_a_deleted_document_is_removed() -> None:
    """A document missing from the lists whose detail is a 404 is removed; new ones are still found."""
    harness = discovering()
    harness.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    harness.client.details["1"] = DocumentDetail("1", indexing_status="waiting")
    harness.poll()
    harness.client.listed[DATASET] = []
    harness.client.details["1"] = NotFound("Document Not Exists.", gone=True)
    harness.pass_time(70)
    assert documents(harness) == {}
    harness.client.listed[DATASET] = [listed("2", "waiting", "queuing")]
    harness.pass_time(300)
    assert {"2": "waiting"} == documents(harness)


def test_an_end_in_a_detail_is_not_counted_again_by_the_batch() -> None:
    """A batch that becomes known after the end of a discovered document does not count that end again."""
    harness = discovering()
    harness.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    harness.client.details["1"] = DocumentDetail("1", indexing_status="waiting")
    harness.poll()
    harness.client.listed[DATASET] = []
    harness.client.details["1"] = DocumentDetail("1", indexing_status="completed", completed_at=210)
    harness.pass_time(70)
    harness.client.batches["b"] = [item("1", "completed", 1, 1, processing_started_at=200, completed_at=210)]
    harness.poller.watch([Target(BATCH_STATUS, DATASET, "b")])
    harness.pass_time(30)

    (document,) = harness.listener.of(Document)
    (counters,) = [found for found in harness.listener.of(DatasetCounters) if found.dataset_id == DATASET]
    assert ("b", 200) == (document.batch, document.progress.processing_started_at)
    assert {("completed", ""): 1} == {end: count for end, count in dict(counters.finished).items() if count}
