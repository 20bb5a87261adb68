"""An exporter that is killed repeatedly while documents finish."""

from __future__ import annotations

import random
import signal
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

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
from tests.integration.harness import EXPORTER, Program, get, until, write_config

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.simulator.scenario import Outcome

DATASET = "5f1d9a2e-6c0b-4d5e-9a43-0c9b7e2d1a01"
COUNTER = "dify_documents_finished_total"

HEAD_START = 1.0
"""Seconds from the moment at which the exporter has seen all documents until the first of them is processed."""


class StoppedClock(SystemClock):
    """A clock that starts when ``start`` is called."""

    def __init__(self) -> None:
        self._stopped_at: float | None = time.monotonic()
        self._offset = 0.0

    def monotonic(self) -> float:
        """Seconds, without those before ``start``."""
        stopped_at = self._stopped_at
        return time.monotonic() - self._offset if stopped_at is None else stopped_at

    def start(self) -> None:
        """Start."""
        assert self._stopped_at is not None
        self._offset, self._stopped_at = time.monotonic() - self._stopped_at, None


class KillResult(NamedTuple):
    """The result. ``decreases``: how often the counter was lower than before."""

    kills: int
    documents: int
    counted: int
    decreases: int


def kill_repeatedly(folder: Path, *, kills: int, batches: int, seconds: float, seed: int = 1) -> KillResult:
    """Kill the exporter ``kills`` times at random moments while ``batches`` of three documents finish over ``seconds``.

    Each document must be counted once, whether it finishes while the exporter runs or while it is down.
    """
    chance = random.Random(seed)  # noqa: S311 the same moments in each run
    scenario = _scenario(batches, seconds, chance)
    clock = StoppedClock()
    with SimulatorServer(Api(World(scenario, clock)), connections=None) as dify:
        config = write_config(
            folder / "config.yaml",
            dify.url,
            dataset_configs(scenario),
            key=scenario.key,
            server={"concurrency": 8},
            polling={"interval": "1s", "max_interval": "1s", "settled_interval": "1s", "max_settled_interval": "1s"},
            state={"path": str(folder / "state.db")},
        )
        command = (*EXPORTER, "run", "--config.file", config, "--web.listen-address", "127.0.0.1:0")
        pause, seen, decreases = threading.Event(), 0, 0
        for number in range(kills + 1):
            program = Program(folder / f"run-{number}", *command)
            try:
                port = program.port()
                if not number:
                    until(lambda at=port: get(at, "/-/ready").status == 200)  # type: ignore[misc]
                    clock.start()
                if number < kills:
                    pause.wait(chance.uniform(0.0, 2 * seconds / kills - 0.6) if number else 0.0)
                    counted = finished_documents(port)
                    decreases += counted < seen
                    seen = max(seen, counted)
                    program.process.send_signal(signal.SIGKILL)
                    program.process.wait()
                else:
                    until(lambda at=port: finished_documents(at) >= 3 * batches)  # type: ignore[misc]
                    requested = dify.api.requests["indexing-status"]
                    # Two more polls of each batch: a document that is counted twice would be by then.
                    until(lambda least=requested + 3 * batches: dify.api.requests["indexing-status"] >= least)  # type: ignore[misc]
                    seen = finished_documents(port)
                    assert program.stop() == 0
            finally:
                program.close()
    return KillResult(kills, 3 * batches, seen, decreases)


def finished_documents(port: int) -> int:
    """Number of documents that the exporter has counted."""
    page = get(port, "/metrics").body.decode()
    return int(
        sum(
            sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == COUNTER
        )
    )


def _scenario(batches: int, seconds: float, chance: random.Random) -> Scenario:
    plans: list[BatchPlan] = []
    outcomes: tuple[Outcome, ...] = ("completes", "fails", "completes")
    for _ in range(batches):
        starts = HEAD_START + chance.uniform(0.0, seconds)
        documents = tuple(
            DocumentPlan(name=f"{number}.txt", parse=0.1, split=0.1, index=chance.uniform(0.1, 1.0), outcome=outcome)
            for number, outcome in enumerate(outcomes)
        )
        plans.append(BatchPlan(id=f"20261121{len(plans):012}", queue=starts, documents=documents))
    return Scenario(workers=None, datasets=(DatasetPlan(DATASET, batches=tuple(plans)),))
