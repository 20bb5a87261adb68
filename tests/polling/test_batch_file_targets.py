"""Batches from batch files, on a server that polls other targets too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from exporter.dify import DatasetAnswer, DocumentDetail
from exporter.polling import BATCH_STATUS, DATASET_SCAN, BatchFiles, BatchFileTargets, Target
from tests.polling.discovery_server import OTHER, bases, discovering, documents, listed
from tests.polling.fake_server import DATASET, Rig, item

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400.0
FILED = Target(BATCH_STATUS, DATASET, "b")
BASE = Target(DATASET_SCAN, DATASET, DATASET)


def filed(rig: Rig, path: Path, *configured: Target) -> BatchFileTargets:
    """The targets of a file that lists one batch, after the first look."""
    write(path, "b")
    files = BatchFiles([path / "*.yaml"], clock=rig.clock)
    found = BatchFileTargets(files, rig.poller, configured=configured, retention=DAY)
    found.look()
    return found


def write(path: Path, *batches: str) -> None:
    """List these batches."""
    (path / "a.yaml").write_text(json.dumps([{"dataset_id": DATASET, "batch": batch} for batch in batches]))


@pytest.fixture
def rig() -> Rig:
    """A server on which discovery finds an unfinished document."""
    rig = discovering(exclude=("archive",))
    rig.client.listed[DATASET] = [listed("found", "waiting", "queuing")]
    rig.client.details["found"] = DocumentDetail("found", indexing_status="waiting")
    rig.client.batches["b"] = [item("filed", "completed", 1, 1)]
    return rig


def test_the_last_filed_batch_does_not_end_discovery(rig: Rig, tmp_path: Path) -> None:
    """When a finished batch is unwatched after the retention, discovery in its dataset continues."""
    batches = filed(rig, tmp_path)
    rig.poll()
    assert documents(rig) == {"filed": "completed", "found": "waiting"}
    rig.pass_time(DAY + 60, tick=30.0)
    batches.retire()
    assert documents(rig) == {"found": "waiting"}
    assert set(bases(rig)) == {DATASET, OTHER}
    rig.client.listed[DATASET] = [listed("new", "waiting", "queuing")]
    rig.pass_time(300)
    assert documents(rig) == {"found": "waiting", "new": "waiting"}


def test_a_batch_that_leaves_the_config_stays_while_a_file_names_it(rig: Rig, tmp_path: Path) -> None:
    """A batch removed from the configuration is still polled if an unchanged file lists it."""
    batches = filed(rig, tmp_path, FILED)
    rig.poller.watch([FILED])
    rig.poll()
    batches.reconfigure(configured=[], retention=DAY)
    batches.look()
    assert batches.holds(FILED)
    assert not batches.holds(Target(BATCH_STATUS, OTHER, "b"))
    rig.pass_time(DAY + 60, tick=30.0)
    batches.retire()
    assert FILED not in rig.poller.watched
    assert not batches.holds(FILED)


def test_a_batch_that_the_config_named_meanwhile_is_not_long_finished(rig: Rig, tmp_path: Path) -> None:
    """An unwatched batch that was configured for a while stays until its retention ends again."""
    batches = filed(rig, tmp_path)
    rig.poll()
    rig.pass_time(DAY + 60, tick=30.0)
    batches.retire()
    batches.reconfigure(configured=[FILED], retention=DAY)
    rig.poller.watch([FILED])
    rig.client.batches["b"] = [item("filed", "waiting")]
    rig.poll()
    batches.reconfigure(configured=[], retention=DAY)
    batches.retire()
    assert batches.holds(FILED)


def test_a_filed_batch_holds_a_knowledge_base_that_discovery_lost(rig: Rig, tmp_path: Path) -> None:
    """A batch file keeps the objects of a dataset whose name is excluded from discovery."""
    rig.client.batches["b"] = [item("filed", "indexing", 1, 9)]
    filed(rig, tmp_path)
    rig.poll()
    moved = rig.store.batch(DATASET, "b").last_progress_monotonic  # type: ignore[union-attr]
    rig.client.bases[DATASET] = DatasetAnswer(DATASET, "Archive")
    rig.pass_time(3600)
    assert {FILED, BASE} <= rig.poller.watched
    assert (bases(rig)[DATASET].name, bases(rig)[DATASET].documents) == ("Archive", ())
    found = rig.store.batch(DATASET, "b")
    assert found is not None
    assert (found.last_progress_monotonic, found.stalled) == (moved, True)
