"""Few file descriptors, little memory."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from exporter.clock import SystemClock
from exporter.simulator import Api, BatchPlan, DatasetPlan, DocumentPlan, Scenario, SimulatorServer, World
from tests.faults.page import MAIN, Page, batches, dataset
from tests.faults.rows import CANARY
from tests.integration.harness import get, until

if TYPE_CHECKING:
    from tests.faults.conftest import Launch

MEMORY = 1024 * 1024
"""KiB of address space, including thread stacks."""


def test_64_descriptors(launch: Launch) -> None:
    """A hundred idle clients stop neither polls nor another client's scrape, and the log stays short."""
    program = launch("sh", "-c", 'ulimit -n 64 && exec "$0" "$@"')
    port = program.port()
    until(lambda: Page.of(port).is_known(MAIN))
    with contextlib.ExitStack() as held:
        for _ in range(100):
            held.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", port), 60)))
        until(lambda: _answers(port), why=lambda: program.log)
        polls = Page.of(port).polls(MAIN)
        until(lambda: Page.of(port).polls(MAIN) >= polls + 2)
        assert {} == Page.of(port).failures(MAIN)
    assert _answers(port)
    assert len(program.log) < 5_000
    assert 0 == program.stop()


def _answers(port: int) -> bool:
    try:
        return get(port, "/metrics").status == 200
    except OSError:
        return False


def test_10_000_documents_in_a_batch_with_little_memory(launch: Launch) -> None:
    """A gigabyte of address space is enough for 10 000 documents."""
    documents = tuple(DocumentPlan(name=f"{number}.txt") for number in range(10_000))
    batch = BatchPlan(id=batches(MAIN)[0], lost=True, documents=documents)
    scenario = Scenario(key=CANARY, datasets=(DatasetPlan(dataset(MAIN), batches=(batch,)),))
    with SimulatorServer(Api(World(scenario, SystemClock())), connections=None) as dify:
        program = launch(
            "sh", "-c", f'ulimit -v {MEMORY} && exec "$0" "$@"', server={"url": dify.url, "timeout": "60s"}
        )
        port = program.port()
        labels = f'server="{MAIN}",dataset_id="{dataset(MAIN)}",batch="{batches(MAIN)[0]}",status="waiting"'
        shown = f"dify_batch_documents{{{labels}}}"
        until(lambda: Page.of(port).server(MAIN).get(shown) == 10_000, why=lambda: program.log)
        assert "bug in the exporter" not in program.log
        assert 0 == program.stop()
