"""Faults on demand, without sockets: how they change an answer, and where and when they are active."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from exporter.simulator import Fault, Scenario
from exporter.simulator.api import ControlApi

if TYPE_CHECKING:
    from collections.abc import Callable

DATASET = "501756ed-cffa-44bb-b992-713f60113872"
BATCH = "20261121173517669864"
KEY = "dataset-secret"


def get(simulation: Any, path: str = f"/documents/{BATCH}/indexing-status") -> Any:
    """The answer of an endpoint."""
    return simulation.api.handle("GET", f"/v1/datasets/{DATASET}{path}", "", {"authorization": f"Bearer {KEY}"})


def test_a_status_with_headers(simulate: Callable[..., Any]) -> None:
    """A fault can set any status with any body and headers, such as Retry-After."""
    simulation = simulate()
    simulation.api.faults.add(Fault(kind="status", status=429, body='{"code": "x"}', headers={"Retry-After": "7"}))
    response = get(simulation)
    assert (429, "7", b'{"code": "x"}') == (response.status, response.header("retry-after"), response.body)
    assert ["application/json"] == [value for name, value in response.headers if name == "Content-Type"]


@pytest.mark.parametrize(
    ("fault", "status", "kind", "body"),
    [
        (Fault(kind="html"), 200, "text/html; charset=utf-8", b"<html>"),
        (Fault(kind="html", status=502, body="<html>bad"), 502, "text/html; charset=utf-8", b"<html>bad"),
        (Fault(kind="empty"), 200, "application/json", b""),
        (Fault(kind="json", body="[1]"), 200, "application/json", b"[1]"),
        (Fault(kind="redirect", location="http://other/"), 302, "text/html; charset=utf-8", b""),
        (Fault(kind="status"), 503, "application/json", b""),
    ],
)
def test_other_answers(simulate: Callable[..., Any], fault: Fault, status: int, kind: str, body: bytes) -> None:
    """A fault can replace the answer by another page, nothing, other JSON or a redirect."""
    simulation = simulate()
    simulation.api.faults.add(fault)
    response = get(simulation)
    assert (status, kind) == (response.status, response.header("content-type"))
    assert body == response.body[: len(body)]
    assert bool(body) == bool(response.body)


def test_a_redirect_names_its_target(simulate: Callable[..., Any]) -> None:
    """The redirect leads to another host, which must not receive the key."""
    simulation = simulate()
    simulation.api.faults.add(Fault(kind="redirect", location="http://other/"))
    assert "http://other/" == get(simulation).header("Location")


def test_truncated_json_is_no_json(simulate: Callable[..., Any]) -> None:
    """A truncated answer is half of the body, complete as far as HTTP can tell."""
    simulation = simulate()
    whole = get(simulation).body
    simulation.api.faults.add(Fault(kind="truncated"))
    assert whole[: len(whole) // 2] == get(simulation).body


def test_one_field_has_another_value(simulate: Callable[..., Any]) -> None:
    """The named field has the given JSON in every item; all other bytes stay."""
    simulation = simulate()
    plain = get(simulation).body
    simulation.api.faults.add(Fault(kind="field", field="total_segments", body="1e400"))
    body = get(simulation).body
    assert plain != body
    assert b'"total_segments":1e400' in body
    assert plain.count(b",") == body.count(b",")
    simulation.api.faults.clear()
    simulation.api.faults.add(Fault(kind="field", field="indexing_status", body="7"))
    assert {7} == {item["indexing_status"] for item in json.loads(get(simulation).body)["data"]}


def test_deliveries_add_up(simulate: Callable[..., Any]) -> None:
    """The delivery of an answer is separate from its content; several faults can be active together."""
    simulation = simulate()
    plain = get(simulation)
    for fault in (
        Fault(kind="delay", seconds=2),
        Fault(kind="delay", seconds=3),
        Fault(kind="drip", seconds=0.5),
        Fault(kind="cut", where="body"),
        Fault(kind="length", size=7),
        Fault(kind="huge", size=10_000),
    ):
        simulation.api.faults.add(fault)
    response = get(simulation)
    delivery = response.delivery
    assert (plain.status, plain.body) == (response.status, response.body)
    assert (5.0, 0.5, "body", 7) == (delivery.delay, delivery.drip, delivery.cut, delivery.length)
    assert 10_000 == len(response.body) + delivery.filler


def test_a_gzip_bomb_is_small_until_decompressed(simulate: Callable[..., Any]) -> None:
    """A megabyte is compressed to a few kilobytes."""
    simulation = simulate()
    simulation.api.faults.add(Fault(kind="gzip_bomb", size=1_000_000))
    response = get(simulation)
    assert "gzip" == response.header("content-encoding")
    assert len(response.body) < 10_000
    assert 1_000_000 == len(gzip.decompress(response.body))


def test_a_fault_of_one_endpoint_and_one_id(simulate: Callable[..., Any], first_id: str) -> None:
    """Only the endpoint and id that the fault names are affected."""
    simulation = simulate()
    simulation.api.faults.add(Fault(kind="status", status=500, endpoint="document", id=first_id))
    simulation.api.faults.add(Fault(kind="status", status=502, id=BATCH))
    assert [500, 502, 200] == [
        get(simulation, path).status
        for path in (f"/documents/{first_id}", f"/documents/{BATCH}/indexing-status", "/documents")
    ]


def test_a_fault_that_is_used_up_is_removed(simulate: Callable[..., Any]) -> None:
    """A fault affects ``times`` answers and is then removed from the list."""
    simulation = simulate()
    simulation.api.faults.add(Fault(kind="status", status=500, times=2))
    assert [500, 500, 200] == [get(simulation).status for _ in range(3)]
    assert [] == simulation.api.faults.list()


def test_faults_can_be_cleared(simulate: Callable[..., Any]) -> None:
    """After the faults are cleared, answers are correct."""
    simulation = simulate()
    simulation.api.faults.add(Fault(kind="status", status=500))
    assert 1 == len(simulation.api.faults.list())
    simulation.api.faults.clear()
    assert 200 == get(simulation).status


def test_planned_outages_keep_their_time(simulate: Callable[..., Any]) -> None:
    """A scenario can plan an outage of an hour on the world's clock."""
    simulation = simulate(faults=(Fault(kind="postgres_down", begins=3600, ends=7200),))
    seen = [get(simulation).status]
    seen += [get(simulation.after(1800)).status for _ in range(5)]
    assert [200, 200, 500, 500, 200, 200] == seen


@pytest.mark.parametrize(
    ("kind", "statuses"), [("plugin_down", [400, 200]), ("redis_down", [500, 200]), ("postgres_down", [500, 500])]
)
def test_outages_of_parts(simulate: Callable[..., Any], kind: Any, statuses: list[int]) -> None:
    """Without the plugin daemon or Redis only the dataset endpoints fail; without PostgreSQL all fail."""
    simulation = simulate()
    simulation.api.faults.add(Fault(kind=kind))
    assert statuses == [get(simulation, path).status for path in ("", "/documents")]


def test_without_redis_answers_are_late(simulate: Callable[..., Any]) -> None:
    """Dify retries Redis for half a minute before it answers from the database: pollers see a time-out."""
    simulation = simulate()
    simulation.api.faults.add(Fault(kind="redis_down"))
    assert [45.0, 30.0] == [get(simulation, path).delivery.delay for path in ("", "/documents")]


def control(simulation: Any, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """The answer of a control endpoint."""
    response = ControlApi(simulation.api).handle(method, f"/_simulator/{path}", json.dumps(body).encode())
    return response.status, json.loads(response.body)


def test_faults_are_controlled_at_run_time(simulate: Callable[..., Any]) -> None:
    """Faults are added one at a time or as a list, listed and cleared."""
    simulation = simulate()
    assert 200 == control(simulation, "POST", "faults", {"kind": "empty"})[0]
    assert 2 == len(control(simulation, "POST", "faults", [{"kind": "cut", "where": "body"}])[1])
    assert ["empty", "cut"] == [fault["kind"] for fault in control(simulation, "GET", "faults")[1]]
    assert (200, []) == control(simulation, "DELETE", "faults")
    assert [] == simulation.api.faults.list()


def test_documents_and_batches_are_controlled_at_run_time(simulate: Callable[..., Any]) -> None:
    """Actions and uploads are possible at run time, and requests are counted."""
    simulation = simulate()
    assert (200, {}) == control(
        simulation, "POST", "actions", {"dataset": DATASET, "action": {"do": "pause", "batch": BATCH}}
    )
    assert "paused" == simulation.item()["indexing_status"]
    upload = {"dataset": DATASET, "batch": {"id": "7", "documents": [{"name": "a"}]}}
    assert (200, {"batch": "7"}) == control(simulation, "POST", "batches", upload)
    assert 1 == len(simulation.items("7"))
    assert (200, {"indexing-status": 2}) == control(simulation, "GET", "requests")


def test_invalid_control_requests_are_refused(simulate: Callable[..., Any]) -> None:
    """Invalid bodies are answered with 400 and the reason, unknown objects and routes with 404."""
    simulation = simulate()
    assert 400 == control(simulation, "POST", "faults", {"kind": "flood"})[0]
    status, answer = control(
        simulation, "POST", "actions", {"dataset": DATASET, "action": {"do": "pause", "batch": "no"}}
    )
    assert (404, "not found: 'no'") == (status, answer["message"])
    assert 404 == control(simulation, "PUT", "faults")[0]


def test_no_fault_without_a_fault(run_scenario: Callable[..., Any]) -> None:
    """An empty scenario has no faults."""
    assert [] == run_scenario(Scenario()).api.faults.list()
