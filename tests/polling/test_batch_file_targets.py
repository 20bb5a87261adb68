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
FILED = Target(BATCH_STATUS, DATASET, "b")
BASE = Target(DATASET_SCAN, DATASET, DATASET)


def filed(harness: PollerHarness, path: Path, *configured: Target) -> BatchFileTargets:
    """The targets of a file that lists one batch, after the first look."""
    write(path, "b")
    files = BatchFiles([path / "*.yaml"], clock=harness.clock)
    found = BatchFileTargets(files, harness.poller, configured=configured, retention=DAY)
    found.look()
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


def test_the_last_filed_batch_does_not_end_discovery(harness: PollerHarness, tmp_path: Path) -> None:
    """When a finished batch is unwatched after the retention, discovery in its dataset continues."""
    batches = filed(harness, tmp_path)
    harness.poll()
    assert documents(harness) == {"filed": "completed", "found": "waiting"}
    harness.pass_time(DAY + 60, tick=30.0)
    batches.retire()
    assert documents(harness) == {"found": "waiting"}
    assert set(bases(harness)) == {DATASET, OTHER}
    harness.client.listed[DATASET] = [listed("new", "waiting", "queuing")]
    harness.pass_time(300)
    assert documents(harness) == {"found": "waiting", "new": "waiting"}


def test_a_batch_that_leaves_the_config_stays_while_a_file_names_it(harness: PollerHarness, tmp_path: Path) -> None:
    """A batch removed from the configuration is still polled if an unchanged file lists it."""
    batches = filed(harness, tmp_path, FILED)
    harness.poller.watch([FILED])
    harness.poll()
    batches.reconfigure(configured=[], retention=DAY)
    batches.look()
    assert batches.holds(FILED)
    assert not batches.holds(Target(BATCH_STATUS, OTHER, "b"))
    harness.pass_time(DAY + 60, tick=30.0)
    batches.retire()
    assert FILED not in harness.poller.watched
    assert not batches.holds(FILED)


def test_a_batch_that_the_config_named_meanwhile_is_not_long_finished(harness: PollerHarness, tmp_path: Path) -> None:
    """An unwatched batch that was configured for a while stays until its retention ends again."""
    batches = filed(harness, tmp_path)
    harness.poll()
    harness.pass_time(DAY + 60, tick=30.0)
    batches.retire()
    batches.reconfigure(configured=[FILED], retention=DAY)
    harness.poller.watch([FILED])
    harness.client.batches["b"] = [item("filed", "waiting")]
    harness.poll()
    batches.reconfigure(configured=[], retention=DAY)
    batches.retire()
    assert batches.holds(FILED)


def test_a_batch_from_a_file_keeps_a_dataset_that_discovery_lost(harness: PollerHarness, tmp_path: Path) -> None:
    """A batch file keeps the objects of a dataset whose name is excluded from discovery."""
    harness.client.batches["b"] = [item("filed", "indexing", 1, 9)]
    filed(harness, tmp_path)
    harness.poll()
    moved = harness.store.batch(DATASET, "b").last_progress_monotonic  # type: ignore[union-attr]
    harness.client.bases[DATASET] = DatasetAnswer(DATASET, "Archive")
    harness.pass_time(3600)
    assert {FILED, BASE} <= harness.poller.watched
    assert (bases(harness)[DATASET].name, bases(harness)[DATASET].documents) == ("Archive", ())
    found = harness.store.batch(DATASET, "b")
    assert found is not None
    assert (found.last_progress_monotonic, found.stalled) == (moved, True)
