"""A detail that is missing is fetched, however it came to be missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.dify import DocumentDetail, NotFound, ServerFailed
from exporter.polling import BATCH_STATUS, DOCUMENT_DETAIL, Target
from exporter.tracking import Document, SavedObjects
from exporter.tracking.model import Batch, DatasetCounters, Progress
from exporter.tracking.progress import sum_batch
from tests.polling.discovery_server import discovering, listed
from tests.polling.fake_server import DATASET, PollerHarness, item

if TYPE_CHECKING:
    from exporter.dify import IndexingItem

BATCH = Target(BATCH_STATUS, DATASET, "b")


def details(harness: PollerHarness) -> dict[str, str | None]:
    """The name in the detail of each document that is shown; None for a missing detail."""
    return {found.document_id: found.detail and found.detail.name for found in harness.listener.of(Document)}


def saved(harness: PollerHarness) -> SavedObjects:
    """What the state file of a killed exporter has."""
    found = harness.store.saved_objects()
    return SavedObjects(
        [one for one in found if isinstance(one, Document)],
        [one for one in found if isinstance(one, Batch)],
        [one for one in found if isinstance(one, DatasetCounters)],
    )


def finished(count: int) -> list[IndexingItem]:
    """A batch whose documents have finished."""
    return [item(str(number), "completed", 1, 1) for number in range(count)]


def test_details_are_fetched_after_a_restart_in_the_middle_of_fetching_them() -> None:
    """Killed with 77 of 200 details fetched, the exporter fetches the other 123 after its restart, each once."""
    killed, restarted = PollerHarness(), PollerHarness()
    killed.client.batches["b"] = finished(200)

    def kill(_: str) -> None:
        if killed.client.count("document") == 77:
            killed.stop.set()

    killed.client.before_answer = kill
    killed.poller.watch([BATCH])
    killed.poll()
    assert sum(name is not None for name in details(killed).values()) == 77
    restarted.store.restore(saved(killed))
    restarted.client.batches["b"] = finished(200)
    restarted.poller.watch([BATCH])
    restarted.pass_time(3600)
    assert set(details(restarted).values()) == {"a.txt"}
    assert restarted.client.count("document") == 123


@pytest.mark.parametrize("status", ["completed", "indexing"])
def test_a_batch_that_leaves_and_returns_has_its_details(status: str) -> None:
    """A batch that a file lists again has the details of its documents, although they equal the former answers."""
    harness = PollerHarness()
    harness.client.batches["b"] = [item("1", status, 1, 3)]
    harness.poller.watch([BATCH])
    harness.poll()
    harness.poller.unwatch([BATCH])
    assert details(harness) == {}
    harness.pass_time(5)
    harness.poller.watch([BATCH])
    harness.poll()
    assert details(harness) == {"1": "a.txt"}


def test_a_failed_detail_is_fetched_again_but_not_at_each_answer() -> None:
    """Answers of the batch, also equal ones, do not bring forward a detail that waits after a failure."""
    harness = PollerHarness()
    harness.client.batches["b"] = [item("1", "indexing", 1, 3)]
    harness.client.details["1"] = ServerFailed("Internal Server Error")
    harness.poller.watch([BATCH])
    harness.poll()
    harness.pass_time(3600)
    assert harness.client.count("document") < 20 < harness.client.count("batch")
    harness.client.details["1"] = DocumentDetail("1", name="a.txt")
    harness.pass_time(400)
    assert details(harness) == {"1": "a.txt"}


def test_an_old_server_without_details_is_not_asked_at_each_answer() -> None:
    """A detail that does not exist (servers before 1.5.1) is retried rarely, also when the list names the document."""
    harness = discovering()
    harness.client.listed[DATASET] = [listed("1", "parsing", "indexing")]
    harness.client.details["1"] = NotFound("HTML", gone=False)
    harness.poll()
    harness.pass_time(3600, tick=5.0)
    assert harness.client.count("document") <= 5


def test_a_missing_detail_is_fetched_when_nothing_changes_any_more() -> None:
    """Whatever request got lost: the next answer, although it equals the one before, asks for the detail again."""
    harness = PollerHarness()
    harness.client.batches["b"] = finished(1)
    harness.client.before_answer = lambda _: harness.stop.set()
    harness.poller.watch([BATCH])
    harness.poll()
    harness.stop.clear()
    harness.client.before_answer = lambda _: None
    harness.poller.schedule.remove(Target(DOCUMENT_DETAIL, DATASET, "0"))
    assert details(harness) == {"0": None}
    harness.pass_time(1200)
    assert details(harness) == {"0": "a.txt"}


def test_a_detail_that_arrives_before_the_batch_of_a_restored_document_is_kept() -> None:
    """After a restart a detail may arrive before the answer of the batch: it is shown with it, and fetched once."""
    harness = discovering()
    document = Document("main", DATASET, "1", "b", Progress("completed", completed_segments=1, total_segments=1))
    harness.store.restore(SavedObjects([document], [sum_batch("main", DATASET, "b", [document])], []))
    harness.client.batches["b"] = [item("1", "completed", 1, 1)]
    harness.poller.watch([BATCH])
    harness.poller.schedule.remove(BATCH)
    harness.poller.schedule.put(Target(DOCUMENT_DETAIL, DATASET, "1"), harness.clock.monotonic())
    harness.poll()
    assert details(harness) == {}
    harness.poller.schedule.put(BATCH, harness.clock.monotonic())
    harness.poll()
    assert details(harness) == {"1": "a.txt"}
    assert harness.client.count("document") == 1
