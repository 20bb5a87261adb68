"""A restart preserves observations, counts and stall times."""

from __future__ import annotations

import os
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
from tests.integration.harness import get, until, write_config
from tests.integration.killing import DATASET, kill_repeatedly

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Start

BATCH = "20261121000000000001"


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
