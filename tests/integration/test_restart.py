"""A restart preserves observations, counts and stall times."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from exporter.clock import SystemClock
from exporter.simulator import (
    Api,
    BatchPlan,
    DatasetPlan,
    DocumentPlan,
    Scenario,
    SimulatorServer,
    World,
    dataset_configs,
)
from exporter.state import StateFile
from tests.integration.harness import get, until, write_config
from tests.integration.killing import DATASET, kill_repeatedly

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Start

BATCH = "20261121000000000001"

SAVED_EVERY = 5.0
KILLED_AFTER = 14.0
SLACK = 1.5
"""Seconds by which a save may be late on a busy machine."""


def test_each_document_is_counted_once_despite_kills(tmp_path: Path) -> None:
    """``kill -9`` at random moments: no document is counted twice, none is missed, and the counter never decreases.

    ``KILLS=50`` in the environment kills fifty times.
    """
    kills = int(os.environ.get("KILLS", "6"))
    result = kill_repeatedly(tmp_path, kills=kills, batches=5 * kills, seconds=1.5 * kills)

    assert result.documents == result.counted
    assert 0 == result.decreases


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
def test_downtime_counts_towards_a_stall(start: Start, tmp_path: Path, kill: bool) -> None:
    """The time before the restart and the downtime count towards a stall."""
    plan = DatasetPlan(DATASET, batches=(BatchPlan(id=BATCH, lost=True, documents=(DocumentPlan(),)),))
    scenario = Scenario(datasets=(plan,))
    with SimulatorServer(Api(World(scenario, SystemClock()))) as dify:
        config = write_config(
            tmp_path / "config.yaml",
            dify.url,
            dataset_configs(scenario),
            key=scenario.key,
            polling={"interval": "1s", "max_interval": "1s"},
            stall={"after": "1h", "queued_after": "1h"},
            state={"path": str(tmp_path / "state.db")},
        )
        command = ("run", "--config.file", config, "--web.listen-address", "127.0.0.1:0")
        before = start(*command)
        first = last_progress(before.port())
        if kill:
            before.process.kill()
            before.process.wait()
        else:
            assert 0 == before.stop()
        after = start(*command)
        assert first == last_progress(after.port())


def last_progress(port: int) -> str:
    """Time of the batch's last progress on the page."""

    def find() -> str:
        lines = get(port, "/metrics").body.decode().splitlines()
        return next((line for line in lines if line.startswith("dify_batch_last_progress_timestamp_seconds")), "")

    return until(find)


def test_a_kill_loses_at_most_five_seconds(start: Start, tmp_path: Path) -> None:
    """``kill -9`` while a document progresses: the state file has what the page showed five seconds before."""
    document = DocumentPlan(parse=0.1, split=0.1, index=16.0, segments=100)
    plan = DatasetPlan(
        DATASET, technique="high_quality", batches=(BatchPlan(id=BATCH, queue=0.1, documents=(document,)),)
    )
    scenario = Scenario(datasets=(plan,))
    with SimulatorServer(Api(World(scenario, SystemClock()))) as dify:
        config = write_config(
            tmp_path / "config.yaml",
            dify.url,
            dataset_configs(scenario),
            key=scenario.key,
            polling={"interval": "1s", "max_interval": "1s"},
            state={"path": str(tmp_path / "state.db")},
        )
        program = start("run", "--config.file", config, "--web.listen-address", "127.0.0.1:0")
        port = program.port()
        began, shown = time.monotonic(), []
        while time.monotonic() - began < KILLED_AFTER:
            shown.append((time.monotonic(), completed_segments(port)))
            time.sleep(0.25)
        program.process.kill()
        program.process.wait()
    killed = time.monotonic()
    earlier = [value for at, value in shown if at <= killed - SAVED_EVERY - SLACK]
    assert earlier[-1] > 0

    state = StateFile(tmp_path / "state.db", SystemClock())
    state.open()
    (saved,) = state.restore("main").documents
    state.close()
    assert (saved.progress.completed_segments or 0) >= earlier[-1]


def completed_segments(port: int) -> float:
    """The completed segments of the batch on the page; 0 before the first answer."""
    lines = get(port, "/metrics").body.decode().splitlines()
    name = "dify_batch_segments_completed{"
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)), 0.0)
