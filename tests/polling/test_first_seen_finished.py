"""Batches and documents that have finished when they are first read."""

from __future__ import annotations

import time

import pytest

from exporter.config import DatasetConfig, Polling, ServerConfig
from exporter.dify import DatasetAnswer, DocumentDetail, IndexingItem, NotFound
from exporter.polling import BATCH_STATUS, Target, configured_targets
from exporter.tracking import SavedObjects
from exporter.tracking.model import DatasetCounters
from tests.polling.discovery_server import discovering, finished, listed
from tests.polling.fake_server import DATASET, PollerHarness, item

URL = "http://127.0.0.1:5001/v1"


def watching(*batches: str, documents: tuple[str, ...] = ()) -> PollerHarness:
    """A rig without discovery; nothing is polled yet."""
    server = ServerConfig("main", URL, datasets=(DatasetConfig(DATASET, batches=batches, documents=documents),))
    harness = PollerHarness(Polling(), server)
    harness.client.bases[DATASET] = DatasetAnswer(DATASET, "Handbook")
    harness.poller.watch(configured_targets(server))
    return harness


def batch_id(harness: PollerHarness, ago: float = 0.0, zone: float = 0.0) -> str:
    """The id of a batch that was uploaded so many seconds ago, on a server in a time zone (hours)."""
    return time.strftime("%Y%m%d%H%M%S", time.gmtime(harness.clock.time() - ago + zone * 3600)) + "000001"


def failed(harness: PollerHarness, *ids: str, ago: float = 0.0, zone: float = 0.0) -> list[IndexingItem]:
    """Documents that started so many seconds ago and failed at once."""
    started = int(harness.clock.time() - ago - zone * 3600)
    return [item(id_, "error", processing_started_at=started, stopped_at=started, error="broken") for id_ in ids]


def post(harness: PollerHarness, batch: str, items: list[IndexingItem]) -> None:
    """A batch becomes known and is polled."""
    harness.client.batches[batch] = items
    harness.poller.watch([Target(BATCH_STATUS, DATASET, batch)])
    harness.pass_time(20)


@pytest.mark.parametrize("zone", [0, 8, -5])
def test_what_failed_before_its_batch_was_read_is_counted(zone: int) -> None:
    """A refused key fails all documents within a second of the upload, also on a server in another time zone."""
    harness = watching("old")
    harness.client.batches["old"] = [item("0", "completed", 1, 1)]
    harness.pass_time(100)
    batch = batch_id(harness, 5, zone)
    post(harness, batch, failed(harness, "1", "2", ago=4, zone=zone))
    assert finished(harness) == {"error": 2}
    harness.pass_time(7200, tick=10)
    assert finished(harness) == {"error": 2}


def test_what_finished_before_the_exporter_looked_is_not_counted() -> None:
    """Old batches of the configuration, and documents from before the start."""
    harness = watching("old")
    harness.client.batches["old"] = failed(harness, "1", ago=3600)
    harness.pass_time(100)
    post(harness, batch_id(harness, 500), failed(harness, "2", ago=500))
    assert finished(harness) == {}


def test_what_failed_while_the_exporter_was_down_is_counted_once() -> None:
    """The dataset was watched before; its batch was uploaded meanwhile."""
    before = watching("old")
    before.client.batches["old"] = []
    before.poll()
    after = watching()
    after.store.restore(SavedObjects([], [], before.listener.of(DatasetCounters)))
    after.clock.advance(600)
    post(after, batch_id(after, 300), failed(after, "1", ago=300))
    assert finished(after) == {"error": 1}


def test_a_configured_document_that_was_created_meanwhile_is_counted() -> None:
    """Its detail tells when it was created."""
    harness = watching(documents=("1", "2"))
    now = int(harness.clock.time())
    harness.client.details["1"] = NotFound("document: 404", gone=True)
    harness.client.details["2"] = DocumentDetail("2", indexing_status="error", created_at=now - 3600)
    harness.poll()
    harness.client.details["1"] = DocumentDetail("1", indexing_status="error", created_at=now + 60)
    harness.pass_time(1300)
    assert finished(harness) == {"error": 1}


def test_what_discovery_has_counted_is_not_counted_again_when_its_batch_becomes_known() -> None:
    """Also after the document has expired, and when discovery is first to read it."""
    harness = discovering()
    harness.pass_time(60)
    harness.client.listed[DATASET] = [listed("1", "error", "error", int(harness.clock.time()))]
    items = failed(harness, "1")
    batch = batch_id(harness)
    harness.pass_time(1000)
    assert finished(harness) == {"error": 1}
    harness.store.expire(0.0)
    post(harness, batch, items)
    assert finished(harness) == {"error": 1}


@pytest.mark.parametrize("status", ["waiting", "error"])
@pytest.mark.parametrize("gone", [False, True])
def test_a_document_that_is_uploaded_again_restarts_when_its_old_batch_is_polled_first(gone: bool, status: str) -> None:
    """The old batch loses it before the new one is known: its former end is remembered until then."""
    harness = watching("old")
    harness.client.batches["old"] = [item("1", "indexing", 1, 3), item("2", "completed", 3, 3)]
    harness.poll()
    started = int(harness.clock.time())
    end = {"processing_started_at": started, "completed_at": started + 5}
    harness.client.batches["old"] = [item("1", "completed", 3, 3, **end), item("2", "completed", 3, 3)]
    harness.pass_time(60)
    harness.client.batches["old"] = NotFound("batch: 404", gone=True) if gone else [item("2", "completed", 3, 3)]
    harness.pass_time(1300)
    again = int(harness.clock.time())
    new = [item("1", "waiting", 3, 3, **end)]
    if status == "error":
        new = [item("1", "error", 0, 3, processing_started_at=again, completed_at=started + 5, stopped_at=again)]
    post(harness, batch_id(harness), new)
    harness.client.batches[batch_id(harness, 20)] = [
        item("1", "error", 0, 3, processing_started_at=again, completed_at=started + 5, stopped_at=again)
    ]
    harness.pass_time(120)
    [counters] = harness.listener.of(DatasetCounters)
    assert (finished(harness), counters.restarted) == ({"completed": 1, "error": 1}, 1)
