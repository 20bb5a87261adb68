"""Fixtures of the fault tests."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from exporter.simulator import Api, SimulatorServer, dataset_configs
from tests.faults import odd
from tests.faults.certificates import make
from tests.faults.gates import Gates
from tests.faults.page import MAIN
from tests.faults.rows import CANARY, fault_rows
from tests.faults.stand import WITNESS, Evidence, Stand, world
from tests.integration.harness import EXPORTER, Program, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder as integration tests."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.integration)


class Launch:
    """Starts exporters on the embedded Dify and ends them with the test."""

    def __init__(self, folder: Path, dify: SimulatorServer) -> None:
        self._folder = folder
        self._dify = dify
        self._programs = 0
        self.ending = ExitStack()

    def __call__(
        self,
        *prefix: str,
        options: tuple[str, ...] = (),
        variables: dict[str, str] | None = None,
        through: Path | None = None,
        **sections: object,
    ) -> Program:
        """``prefix``: a command to run it with; ``through``: symlink to the config's folder; ``sections``: of it."""
        settings: dict[str, Any] = {
            "url": self._dify.url,
            "datasets": dataset_configs(self._dify.api.world.scenario),
            "key": CANARY,
            "polling": {"interval": "1s", "max_interval": "1s"},
            **sections,
        }
        config = write_config(self._folder / "config.yaml", **settings)
        if through:
            through.symlink_to(self._folder)
            config = str(through / "config.yaml")
        self._programs += 1
        command = ("run", "--config.file", config, "--web.listen-address", "127.0.0.1:0", *options)
        folder = self._folder / f"process-{self._programs}"
        program = Program(folder, *prefix, *EXPORTER, *command, **(variables or {}))
        return self.ending.enter_context(closing(program))


@pytest.fixture
def dify() -> Iterator[SimulatorServer]:
    """An embedded Dify in which every document waits forever."""
    with SimulatorServer(Api(world([MAIN])), connections=None) as server:
        yield server


@pytest.fixture
def launch(tmp_path: Path, dify: SimulatorServer) -> Iterator[Launch]:
    """Starts exporters on ``dify``."""
    launch = Launch(tmp_path, dify)
    with launch.ending:
        yield launch


@pytest.fixture(scope="session")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evidence]:
    """The evidence from one run of the whole fault matrix."""
    folder = tmp_path_factory.mktemp("matrix")
    names = [*(row.name for row in fault_rows()), *(row.name for row in odd.ROWS), WITNESS]
    certificates = make(folder / "certificates")
    with Gates() as gates, SimulatorServer(Api(world(names)), connections=None, idle=60.0) as dify:
        yield Stand(folder, gates, dify, certificates).run()
