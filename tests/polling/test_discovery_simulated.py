"""Discovery beside the embedded Dify: what it reports is what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.config import Polling, Secret, ServerConfig
from exporter.dify import Client
from exporter.dify.transport.messages import Reply
from exporter.polling import configured_targets
from exporter.simulator import Action, Api, BatchPlan, DatasetPlan, DocumentPlan, Scenario, World
from tests.polling.discovery_server import bases, documents, finished
from tests.polling.fake_server import DATASET, PollerHarness

if TYPE_CHECKING:
    from exporter.dify.transport.messages import Request

URL = "http://127.0.0.1:5001/v1"
KEY = "dataset-secret"


class NoMetrics:
    """Counts nothing."""

    def requested(self, server: str, endpoint: str, code: str, seconds: float) -> None:
        """Ignore a request."""

    def throttled(self, server: str, seconds: float) -> None:
        """Ignore a wait."""

    def unknown_value(self, server: str, field: str) -> None:
        """Ignore an odd value."""


def quick(number: int, *, broken: bool) -> DocumentPlan:
    """A document that fails or completes within a second."""
    times = {"parse": 0.01, "split": 0.01, "index": 0.02}
    return DocumentPlan(name=f"{number}.txt", outcome="fails" if broken else "completes", phase="parsing", **times)  # type: ignore[arg-type]


def simulated(scenario: Scenario) -> tuple[PollerHarness, World]:
    """A rig that discovers what the embedded Dify has."""
    server = ServerConfig("main", URL, discover=True, api_key=Secret(KEY))
    harness = PollerHarness(Polling(), server)
    world = World(scenario, harness.clock)
    api = Api(world)

    def answer(request: Request) -> Reply:
        path, _, query = request.path.partition("?")
        response = api.handle("GET", f"/v1/{path}", query, {"authorization": f"Bearer {KEY}"})
        return Reply(response.status, dict(response.headers), response.body)

    client = Client(server, observer=NoMetrics(), clock=harness.clock, user_agent="test", exchange=answer)
    harness.poller.reconfigure(server, client, Polling())
    harness.poller.watch(configured_targets(server))
    return harness, world


@pytest.mark.parametrize("version", ["1.9.2", "1.12.1", "1.15.0"])
@pytest.mark.parametrize("zone", [0, 8])
@pytest.mark.parametrize("before", [0, 7, 130])
def test_uploads_that_finish_within_a_second_are_counted_once(before: int, zone: float, version: str) -> None:
    """10 broken and 10 good documents, in two batches, beside documents from before."""
    old = BatchPlan(documents=tuple(quick(number, broken=number % 5 == 0) for number in range(before)))
    dataset = DatasetPlan(DATASET, batches=(old,) if before else ())
    harness, world = simulated(Scenario(datasets=(dataset,), key=KEY, zone_offset=zone, version=version))
    harness.clock.advance(60)
    harness.pass_time(130)
    assert finished(harness) == {}
    for broken in (True, False):
        world.add_batch(DATASET, BatchPlan(documents=tuple(quick(number, broken=broken) for number in range(10))))
        harness.pass_time(40)
    harness.pass_time(320)
    assert finished(harness) == {"error": 10, "completed": 10}
    assert len(documents(harness)) == 20
    failed = -(-before // 5)
    if version != "1.9.2" or before + 20 <= 100:
        assert bases(harness)[DATASET].documents == (0, 0, 0, 10 + failed, 10 + before - failed, 0, 0, None)
    harness.pass_time(7200, tick=5)
    harness.store.expire(0.0)
    harness.pass_time(3600, tick=5)
    assert finished(harness) == {"error": 10, "completed": 10}


def test_a_retry_that_fails_again_after_its_document_has_expired_is_counted() -> None:
    """It is among the failed documents again, after it was not."""
    old = BatchPlan(documents=tuple(quick(number, broken=number == 3) for number in range(130)))
    harness, world = simulated(Scenario(datasets=(DatasetPlan(DATASET, batches=(old,)),), key=KEY))
    harness.clock.advance(60)
    harness.pass_time(130)
    [document] = [found for found in world.datasets[DATASET].documents.values() if found.plan.outcome == "fails"]
    world.act(DATASET, Action(kind="retry", document=document.id))
    harness.pass_time(1000)
    world.act(DATASET, Action(kind="retry", document=document.id, attempt=quick(3, broken=True)))
    harness.pass_time(1000)
    assert finished(harness)["error"] == 1


def test_a_list_of_the_embedded_dify_is_newest_first() -> None:
    """As on a real server: by creation, then by position; a page behind the end has the total."""
    plan = DatasetPlan(
        DATASET, batches=(BatchPlan(documents=tuple(quick(number, broken=False) for number in range(9))),)
    )
    harness, world = simulated(Scenario(datasets=(plan,), key=KEY))
    harness.clock.advance(10)
    world.add_batch(DATASET, BatchPlan(documents=(quick(1, broken=False), quick(2, broken=True))))
    [client] = [harness.poller._client]
    found = client.documents(DATASET, "").data
    times = [document.created_at or 0 for document in found]
    assert times == sorted(times, reverse=True)
    assert len(set(times)) == 2
    behind = client.documents(DATASET, "error", page=100_000)
    assert (behind.data, behind.total) == ([], 0)
