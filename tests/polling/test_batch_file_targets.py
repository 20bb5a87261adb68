"""Batches from batch files, on a server that polls other targets too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from exporter.dify import DatasetAnswer, DocumentDetail
from exporter.polling import BATCH_STATUS, DATASET_SCAN, BatchFiles, BatchFileTargets, Target
from tests.polling.discovery_server import OTHER, bases, discovering, documents, listed
from tests.polling.fake_server import DATASET, PollerHarness, item

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400.0
LISTED_BATCH = Target(BATCH_STATUS, DATASET, "b")
SCAN = Target(DATASET_SCAN, DATASET, DATASET)


def watch_file(harness: PollerHarness, path: Path, *configured: Target) -> BatchFileTargets:
    """The targets of a file that lists one batch, after the first check."""
    write(path, "b")
    files = BatchFiles([path / "*.yaml"], clock=harness.clock)
    found = BatchFileTargets(files, harness.poller, configured=configured, retention=DAY)
    found.update()
    return found


def write(path: Path, *batches: str) -> None:
    """List these batches."""
    (path / "a.yaml").write_text(json.dumps([{"dataset_id": DATASET, "batch": batch} for batch in batches]))


@pytest.fixture
def harness() -> PollerHarness:
    """A server on which discovery finds an unfinished document."""
    harness = discovering(exclude=("archive",))
    harness.client.listed[DATASET] = [listed("found", "waiting", "queuing")]
    harness.client.details["found"] = DocumentDetail("found", indexing_status="waiting")
    harness.client.batches["b"] = [item("filed", "completed", 1, 1)]
    return harness


def test_discovery_continues_after_the_last_listed_batch(harness: PollerHarness, tmp_path: Path) -> None:
    """When a finished batch is unwatched after the retention, discovery in its dataset continues."""
    batches = watch_file(harness, tmp_path)
    harness.poll()
    assert documents(harness) == {"filed": "completed", "found": "waiting"}
    harness.pass_time(DAY + 60, tick=30.0)
    batches.retire()
    assert documents(harness) == {"found": "waiting"}
    assert set(bases(harness)) == {DATASET, OTHER}
    harness.client.listed[DATASET] = [listed("new", "waiting", "queuing")]
    harness.pass_time(300)
    assert documents(harness) == {"found": "waiting", "new": "waiting"}


def test_a_batch_removed_from_the_configuration_stays_if_listed(harness: PollerHarness, tmp_path: Path) -> None:
    """A batch removed from the configuration is still polled if an unchanged file lists it."""
    batches = watch_file(harness, tmp_path, LISTED_BATCH)
    harness.poller.watch([LISTED_BATCH])
    harness.poll()
    batches.reconfigure(configured=[], retention=DAY)
    batches.update()
    assert batches.lists(LISTED_BATCH)
    assert not batches.lists(Target(BATCH_STATUS, OTHER, "b"))
    harness.pass_time(DAY + 60, tick=30.0)
    batches.retire()
    assert LISTED_BATCH not in harness.poller.watched
    assert not batches.lists(LISTED_BATCH)


def test_a_retired_batch_is_watched_again_after_it_was_configured(harness: PollerHarness, tmp_path: Path) -> None:
    """An unwatched batch that was configured for a while stays until its retention ends again."""
    batches = watch_file(harness, tmp_path)
    harness.poll()
    harness.pass_time(DAY + 60, tick=30.0)
    batches.retire()
    batches.reconfigure(configured=[LISTED_BATCH], retention=DAY)
    harness.poller.watch([LISTED_BATCH])
    harness.client.batches["b"] = [item("filed", "waiting")]
    harness.poll()
    batches.reconfigure(configured=[], retention=DAY)
    batches.retire()
    assert batches.lists(LISTED_BATCH)


def test_a_listed_batch_is_watched_in_a_dataset_excluded_from_discovery(harness: PollerHarness, tmp_path: Path) -> None:
    """A batch file keeps the objects of a dataset whose name is excluded from discovery."""
    harness.client.batches["b"] = [item("filed", "indexing", 1, 9)]
    watch_file(harness, tmp_path)
    harness.poll()
    moved = harness.store.batch(DATASET, "b").last_progress_monotonic  # type: ignore[union-attr]
    harness.client.bases[DATASET] = DatasetAnswer(DATASET, "Archive")
    harness.pass_time(3600)
    assert {LISTED_BATCH, SCAN} <= harness.poller.watched
    assert (bases(harness)[DATASET].name, bases(harness)[DATASET].documents) == ("Archive", ())
    found = harness.store.batch(DATASET, "b")
    assert found is not None
    assert (found.last_progress_monotonic, found.stalled) == (moved, True)
