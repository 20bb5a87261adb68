"""Fixtures for tests that run real processes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from exporter.clock import ManualClock
from exporter.simulator import Api, SimulatorServer, World, dataset_configs, demo_scenario
from tests.integration.harness import EXPORTER, Program, write_config

Start = Callable[..., Program]
Configure = Callable[..., str]

SECONDS_INTO_THE_DEMO = 40.0
"""At this point the demo has documents that wait, are parsed, progress, are completed, failed and paused."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.integration)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the exporter with arguments; stops it at the end."""
    numbers = itertools.count()

    def start_program(*arguments: str, **variables: str) -> Program:
        program = Program(tmp_path / f"process-{next(numbers)}", *EXPORTER, *arguments, **variables)
        return stack.enter_context(closing(program))

    with ExitStack() as stack:
        yield start_program


@pytest.fixture
def dify() -> Iterator[SimulatorServer]:
    """An embedded Dify, some time into the demo, with a stopped clock."""
    clock = ManualClock()
    world = World(demo_scenario(), clock)
    clock.advance(SECONDS_INTO_THE_DEMO)
    with SimulatorServer(Api(world)) as server:
        yield server


@pytest.fixture
def configure(tmp_path: Path, dify: SimulatorServer) -> Configure:
    """Writes a configuration that watches all of the embedded Dify, with changes; returns its path."""

    def write(**changes: object) -> str:
        settings = {"url": dify.url, "datasets": dataset_configs(dify.api.world.scenario), **changes}
        return write_config(tmp_path / "config.yaml", **settings)  # type: ignore[arg-type]

    return write
