"""Scenarios from files, and the demo's scenario."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from exporter.config import Secret
from exporter.simulator import (
    Action,
    Api,
    Attempt,
    BatchPlan,
    DatasetPlan,
    DocumentPlan,
    Fault,
    Rule,
    Scenario,
    ScenarioError,
    dataset_configs,
    demo_scenario,
    load_scenario,
    server_config,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DATASET = "501756ed-cffa-44bb-b992-713f60113872"
TEXT = """
key: dataset-x
workers: 2
zone_offset: 8
datasets:
  - id: 501756ed-cffa-44bb-b992-713f60113872
    technique: high_quality
    batches:
      - id: "1"
        documents:
          - {name: a.txt, segments: 50, fate: fails, phase: splitting, error: quota}
          - {name: b.txt, rule: {mode: hierarchical}}
        actions: [{do: retry, document: a.txt, at: 60, life: {segments: 4, fate: dies}}]
faults: [{kind: postgres_down, begins: 10, ends: 20}]
"""


def test_a_scenario_from_yaml(tmp_path: Path) -> None:
    """A YAML file is equivalent to the Python description; ``fate``, ``do`` and ``life`` have other names there."""
    path = tmp_path / "scenario.yaml"
    path.write_text(TEXT, encoding="utf-8")
    documents = (
        DocumentPlan(name="a.txt", segments=50, outcome="fails", phase="splitting", error="quota"),
        DocumentPlan(name="b.txt", rule=Rule(mode="hierarchical")),
    )
    retry = Action(kind="retry", document="a.txt", at=60, attempt=Attempt(segments=4, outcome="dies"))
    batch = BatchPlan(id="1", documents=documents, actions=(retry,))
    assert Scenario(
        key="dataset-x",
        workers=2,
        zone_offset=8,
        datasets=(DatasetPlan(id=DATASET, technique="high_quality", batches=(batch,)),),
        faults=(Fault(kind="postgres_down", begins=10, ends=20),),
    ) == load_scenario(path)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("datasets: [{id: x, colour: red}]", "unknown field `colour` - at `$.datasets[0]`"),
        ("workers: many", "$.workers"),
        ("datasets: [", "flow"),
        ("- 1", "object"),
    ],
)
def test_the_error_of_an_invalid_scenario_says_where(tmp_path: Path, text: str, part: str) -> None:
    """The message names the file and the path of the invalid value."""
    path = tmp_path / "scenario.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    assert str(path) in str(caught.value)
    assert part in str(caught.value)


def test_the_demo_shows_everything_within_a_minute(run_scenario: Callable[..., Any]) -> None:
    """Every status occurs within 60 seconds, indexing with increasing segments, and one document hangs."""
    simulation = run_scenario(demo_scenario())
    seen, moving = set(), set()
    for _ in range(60):
        simulation.after(1)
        now = simulation.world.advance()
        for dataset in simulation.world.datasets.values():
            for document in dataset.documents.values():
                row = document.row_at(now)
                seen.add("paused" if document.paused else row.status)
                if row.status == "indexing" and 0 < row.completed < row.total:
                    moving.add((document.id, row.completed))
    assert {"waiting", "parsing", "splitting", "indexing", "completed", "error", "paused"} == seen
    assert len(moving) > 10


def test_the_demo_stays_active_and_small(run_scenario: Callable[..., Any]) -> None:
    """Hours later documents still make progress, the same one hangs, and their number has not grown."""
    simulation = run_scenario(demo_scenario())
    handbook = next(iter(simulation.world.datasets.values()))

    def count() -> int:
        return sum(len(dataset.documents) for dataset in simulation.world.datasets.values())

    def snapshot() -> list[Any]:
        now = simulation.world.advance()
        return [document.row_at(now) for document in handbook.documents.values()]

    simulation.after(120)
    simulation.world.advance()
    documents = count()
    (hanging,) = handbook.batches["20261121093000100004"]
    before = hanging.row_at(simulation.world.now())
    simulation.after(36_000)
    states = {tuple((row.status, row.completed) for row in snapshot()) for _ in range(40) if simulation.after(3)}
    assert len(states) > 10
    assert documents == count()
    assert before == hanging.row_at(simulation.world.now())


def test_dataset_configs_name_existing_objects() -> None:
    """The datasets, batches and documents that ``watched`` returns exist in the demo."""
    from exporter.clock import ManualClock
    from exporter.simulator import World

    scenario = demo_scenario()
    clock = ManualClock()
    api = Api(World(scenario, clock))
    clock.advance(1)
    headers = {"authorization": f"Bearer {scenario.key}"}
    asked = 0
    for dataset in dataset_configs(scenario, documents=True):
        base = f"/v1/datasets/{dataset.id}/documents"
        paths = [f"{base}/{batch}/indexing-status" for batch in dataset.batches]
        paths += [f"{base}/{document}" for document in dataset.documents]
        for path in paths:
            assert 200 == api.handle("GET", path, "", headers).status
            asked += 1
    assert asked > 15


def test_the_server_of_the_demo() -> None:
    """The configuration entry has the key as a secret, and only batches with an id."""
    scenario = Scenario(datasets=(DatasetPlan(id=DATASET, batches=(BatchPlan(), BatchPlan(id="1"))),))
    server = server_config(scenario, "http://127.0.0.1:1/v1")
    assert Secret("dataset-simulatordemo") == server.api_key
    assert ("1",) == server.datasets[0].batches
    assert "dataset-simulatordemo" not in repr(server)
    assert 1 == len(dataset_configs(scenario, documents=True)[0].documents)
