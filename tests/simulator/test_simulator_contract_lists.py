"""Lists, error answers and outages compared with the recordings of a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from exporter.simulator import Action, BatchPlan, DatasetPlan, DocumentPlan, Fault, Scenario, document_id
from tests.simulator.recordings import (
    BATCH,
    CLOSED,
    DATASET,
    KEY,
    LARGE,
    NOT_REPRODUCED,
    OTHER,
    RECORDINGS,
    SETUPS,
    TWICE,
    cases,
    compare,
    recording,
    request,
    set_up,
    update,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def full_server(run_scenario: Callable[..., Any]) -> Any:
    """A server with documents in every display status, a second dataset, and one without API access."""
    plans = (
        *(DocumentPlan(name=f"{number}.txt", split=0, index=0.1) for number in range(14)),
        DocumentPlan(name="broken.pdf", outcome="fails", phase="parsing"),
    )
    batches = (
        BatchPlan(
            id="1",
            documents=plans,
            actions=(Action(kind="archive", document="0.txt", at=20), Action(kind="disable", document="1.txt", at=20)),
        ),
        BatchPlan(
            id="2",
            documents=tuple(DocumentPlan(name=f"pz{n}.txt", split=100, created_from="web") for n in range(3)),
            actions=(Action(kind="pause", document="pz0.txt", at=8),),
        ),
        BatchPlan(id="3", documents=(LARGE,), at=0.1),
        BatchPlan(id="4", documents=(DocumentPlan(name="last.txt"),), at=0.2, actions=(update(20),)),
    )
    datasets = (
        DatasetPlan(id=DATASET, batches=batches),
        DatasetPlan(id=OTHER, name="other"),
        DatasetPlan(id=CLOSED, name="closed", api=False),
    )
    return run_scenario(Scenario(key=KEY, workers=None, datasets=datasets)).after(60)


@pytest.mark.parametrize("case", cases("documents-list"))
def test_document_list(full_server: Any, case: str) -> None:
    """Pages, filters and items of the document list match the recordings."""
    recorded = recording(case)
    if case == "documents-list--large-completed--status-indexing":
        for name in ("pz1.txt", "pz2.txt"):
            full_server.world.act(DATASET, Action(kind="delete", batch="2", document=name))
    if "large-splitting" in case or "large-indexing" in case:
        batch = BatchPlan(documents=(LARGE,), queue=0)
        full_server.world.add_batch(DATASET, batch)
        full_server.after(10 if "splitting" in case else 30)
    response = request(full_server, recorded["path"])
    if "json" not in recorded:
        assert recorded["status"] == response.status
    else:
        compare(recorded, response)


@pytest.mark.parametrize("case", [*cases("datasets-list"), "datasets-list-1"])
def test_dataset_list(run_scenario: Callable[..., Any], case: str) -> None:
    """Pages and items of the list of knowledge bases match the recordings."""
    recorded = recording(case)
    response = request(
        run_scenario(Scenario(key=KEY, datasets=(DatasetPlan(id=DATASET, name="kb-main"),))), recorded["path"]
    )
    assert recorded["status"] == response.status
    if "json" in recorded:
        compare(recorded, response)


@pytest.mark.parametrize("name", ["datasets", "documents"])
def test_a_page_that_is_no_number_is_refused(full_server: Any, name: str) -> None:
    """``page=x`` is answered with 400, as recorded (without the body)."""
    path = recording(f"{name}-list--pagex-limit20")["path"]
    assert recording(f"{name}-list--pagex-limit20")["status"] == request(full_server, path).status


ERROR_KEYS = {
    "wrong-token": "Bearer dataset-wrong",
    "no-token": "",
    "basic-scheme": "Basic abc",
    "token-without-bearer": KEY,
    "lowercase-bearer": f"bearer {KEY}",
    "unknown-dataset-no-token": "",
    "unknown-dataset-wrong-token": "Bearer dataset-wrong",
}


@pytest.mark.parametrize("case", [*cases("err"), "err--nonexistent-route"])
def test_refusals(run_scenario: Callable[..., Any], full_server: Any, case: str) -> None:
    """Every recorded error matches in status, headers (including the key in a cookie) and body, JSON or HTML."""
    recorded = recording(case)
    authorization = ERROR_KEYS.get(case.rsplit("--", maxsplit=1)[-1], f"Bearer {KEY}")
    simulation = full_server
    if "indexing-status" in case:
        simulation = set_up(run_scenario, SETUPS["reindexed"])
    document = next(iter(simulation.world.datasets[DATASET].documents))
    path = (
        recorded["path"]
        .replace("20261121174306613336", BATCH)
        .replace("2c1f27ce-173d-4584-9800-865654bf3bb1", document)
    )
    bare, _, query = path.partition("?")
    headers = {"authorization": authorization} if authorization else {}
    response = simulation.api.handle(recorded["method"], bare, query, headers)
    compare(recorded, response)


@pytest.mark.parametrize("case", cases("outage"))
def test_outages(run_scenario: Callable[..., Any], case: str) -> None:
    """An outage of the plugin daemon, PostgreSQL or Redis affects each endpoint as recorded."""
    recorded = recording(case)
    simulation = set_up(run_scenario, SETUPS["reindexed"])
    kinds: dict[str, Any] = {"plugin-down": "plugin_down", "postgres-down": "postgres_down", "redis-down": "redis_down"}
    if (state := case.split("--")[1]) in kinds:
        simulation.api.faults.add(Fault(kind=kinds[state]))
    response = request(simulation, recorded["path"].replace("20261121174306613336", BATCH))
    compare(recorded, response, bodies="plugin" not in case)


def test_every_recording_is_compared() -> None:
    """A recording without a setup, or an exception for a recording that does not exist, is reported."""
    names = {path.stem for path in RECORDINGS.glob("*.json")}
    assert set() == set(NOT_REPRODUCED) - names
    prefixes = (
        "indexing-status",
        "document",
        "documents-list",
        "datasets-list",
        "segments",
        "segments-list",
        "err",
        "outage",
    )
    assert set() == {name for name in names if not name.startswith(prefixes)}


@pytest.mark.parametrize("case", cases("segments-list"))
def test_segment_pages(run_scenario: Callable[..., Any], case: str) -> None:
    """The segment list accepts any page and limit, as recorded (without bodies)."""
    recorded = recording(case)
    document = document_id(DATASET, BATCH, 0, TWICE)
    path = recorded["path"].replace("2c1f27ce-173d-4584-9800-865654bf3bb1", document)
    assert recorded["status"] == request(set_up(run_scenario, SETUPS["reindexed"]), path).status
