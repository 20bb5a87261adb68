"""The world as a whole: time, workers and queues, and that reading changes nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.clock import ManualClock
from exporter.simulator import Action, Api, BatchPlan, DatasetPlan, DocumentPlan, Scenario, World
from exporter.simulator.workers import EventQueue

if TYPE_CHECKING:
    from collections.abc import Callable

DATASET = "501756ed-cffa-44bb-b992-713f60113872"
KEY = "dataset-secret"
ACTIONS = ("pause", "resume", "retry", "reupload", "update", "fall_back", "come_back", "disable", "delete")

documents = st.builds(
    DocumentPlan,
    name=st.sampled_from(["a", "b", "c"]),
    segments=st.integers(0, 50),
    parse=st.floats(0, 5),
    split=st.floats(0, 5),
    index=st.floats(0, 20),
    outcome=st.sampled_from(["completes", "completes", "fails", "dies", "hangs"]),
    phase=st.sampled_from(["parsing", "splitting", "indexing"]),
)
actions = st.builds(
    Action,
    kind=st.sampled_from(ACTIONS),
    document=st.sampled_from(["", "a", "b"]),
    at=st.floats(0, 60),
    into=st.sampled_from(["", "moved"]),
    lost=st.booleans(),
)
batches = st.builds(
    BatchPlan,
    at=st.floats(0, 10),
    queue=st.floats(0, 3),
    documents=st.lists(documents, min_size=1, max_size=4).map(tuple),
    actions=st.lists(actions, max_size=4).map(tuple),
    repeat=st.sampled_from([None, None, 25.0]),
)


@st.composite
def scenarios(draw: Callable[[Any], Any]) -> Scenario:
    """A small server with arbitrary contents and events."""
    plans = draw(st.lists(batches, min_size=1, max_size=4))
    named = tuple(msgspec.structs.replace(plan, id=str(number)) for number, plan in enumerate(plans))
    dataset = DatasetPlan(
        id=DATASET,
        technique=draw(st.sampled_from(["economy", "high_quality"])),
        pipeline=draw(st.booleans()),
        batches=named,
    )
    return Scenario(key=KEY, workers=draw(st.sampled_from([None, 1, 2])), datasets=(dataset,))


def everything(world: World, api: Api) -> list[bytes]:
    """Everything that the API returns now."""
    headers = {"authorization": f"Bearer {KEY}"}
    base = f"/v1/datasets/{DATASET}"
    world.advance()
    dataset = world.datasets[DATASET]
    paths = [
        *(f"{base}/documents/{batch}/indexing-status" for batch in sorted(dataset.batches)),
        *(f"{base}/documents/{document}" for document in sorted(dataset.documents)),
        f"{base}/documents",
        base,
    ]
    return [api.handle("GET", path, "", headers).body for path in paths]


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(scenarios(), st.lists(st.floats(0.01, 20), max_size=12))
def test_more_requests_change_nothing(scenario: Scenario, pauses: list[float]) -> None:
    """The state at a time does not depend on earlier requests."""
    busy, idle = ManualClock(), ManualClock()
    read, unread = World(scenario, busy), World(scenario, idle)
    api = Api(read)
    for seconds in pauses:
        busy.advance(seconds)
        idle.advance(seconds)
        everything(read, api)
    assert everything(unread, Api(unread)) == everything(read, api)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(scenarios(), st.lists(st.floats(0.01, 20), max_size=12))
def test_counts_are_always_consistent(scenario: Scenario, pauses: list[float]) -> None:
    """Completed never exceeds total, counts are never negative, every answer has the right status code."""
    clock = ManualClock()
    world = World(scenario, clock)
    api = Api(world)
    for seconds in pauses:
        clock.advance(seconds)
        for body in everything(world, api):
            answer = msgspec.json.decode(body)
            assert "code" not in answer
            for item in answer.get("data", []):
                if "completed_segments" in item:
                    assert 0 <= item["completed_segments"] <= item["total_segments"]


def test_batches_queue_for_a_free_worker(simulate: Callable[..., Any]) -> None:
    """With one worker, the second batch waits, with all times null, until the first is done."""
    simulation = simulate(DocumentPlan(parse=1, split=1, index=8), workers=1)
    second = simulation.world.add_batch(DATASET, BatchPlan(queue=0, documents=(DocumentPlan(name="second"),)))
    waiting = simulation.after(9.5).item(second)
    assert ("waiting", None, 0) == (
        waiting["indexing_status"],
        waiting["processing_started_at"],
        waiting["total_segments"],
    )
    assert int(simulation.world.start) + 10 == simulation.after(60).item(second)["processing_started_at"]


@pytest.mark.parametrize(("outcome", "later"), [("dies", "completed"), ("hangs", "waiting"), ("fails", "completed")])
def test_a_killed_worker_restarts_and_a_hanging_one_does_not(
    simulate: Callable[..., Any], outcome: Any, later: str
) -> None:
    """After a death the next batch runs; behind a hang all later batches wait forever."""
    simulation = simulate(DocumentPlan(outcome=outcome), workers=1)
    second = simulation.world.add_batch(DATASET, BatchPlan(documents=(DocumentPlan(name="second"),)))
    assert later == simulation.after(3600).item(second)["indexing_status"]


def test_a_pause_frees_the_worker(simulate: Callable[..., Any]) -> None:
    """A pause ends the task for its worker: the next batch starts at that instant."""
    simulation = simulate(DocumentPlan(index=1000), workers=1)
    second = simulation.world.add_batch(DATASET, BatchPlan(queue=0, documents=(DocumentPlan(name="second"),)))
    simulation.after(20).act("pause")
    assert int(simulation.world.start) + 20 == simulation.after(60).item(second)["processing_started_at"]


def test_deleting_a_whole_task_frees_the_worker(simulate: Callable[..., Any]) -> None:
    """Deleting a hanging batch frees its worker; a waiting one leaves the queue; a late message is ignored."""
    simulation = simulate(DocumentPlan(outcome="hangs"), workers=1)
    queued, late, last = (
        simulation.world.add_batch(DATASET, BatchPlan(queue=queue, documents=(DocumentPlan(name=name),)))
        for name, queue in (("queued", 0.0), ("late", 50.0), ("last", 0.0))
    )
    simulation.after(20).act("delete", batch=queued)
    simulation.act("delete", batch=late)
    simulation.act("delete")
    assert int(simulation.world.start) + 20 == simulation.after(100).item(last)["processing_started_at"]


def test_without_a_worker_everything_waits(simulate: Callable[..., Any]) -> None:
    """While the worker is down, all documents wait without any time set."""
    assert "waiting" == simulate(workers=0).after(100_000).item()["indexing_status"]


def test_a_lost_message_leaves_the_batch_waiting(simulate: Callable[..., Any]) -> None:
    """A batch whose message was lost waits forever, although the worker is idle."""
    assert "waiting" == simulate(lost=True).after(100_000).item()["indexing_status"]


def test_a_batch_may_come_later(simulate: Callable[..., Any]) -> None:
    """A batch is unknown before its time."""
    simulation = simulate(at=30)
    simulation.after(29).get("/documents/20261121173517669864/indexing-status", status=404)
    assert "parsing" == simulation.after(1).item()["indexing_status"]


def test_a_repeated_batch_starts_over_in_bounded_memory(simulate: Callable[..., Any]) -> None:
    """Every period the same ids start over; after a thousand periods the world is as small as after one."""
    simulation = simulate(DocumentPlan(outcome="hangs"), repeat=60, workers=1)
    first = simulation.after(10).item()
    events = simulation.world._events
    size = len(events)
    again = simulation.after(60_000).item()
    assert first["id"] == again["id"]
    assert ("indexing", first["processing_started_at"] + 60_000) == (
        again["indexing_status"],
        again["processing_started_at"],
    )
    assert size == len(events)
    assert 1 == len(simulation.world.datasets[DATASET].documents)


def test_generated_batch_ids_look_like_real_ones(simulate: Callable[..., Any]) -> None:
    """An id is the creation time and six digits, never the same twice."""
    simulation = simulate()
    ids = [simulation.world.add_batch(DATASET, BatchPlan()) for _ in range(50)]
    assert 50 == len(set(ids))
    assert {20} == {len(each) for each in ids}
    assert {"20261121173430"} == {each[:14] for each in ids}


def test_speed_lets_the_world_run_ahead() -> None:
    """At speed 60 a minute passes per second; a step of the wall clock does not affect the world."""
    clock = ManualClock(1000.0)
    world = World(Scenario(), clock, speed=60)
    clock.advance(2)
    clock.step(-500)
    assert 1120.0 == world.now()


def test_events_at_one_instant_run_in_the_order_in_which_they_were_scheduled() -> None:
    """Events at one instant run in the order in which they were scheduled; infinitely late events are not stored."""
    events, seen = EventQueue(), []
    for name in ("a", "b", "c"):
        events.schedule(5.0, lambda instant, name=name: seen.append((instant, name)))  # type: ignore[misc]
    events.schedule(float("inf"), lambda _: seen.append((0.0, "never")))
    events.run(4.9)
    assert [] == seen
    events.run(5.0)
    assert [(5.0, "a"), (5.0, "b"), (5.0, "c")] == seen
    assert 0 == len(events)


def test_an_answer_is_quick_however_many_batches_there_are(run_scenario: Callable[..., Any]) -> None:
    """With 2 000 batches of 10 documents in progress, an indexing-status request takes less than a millisecond."""
    plans = tuple(
        BatchPlan(id=f"{number}", documents=tuple(DocumentPlan(name=f"{each}") for each in range(10)))
        for number in range(2000)
    )
    simulation = run_scenario(
        Scenario(key=KEY, workers=None, datasets=(DatasetPlan(id=DATASET, batches=plans),))
    ).after(10)
    simulation.world.advance()
    headers = {"authorization": f"Bearer {KEY}"}
    since = time.process_time()
    for number in range(200):
        simulation.api.handle("GET", f"/v1/datasets/{DATASET}/documents/{number}/indexing-status", "", headers)
    assert time.process_time() - since < 0.2
