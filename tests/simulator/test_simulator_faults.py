"""Faults on demand, without sockets: how they change an answer, and where and when they are active."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from exporter.simulator import Fault, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable

DATASET = "501756ed-cffa-44bb-b992-713f60113872"
BATCH = "20261121173517669864"
KEY = "dataset-secret"


def ask(stage: Any, path: str = f"/documents/{BATCH}/indexing-status") -> Any:
    """The answer of an endpoint."""
    return stage.api.handle("GET", f"/v1/datasets/{DATASET}{path}", "", {"authorization": f"Bearer {KEY}"})


def test_a_status_with_headers(play: Callable[..., Any]) -> None:
    """A fault can set any status with any body and headers, such as Retry-After."""
    stage = play()
    stage.api.faults.add(Fault(kind="status", status=429, body='{"code": "x"}', headers={"Retry-After": "7"}))
    response = ask(stage)
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
def test_other_answers(play: Callable[..., Any], fault: Fault, status: int, kind: str, body: bytes) -> None:
    """A fault can replace the answer by another page, nothing, other JSON or a redirect."""
    stage = play()
    stage.api.faults.add(fault)
    response = ask(stage)
    assert (status, kind) == (response.status, response.header("content-type"))
    assert body == response.body[: len(body)]
    assert bool(body) == bool(response.body)


def test_a_redirect_names_its_target(play: Callable[..., Any]) -> None:
    """The redirect leads to another host, which must not receive the key."""
    stage = play()
    stage.api.faults.add(Fault(kind="redirect", location="http://other/"))
    assert "http://other/" == ask(stage).header("Location")


def test_truncated_json_is_no_json(play: Callable[..., Any]) -> None:
    """A truncated answer is half of the body, complete as far as HTTP can tell."""
    stage = play()
    whole = ask(stage).body
    stage.api.faults.add(Fault(kind="truncated"))
    assert whole[: len(whole) // 2] == ask(stage).body


def test_deliveries_add_up(play: Callable[..., Any]) -> None:
    """The delivery of an answer is separate from its content; several faults can be active together."""
    stage = play()
    plain = ask(stage)
    for fault in (
        Fault(kind="delay", seconds=2),
        Fault(kind="delay", seconds=3),
        Fault(kind="drip", seconds=0.5),
        Fault(kind="cut", where="body"),
        Fault(kind="length", size=7),
        Fault(kind="huge", size=10_000),
    ):
        stage.api.faults.add(fault)
    response = ask(stage)
    delivery = response.delivery
    assert (plain.status, plain.body) == (response.status, response.body)
    assert (5.0, 0.5, "body", 7) == (delivery.delay, delivery.drip, delivery.cut, delivery.length)
    assert 10_000 == len(response.body) + delivery.filler


def test_a_gzip_bomb_is_small_until_opened(play: Callable[..., Any]) -> None:
    """A megabyte is compressed to a few kilobytes."""
    stage = play()
    stage.api.faults.add(Fault(kind="gzip_bomb", size=1_000_000))
    response = ask(stage)
    assert "gzip" == response.header("content-encoding")
    assert len(response.body) < 10_000
    assert 1_000_000 == len(gzip.decompress(response.body))


def test_a_fault_of_one_endpoint_and_one_id(play: Callable[..., Any], first_id: str) -> None:
    """Only the endpoint and id that the fault names are affected."""
    stage = play()
    stage.api.faults.add(Fault(kind="status", status=500, endpoint="document", id=first_id))
    stage.api.faults.add(Fault(kind="status", status=502, id=BATCH))
    assert [500, 502, 200] == [
        ask(stage, path).status
        for path in (f"/documents/{first_id}", f"/documents/{BATCH}/indexing-status", "/documents")
    ]


def test_a_fault_that_is_used_up_is_gone(play: Callable[..., Any]) -> None:
    """A fault affects ``times`` answers and is then removed from the list."""
    stage = play()
    stage.api.faults.add(Fault(kind="status", status=500, times=2))
    assert [500, 500, 200] == [ask(stage).status for _ in range(3)]
    assert [] == stage.api.faults.list()


def test_faults_can_be_cleared(play: Callable[..., Any]) -> None:
    """After the faults are cleared, answers are correct."""
    stage = play()
    stage.api.faults.add(Fault(kind="status", status=500))
    assert 1 == len(stage.api.faults.list())
    stage.api.faults.clear()
    assert 200 == ask(stage).status


def test_planned_outages_keep_their_time(play: Callable[..., Any]) -> None:
    """A scenario can plan an outage of an hour on the world's clock."""
    stage = play(faults=(Fault(kind="postgres_down", begins=3600, ends=7200),))
    seen = [ask(stage).status]
    seen += [ask(stage.after(1800)).status for _ in range(5)]
    assert [200, 200, 500, 500, 200, 200] == seen


@pytest.mark.parametrize(
    ("kind", "statuses"), [("plugin_down", [400, 200]), ("redis_down", [500, 200]), ("postgres_down", [500, 500])]
)
def test_outages_of_parts(play: Callable[..., Any], kind: Any, statuses: list[int]) -> None:
    """Without the plugin daemon or Redis only the dataset endpoints fail; without PostgreSQL all fail."""
    stage = play()
    stage.api.faults.add(Fault(kind=kind))
    assert statuses == [ask(stage, path).status for path in ("", "/documents")]


def admin(stage: Any, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """The answer of a control endpoint."""
    from exporter.simulator.admin import Admin

    response = Admin(stage.api).handle(method, f"/_simulator/{path}", json.dumps(body).encode())
    return response.status, json.loads(response.body)


def test_the_switches_of_faults(play: Callable[..., Any]) -> None:
    """Faults are added one at a time or as a list, listed and cleared."""
    stage = play()
    assert 200 == admin(stage, "POST", "faults", {"kind": "empty"})[0]
    assert 2 == len(admin(stage, "POST", "faults", [{"kind": "cut", "where": "body"}])[1])
    assert ["empty", "cut"] == [fault["kind"] for fault in admin(stage, "GET", "faults")[1]]
    assert (200, []) == admin(stage, "DELETE", "faults")
    assert [] == stage.api.faults.list()


def test_the_switches_of_the_world(play: Callable[..., Any]) -> None:
    """Actions and uploads are possible at run time, and requests are counted."""
    stage = play()
    assert (200, {}) == admin(stage, "POST", "actions", {"dataset": DATASET, "action": {"do": "pause", "batch": BATCH}})
    assert "paused" == stage.item()["indexing_status"]
    upload = {"dataset": DATASET, "batch": {"id": "7", "documents": [{"name": "a"}]}}
    assert (200, {"batch": "7"}) == admin(stage, "POST", "batches", upload)
    assert 1 == len(stage.items("7"))
    assert (200, {"indexing-status": 2}) == admin(stage, "GET", "requests")


def test_the_switches_refuse_nonsense(play: Callable[..., Any]) -> None:
    """Invalid bodies are answered with 400 and the reason, unknown objects and routes with 404."""
    stage = play()
    assert 400 == admin(stage, "POST", "faults", {"kind": "flood"})[0]
    status, answer = admin(stage, "POST", "actions", {"dataset": DATASET, "action": {"do": "pause", "batch": "no"}})
    assert (404, "not found: 'no'") == (status, answer["message"])
    assert 404 == admin(stage, "PUT", "faults")[0]


def test_no_fault_without_a_fault(stage: Callable[..., Any]) -> None:
    """An empty scenario has no faults."""
    assert [] == stage(Scenario()).api.faults.list()
