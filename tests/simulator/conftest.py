"""Shared fixtures of the simulator's tests: a server whose clock the tests control."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from exporter.clock import ManualClock
from exporter.simulator import Action, Api, BatchPlan, DatasetPlan, DocumentPlan, Scenario, World, document_id

if TYPE_CHECKING:
    from collections.abc import Callable

DATASET = "501756ed-cffa-44bb-b992-713f60113872"
BATCH = "20261121173517669864"
KEY = "dataset-secret"


class Simulation:
    """A scenario in progress, and requests to it as a client would send them."""

    def __init__(self, scenario: Scenario, **options: Any) -> None:
        self.clock = ManualClock()
        self.world = World(scenario, self.clock)
        self.api = Api(self.world, **options)

    def get(self, path: str, query: str = "", *, status: int = 200) -> Any:
        """The decoded answer for a path under the dataset."""
        response = self.api.handle("GET", f"/v1/datasets/{DATASET}{path}", query, {"authorization": f"Bearer {KEY}"})
        assert status == response.status, response.body
        return msgspec.json.decode(response.body)

    def after(self, seconds: float) -> Simulation:
        """Advance the clock."""
        self.clock.advance(seconds)
        return self

    def items(self, batch: str = BATCH) -> list[Any]:
        """The documents of an indexing-status answer, in the order of the plan."""
        data = self.get(f"/documents/{batch}/indexing-status")["data"]
        order = list(self.world.datasets[DATASET].documents)
        return sorted(data, key=lambda item: order.index(item["id"]))

    def item(self, batch: str = BATCH) -> Any:
        """The only document of the batch."""
        (found,) = self.items(batch)
        return found

    def detail(self, document: str, metadata: str = "without") -> Any:
        """The detail of a document."""
        return self.get(f"/documents/{document}", f"metadata={metadata}")

    def act(self, kind: Any, document: str = "", **more: Any) -> None:
        """Perform an action on a document of the batch now."""
        self.world.act(DATASET, Action(kind=kind, document=document, batch=more.pop("batch", BATCH), **more))


@pytest.fixture(scope="session")
def simulate() -> Callable[..., Simulation]:
    """Run one batch with the given documents and the fields of ``BatchPlan``, ``DatasetPlan`` and ``Scenario``."""

    def build(*documents: DocumentPlan, **fields: Any) -> Simulation:
        def fields_of(kind: type) -> dict[str, Any]:
            return {name: fields.pop(name) for name in kind.__struct_fields__ if name in fields}  # type: ignore[attr-defined]

        plan = BatchPlan(id=BATCH, documents=documents or (DocumentPlan(),), **{"queue": 0.0, **fields_of(BatchPlan)})
        dataset = DatasetPlan(id=DATASET, batches=(plan,), **fields_of(DatasetPlan))
        return Simulation(Scenario(key=KEY, datasets=(dataset,), **fields_of(Scenario)), **fields)

    return build


@pytest.fixture
def run_scenario() -> Callable[..., Simulation]:
    """Run a whole scenario."""
    return Simulation


@pytest.fixture
def first_id() -> str:
    """The id of a batch's first document, if it has the default name."""
    return document_id(DATASET, BATCH, 0, DocumentPlan())
