"""Fixtures of the fault tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.simulator import Api, SimulatorServer
from tests.faults import odd
from tests.faults.certificates import make
from tests.faults.gates import Gates
from tests.faults.rows import fault_rows
from tests.faults.stand import WITNESS, Evidence, Stand, world

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evidence]:
    """What one run of the whole fault matrix showed."""
    folder = tmp_path_factory.mktemp("matrix")
    names = [*(row.name for row in fault_rows()), *(row.name for row in odd.ROWS), WITNESS]
    certificates = make(folder / "certificates")
    with Gates() as gates, SimulatorServer(Api(world(names)), connections=None) as dify:
        yield Stand(folder, gates, dify, certificates).run()
