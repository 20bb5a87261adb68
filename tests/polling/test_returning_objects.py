"""Objects that leave the page and return, also after a restart in between: they continue from their saved rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.clock import ManualClock
from exporter.config import DatasetConfig, ServerConfig
from exporter.dify import DatasetAnswer, DocumentDetail
from exporter.polling import BATCH_STATUS, Target, configured_targets
from exporter.state import StateFile
from exporter.tracking import Batch, DatasetCounters, Document
from tests.polling.discovery_server import listed
from tests.polling.fake_server import DATASET, PollerHarness, item

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BATCH = Target(BATCH_STATUS, DATASET, "b")
SERVER = ServerConfig("main", "http://x/v1", datasets=(DatasetConfig(DATASET, batches=("b",)),))


class Lives:
    """Exporters that run one after another on one state file and one clock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.clock = ManualClock()
        self._state: StateFile | None = None

    def start(self, server: ServerConfig = SERVER) -> PollerHarness:
        """The next exporter. The one before is stopped."""
        self.stop()
        self._state = StateFile(self._path, self.clock)
        self._state.open()
        harness = PollerHarness(server=server, state=self._state, clock=self.clock)
        harness.client.bases[DATASET] = DatasetAnswer(DATASET, "Handbook")
        harness.client.batches["b"] = [item("1", "completed", 3, 3), item("2", "indexing", 1, 9)]
        return harness

    def stop(self) -> None:
        """Stop the present exporter."""
        if self._state is not None:
            self._state.close()
            self._state = None

    def waiting(self) -> int:
        """How many changes wait to be written."""
        assert self._state is not None
        return len(self._state._waiting)


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Lives]:
    """Exporters on one state file."""
    found = Lives(tmp_path / "state.db")
    yield found
    found.stop()


def batch(harness: PollerHarness) -> Batch:
    """The batch on the page."""
    (found,) = harness.listener.of(Batch)
    assert isinstance(found, Batch)
    return found


def finished(harness: PollerHarness) -> int:
    """How many documents were counted as finished."""
    (counters,) = harness.listener.of(DatasetCounters)
    return sum(count for _, count in counters.finished)


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
def test_a_batch_that_returns_to_its_file_continues(lives: Lives, restart: bool) -> None:
    """A batch that a file no longer lists and lists again: its stall goes on, and what was counted is not counted."""
    harness = lives.start()
    harness.poller.watch([BATCH])
    harness.pass_time(30)
    harness.client.batches["b"] = [item("1", "completed", 3, 3), item("2", "error", 1, 9, stopped_at=5)]
    harness.pass_time(60)
    assert 1 == finished(harness)
    moved = batch(harness).last_progress
    harness.poller.unwatch([BATCH])
    assert [] == harness.listener.of(Batch)
    assert [] == harness.listener.of(Document)
    assert [] == harness.listener.of(DatasetCounters)

    answer = harness.client.batches["b"]
    if restart:
        harness = lives.start()
        harness.poll()
        assert [] == harness.store.saved_objects()
    lives.clock.advance(3_600)
    harness.client.batches["b"] = answer
    harness.poller.watch([BATCH])
    harness.pass_time(60)

    assert moved == batch(harness).last_progress
    assert 1 == finished(harness)
    assert ["completed", "error"] == sorted(found.progress.status for found in harness.listener.of(Document))


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
def test_an_end_during_the_absence_is_counted_once(lives: Lives, restart: bool) -> None:
    """A document that finished while its batch was not watched is counted when the batch returns."""
    harness = lives.start()
    harness.poller.watch([BATCH])
    harness.pass_time(30)
    assert 0 == finished(harness)
    harness.poller.unwatch([BATCH])
    if restart:
        harness = lives.start()
    harness.client.batches["b"] = [item("1", "completed", 3, 3), item("2", "completed", 9, 9, completed_at=7)]
    harness.poller.watch([BATCH])
    harness.pass_time(300)
    assert 1 == finished(harness)


def test_a_batch_that_returns_is_stalled_at_once(lives: Lives) -> None:
    """The age of the last progress includes the time off the page."""
    harness = lives.start()
    harness.poller.watch([BATCH])
    harness.pass_time(30)
    assert not batch(harness).stalled
    harness.poller.unwatch([BATCH])
    lives.clock.advance(7_200)
    harness.poller.watch([BATCH])
    harness.poll()
    assert batch(harness).stalled


def test_objects_that_left_do_not_stay_in_memory(lives: Lives) -> None:
    """What left the page is only in the file, and is looked up there once when it returns."""
    harness = lives.start()
    for number in range(200):
        harness.client.batches["b"] = [item(f"{number}-{index}", "completed", 1, 1) for index in range(10)]
        harness.poller.watch([BATCH])
        harness.poll()
        harness.poller.unwatch([BATCH])
        assert lives._state is not None
        lives._state.save()
        assert [] == harness.store.saved_objects()
        assert not harness.store._objects.restored_documents
        assert not harness.store._objects.restored_batches
        assert 0 == lives.waiting()


def test_a_dataset_that_returns_under_discovery(lives: Lives) -> None:
    """Unfinished documents that left with their dataset and finished meanwhile are counted, once each."""
    server = ServerConfig("main", "http://x/v1", discover=True)

    both = [listed(found, "indexing", "indexing") for found in ("1", "2")]
    harness = lives.start(server)
    harness.client.listed[DATASET] = both
    for document_id in ("1", "2"):
        harness.client.details[document_id] = DocumentDetail(document_id, indexing_status="indexing")
    harness.poller.watch(configured_targets(server))
    harness.pass_time(120)
    assert 2 == len(harness.listener.of(Document))
    harness.poller.close()
    assert [] == harness.listener.of(Document)
    harness = lives.start(server)
    harness.client.listed[DATASET] = both[1:]
    harness.client.details["1"] = DocumentDetail("1", indexing_status="completed", completed_at=7)
    harness.client.details["2"] = DocumentDetail("2", indexing_status="indexing")
    harness.poller.watch(configured_targets(server))
    harness.pass_time(1_200)
    assert {"1": "completed", "2": "indexing"} == {
        found.document_id: found.progress.status for found in harness.listener.of(Document)
    }
    assert 1 == finished(harness)


def test_without_a_state_file_a_batch_that_returns_is_new() -> None:
    """There is nothing to recall."""
    harness = PollerHarness(server=SERVER)
    harness.client.bases[DATASET] = DatasetAnswer(DATASET, "Handbook")
    harness.client.batches["b"] = [item("1", "indexing", 3, 9)]
    harness.poller.watch([BATCH])
    harness.poll()
    harness.poller.unwatch([BATCH])
    harness.pass_time(100)
    harness.poller.watch([BATCH])
    harness.poll()
    assert harness.clock.time() == batch(harness).last_progress
