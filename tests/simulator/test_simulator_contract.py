"""The simulator's answers compared with those of a real server: field by field, type by type, including nulls."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from exporter.simulator import BatchPlan, DatasetPlan, Scenario, document_id
from tests.simulator.recordings import (
    BATCH,
    DATASET,
    KEY,
    SETUPS,
    TWICE,
    cases,
    compare,
    recording,
    request,
    set_up,
    shape,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("case", cases("indexing-status"))
def test_indexing_status(run_scenario: Callable[..., Any], case: str) -> None:
    """Every recorded state of a batch is reproduced, including statuses, counts and nulls."""
    simulation = set_up(run_scenario, SETUPS[case.removeprefix("indexing-status--")])
    response = request(simulation, f"/v1/datasets/{DATASET}/documents/{BATCH}/indexing-status")
    volatile = ("midway", "paused-settled", "splitting")
    compare(recording(case), response, bodies=not case.endswith(volatile))


@pytest.mark.parametrize("case", cases("document"))
def test_document(run_scenario: Callable[..., Any], case: str) -> None:
    """Every recorded detail is reproduced, for every value of ``metadata``."""
    _, state, _ = case.split("--")
    recorded = recording(case)
    setup = SETUPS[state]
    simulation = set_up(run_scenario, setup)
    query = recorded["path"].partition("?")[2]
    document = document_id(DATASET, BATCH, 0, setup.plans[0])
    response = request(simulation, f"/v1/datasets/{DATASET}/documents/{document}?{query}")
    if state == "stuck-indexing":  # there, the update used another process rule than the dataset's
        simulated, real = json.loads(response.body), recorded["json"]
        for either in (simulated, real):
            either.pop("document_process_rule", None)
            either.pop("created_from", None)
        assert shape(real) == shape(simulated)
        return
    compare(recorded, response)
    if state in ("completed", "archived", "disabled", "blank-text", "empty-text", "large-completed", "retried-ok") and (
        "segment_count" in recorded["json"]
    ):
        answer = json.loads(response.body)
        for field in ("segment_count", "average_segment_length", "tokens"):
            if (state, field) != ("large-completed", "average_segment_length"):
                assert recorded["json"][field] == answer[field], field


@pytest.mark.parametrize("case", [each for each in cases("segments") if "--status-" not in each])
def test_segments(run_scenario: Callable[..., Any], case: str) -> None:
    """Totals by status, the page object and the shape of a segment match the recordings."""
    _, state, _ = case.split("--")
    recorded = recording(case)
    setup = SETUPS[state]
    query = recorded["path"].partition("?")[2]
    document = document_id(DATASET, BATCH, 0, setup.plans[0])
    response = request(set_up(run_scenario, setup), f"/v1/datasets/{DATASET}/documents/{document}/segments?{query}")
    compare(recorded, response)
    if state != "stuck-splitting":
        assert recorded["json"]["total"] == json.loads(response.body)["total"]


@pytest.mark.parametrize("case", [each for each in cases("segments") if "--status-" in each])
def test_segment_filters(run_scenario: Callable[..., Any], case: str) -> None:
    """The filter is exact and case-sensitive: an unknown or empty value matches nothing."""
    recorded = recording(case)
    query = recorded["path"].partition("?")[2]
    document = document_id(DATASET, BATCH, 0, TWICE)
    path = f"/v1/datasets/{DATASET}/documents/{document}/segments?{query}"
    compare(recorded, request(set_up(run_scenario, SETUPS["reindexed"]), path))


@pytest.mark.parametrize("zone", [0.0, 8.0])
def test_the_shapes_hold_in_any_zone(run_scenario: Callable[..., Any], zone: float) -> None:
    """The time zone offset changes values, never types."""
    setup = SETUPS["retried-ok"]
    batch = BatchPlan(id=BATCH, documents=setup.plans, actions=setup.actions)
    scenario = Scenario(key=KEY, zone_offset=zone, datasets=(DatasetPlan(id=DATASET, batches=(batch,)),))
    response = request(run_scenario(scenario).after(60), f"/v1/datasets/{DATASET}/documents/{BATCH}/indexing-status")
    assert shape(recording("indexing-status--retried-ok")["json"]) == shape(json.loads(response.body))
