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
from exporter.simulator.workers import Agenda

if TYPE_CHECKING:
    from collections.abc import Callable

DATASET = "501756ed-cffa-44bb-b992-713f60113872"
KEY = "dataset-secret"
DEEDS = ("pause", "resume", "retry", "reupload", "update", "fall_back", "come_back", "disable", "delete")

documents = st.builds(
    DocumentPlan,
    name=st.sampled_from(["a", "b", "c"]),
    segments=st.integers(0, 50),
    parse=st.floats(0, 5),
    split=st.floats(0, 5),
    index=st.floats(0, 20),
    fate=st.sampled_from(["completes", "completes", "fails", "dies", "hangs"]),
    phase=st.sampled_from(["parsing", "splitting", "indexing"]),
)
actions = st.builds(
    Action,
    do=st.sampled_from(DEEDS),
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
def test_asking_more_often_changes_nothing(scenario: Scenario, pauses: list[float]) -> None:
    """The state at a time does not depend on earlier requests."""
    busy, idle = ManualClock(), ManualClock()
    asked, left = World(scenario, busy), World(scenario, idle)
    api = Api(asked)
    for seconds in pauses:
        busy.advance(seconds)
        idle.advance(seconds)
        everything(asked, api)
    assert everything(left, Api(left)) == everything(asked, api)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(scenarios(), st.lists(st.floats(0.01, 20), max_size=12))
def test_what_the_api_never_says(scenario: Scenario, pauses: list[float]) -> None:
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


def test_batches_queue_for_a_free_worker(play: Callable[..., Any]) -> None:
    """With one worker, the second batch waits, with all times null, until the first is done."""
    stage = play(DocumentPlan(parse=1, split=1, index=8), workers=1)
    second = stage.world.add_batch(DATASET, BatchPlan(queue=0, documents=(DocumentPlan(name="second"),)))
    waiting = stage.after(9.5).item(second)
    assert ("waiting", None, 0) == (
        waiting["indexing_status"],
        waiting["processing_started_at"],
        waiting["total_segments"],
    )
    assert int(stage.world.start) + 10 == stage.after(60).item(second)["processing_started_at"]


@pytest.mark.parametrize(("fate", "later"), [("dies", "completed"), ("hangs", "waiting"), ("fails", "completed")])
def test_a_dead_worker_comes_back_and_a_hanging_one_does_not(play: Callable[..., Any], fate: Any, later: str) -> None:
    """After a death the next batch runs; behind a hang all later batches wait forever."""
    stage = play(DocumentPlan(fate=fate), workers=1)
    second = stage.world.add_batch(DATASET, BatchPlan(documents=(DocumentPlan(name="second"),)))
    assert later == stage.after(3600).item(second)["indexing_status"]


def test_a_pause_frees_the_worker(play: Callable[..., Any]) -> None:
    """A pause ends the task for its worker: the next batch starts at that instant."""
    stage = play(DocumentPlan(index=1000), workers=1)
    second = stage.world.add_batch(DATASET, BatchPlan(queue=0, documents=(DocumentPlan(name="second"),)))
    stage.after(20).act("pause")
    assert int(stage.world.start) + 20 == stage.after(60).item(second)["processing_started_at"]


def test_deleting_a_whole_task_frees_the_worker(play: Callable[..., Any]) -> None:
    """Deleting a hanging batch frees its worker; a waiting one leaves the queue; a late message is ignored."""
    stage = play(DocumentPlan(fate="hangs"), workers=1)
    queued, late, last = (
        stage.world.add_batch(DATASET, BatchPlan(queue=queue, documents=(DocumentPlan(name=name),)))
        for name, queue in (("queued", 0.0), ("late", 50.0), ("last", 0.0))
    )
    stage.after(20).act("delete", batch=queued)
    stage.act("delete", batch=late)
    stage.act("delete")
    assert int(stage.world.start) + 20 == stage.after(100).item(last)["processing_started_at"]


def test_without_a_worker_everything_waits(play: Callable[..., Any]) -> None:
    """While the worker is down, all documents wait without any time set."""
    assert "waiting" == play(workers=0).after(100_000).item()["indexing_status"]


def test_a_lost_message_leaves_the_batch_waiting(play: Callable[..., Any]) -> None:
    """A batch whose message was lost waits forever, although the worker is idle."""
    assert "waiting" == play(lost=True).after(100_000).item()["indexing_status"]


def test_a_batch_may_come_later(play: Callable[..., Any]) -> None:
    """A batch is unknown before its time."""
    stage = play(at=30)
    stage.after(29).get("/documents/20261121173517669864/indexing-status", status=404)
    assert "parsing" == stage.after(1).item()["indexing_status"]


def test_a_repeated_batch_begins_anew_in_bounded_memory(play: Callable[..., Any]) -> None:
    """Every period the same ids start over; after a thousand periods the world is as small as after one."""
    stage = play(DocumentPlan(fate="hangs"), repeat=60, workers=1)
    first = stage.after(10).item()
    agenda = stage.world._agenda
    size = len(agenda)
    again = stage.after(60_000).item()
    assert first["id"] == again["id"]
    assert ("indexing", first["processing_started_at"] + 60_000) == (
        again["indexing_status"],
        again["processing_started_at"],
    )
    assert size == len(agenda)
    assert 1 == len(stage.world.datasets[DATASET].documents)


def test_generated_batch_ids_look_like_real_ones(play: Callable[..., Any]) -> None:
    """An id is the creation time and six digits, never the same twice."""
    stage = play()
    ids = [stage.world.add_batch(DATASET, BatchPlan()) for _ in range(50)]
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


def test_the_agenda_keeps_the_order_of_entry_at_one_instant() -> None:
    """Events at one instant run in the order in which they were entered; infinitely late events are not stored."""
    agenda, seen = Agenda(), []
    for name in ("a", "b", "c"):
        agenda.enter(5.0, lambda instant, name=name: seen.append((instant, name)))  # type: ignore[misc]
    agenda.enter(float("inf"), lambda _: seen.append((0.0, "never")))
    agenda.run(4.9)
    assert [] == seen
    agenda.run(5.0)
    assert [(5.0, "a"), (5.0, "b"), (5.0, "c")] == seen
    assert 0 == len(agenda)


def test_an_answer_is_quick_however_many_batches_there_are(stage: Callable[..., Any]) -> None:
    """With 2 000 batches of 10 documents in progress, an indexing-status request takes less than a millisecond."""
    plans = tuple(
        BatchPlan(id=f"{number}", documents=tuple(DocumentPlan(name=f"{each}") for each in range(10)))
        for number in range(2000)
    )
    played = stage(Scenario(key=KEY, workers=None, datasets=(DatasetPlan(id=DATASET, batches=plans),))).after(10)
    played.world.advance()
    headers = {"authorization": f"Bearer {KEY}"}
    since = time.process_time()
    for number in range(200):
        played.api.handle("GET", f"/v1/datasets/{DATASET}/documents/{number}/indexing-status", "", headers)
    assert time.process_time() - since < 0.2
