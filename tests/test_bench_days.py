"""The benchmarks that simulate days run, and the ground truth that they compare with is correct."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import msgspec
import pytest

from bench import cost, detection
from bench.lifecycles import ECONOMY, PIPELINE, Batch, Sampler, Step
from bench.modes import MODES
from bench.rules import PROMQL, PROMQL_CAREFUL, STATIC, alarms_of_rules, own_alarms
from bench.simulation import Record, Sample, Span, Subject
from bench.virtual import Course, Exporter, Since, Traffic
from exporter.clock import ManualClock
from exporter.config import Secret, ServerConfig
from exporter.polling import BATCH_STATUS, Target
from exporter.simulator import Api, BatchPlan, DatasetPlan, DocumentPlan, Fault, Scenario, World
from exporter.tracking import FINISHED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.lifecycles import Lifecycle, Standstill
    from exporter.tracking import Change

DATASET = "501756ed-cffa-44bb-b992-713f60113872"
STEP = 20.0


class Silence:
    """An observer that ignores all events."""

    def changed(self, changes: Sequence[Change], *, durable: bool = False) -> None:
        """Ignore the change."""


def exporter_on(scenario: Scenario, clock: ManualClock, traffic: Traffic) -> Exporter:
    """An exporter on an embedded server."""
    server = ServerConfig("main", "http://127.0.0.1:5001/v1", api_key=Secret(scenario.key), requests_per_second=2.0)
    return Exporter(server, Api(World(scenario, clock)), Since(clock), listener=Silence(), traffic=traffic)


def sampled_answers(lifecycle: Lifecycle) -> dict[str, list[tuple[float, bytes]]]:
    """The answers of the embedded server about each batch of a lifecycle, sampled regularly; only the changes."""
    clock = ManualClock()
    plan = DatasetPlan(
        DATASET,
        technique="economy" if lifecycle.dataset == ECONOMY else "high_quality",
        pipeline=lifecycle.dataset == PIPELINE,
        batches=(lifecycle.plan,),
    )
    api = Api(World(Scenario(workers=None, datasets=(plan,)), clock))
    headers = {"authorization": f"Bearer {api.world.scenario.key}"}
    answers: dict[str, list[tuple[float, bytes]]] = {batch.id: [] for batch in lifecycle.batches}
    while clock.monotonic() < lifecycle.ends:
        for name, changes in answers.items():
            path = f"/v1/datasets/{DATASET}/documents/{name}/indexing-status"
            body = api.handle("GET", path, "", headers).body
            if not changes or changes[-1][1] != body:
                changes.append((clock.monotonic(), body))
        clock.advance(STEP)
    return answers


def still(changes: list[tuple[float, bytes]], ends: float) -> Iterator[tuple[float, float]]:
    """The periods without progress that exceed the limits of the rules, judged by the server's answers alone."""
    for (at, body), (until, _) in zip(changes, [*changes[1:], (ends, b"")], strict=True):
        items = msgspec.json.decode(body).get("data", ())
        active = {item["indexing_status"] for item in items} - FINISHED - {"paused"}
        limit = 1_800.0 if active == {"waiting"} else 900.0
        if active and until - at > limit:
            yield at, until


@pytest.mark.parametrize("mode", [mode for mode, _, _ in MODES], ids=lambda mode: mode.__name__.strip("_"))
def test_the_truth_of_a_lifecycle_is_what_the_server_shows(mode: Callable[[Sampler], Lifecycle]) -> None:
    """A batch stands still in the embedded server exactly when its lifecycle says so."""
    for seed in range(3):
        lifecycle = mode(Sampler(Random(seed), "20261121000000000001", single=False))  # noqa: S311 not used for secrets
        answers = sampled_answers(lifecycle)
        for batch in lifecycle.batches:
            expected = [(each.last.at, min(each.until, lifecycle.ends)) for each in batch.standstills()]
            observed = list(still(answers[batch.id], lifecycle.ends))
            assert len(expected) == len(observed)
            for (last, until), (at, over) in zip(expected, observed, strict=True):
                assert 0 <= at - last <= STEP
                assert abs(over - until) <= STEP


def test_the_clock_jumps_from_one_due_tick_to_the_next() -> None:
    """An idle batch is polled at the instants of the real loop: one interval after the last poll, at whole seconds."""
    clock, traffic = ManualClock(), Noting()
    document = DocumentPlan(outcome="hangs", phase="parsing", parse=1.0)
    plan = DatasetPlan(DATASET, batches=(BatchPlan(id="b", queue=0.0, documents=(document,)),))
    exporter = exporter_on(Scenario(workers=None, datasets=(plan,)), clock, traffic)
    exporter.poller.watch([Target(BATCH_STATUS, DATASET, "b")])
    course = Course(clock)
    course.exporter = exporter
    course.run(130.0)
    assert [0, 15, 38, 72, 122] == traffic.times["indexing_status"]
    assert 130.0 == clock.monotonic()


class Noting(Traffic):
    """Records when each endpoint was requested."""

    def __init__(self) -> None:
        super().__init__()
        self.times: dict[str, list[float]] = {}

    def sent(self, endpoint: str, path: str, now: float) -> None:
        """Record a request."""
        super().sent(endpoint, path, now)
        self.times.setdefault(endpoint, []).append(now)


def test_requests_that_wait_for_the_budget_move_the_clock() -> None:
    """At two requests per second, the requests for ten batches are half a second apart."""
    clock, traffic = ManualClock(), Noting()
    plan = DatasetPlan(DATASET)
    exporter = exporter_on(Scenario(datasets=(plan,)), clock, traffic)
    exporter.poller.watch(Target(BATCH_STATUS, DATASET, f"b{number}") for number in range(10))
    exporter.poll()
    assert [number / 2 for number in range(10)] == traffic.times["indexing_status"]
    assert 2 == traffic.busiest


@pytest.mark.parametrize(
    ("fault", "reason", "seconds"),
    [
        (Fault(kind="cut"), "connection closed", 0.0),
        (Fault(kind="delay", seconds=60.0), "no answer", 10.0),
        (Fault(kind="html", status=502), "502", 0.0),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else None,
)
def test_an_unreadable_api_fails_as_it_does_over_the_wire(fault: Fault, reason: str, seconds: float) -> None:
    """A simulated outage produces dropped connections, timeouts that take their time, and error pages of a proxy."""
    clock = ManualClock()
    plan = DatasetPlan(DATASET, batches=(BatchPlan(id="b"),))
    exporter = exporter_on(Scenario(datasets=(plan,), faults=(fault,)), clock, Traffic())
    target = Target(BATCH_STATUS, DATASET, "b")
    exporter.poller.watch([target])
    exporter.poll()
    assert reason in exporter.poller.health.problem(target)
    assert seconds == clock.monotonic()


def test_the_rules_fire_when_prometheus_would() -> None:
    """Unfinished for 15 min; no increase in 15 min, as soon as the series has two samples or is that old."""
    shown = (Sample(0.0, active=1, completed=0), Sample(600.0, active=1, completed=5), Sample(2_400.0, completed=9))
    alarms = alarms_of_rules(shown, 3_000.0)
    assert [Span(900.0, 2_400.0)] == alarms[STATIC]
    assert [Span(15.0, 600.0), Span(1_485.0, 2_400.0)] == alarms[PROMQL]
    assert [Span(1_485.0, 2_400.0)] == alarms[PROMQL_CAREFUL]
    assert [] == own_alarms(shown, 3_000.0)


def test_a_fall_of_completed_segments_is_no_increase_unless_they_rise_from_nothing() -> None:
    """PromQL treats a decrease as a counter reset."""
    shown = (Sample(0.0, active=1, completed=9), Sample(300.0, active=1, completed=0))
    assert [Span(15.0, 900.0)] == alarms_of_rules(shown, 900.0)[PROMQL]
    shown = (Sample(0.0, active=1, completed=9), Sample(300.0, active=1, completed=2))
    assert [Span(15.0, 300.0)] == alarms_of_rules(shown, 900.0)[PROMQL]


def judged(shown: Sequence[Sample], truth: tuple[Standstill, ...], *down: Span) -> detection.Tally:
    """The verdicts on what the exporter itself showed about one lifecycle."""
    subject = Subject("some", 0.0, truth, tuple(shown), discovered=False)
    record = Record((subject,), down, down, None, 10_000.0)
    return detection.tally(detection.verdicts_of(record)[detection.OURS])


def stands_still(*steps: Step) -> tuple[Standstill, ...]:
    """The ground truth about progress."""
    return tuple(Batch("b", steps).standstills())


def test_alarms_are_judged_by_the_scenario() -> None:
    """Alarms are true, late, early, false or missed, judged only by the last progress and the rules."""
    truth = stands_still(Step(0.0), Step(100.0))
    on_time = judged([Sample(0.0), Sample(1_030.0, stalled=True)], truth)
    assert (1.0, 1.0, (30.0,), True) == (on_time.precision, on_time.recall, on_time.late, on_time.good)
    late = judged([Sample(0.0), Sample(1_070.0, stalled=True)], truth)
    assert ((70.0,), False) == (late.late, late.good)
    early = judged([Sample(0.0), Sample(990.0, stalled=True)], truth)
    assert ((-10.0,), False) == (early.late, early.good)
    false = judged([Sample(0.0), Sample(500.0, stalled=True), Sample(600.0), Sample(1_000.0, stalled=True)], truth)
    assert (0.5, 1.0, False) == (false.precision, false.recall, false.good)
    missed = judged([Sample(0.0)], truth)
    assert (0.0, False) == (missed.recall, missed.good)


def test_what_nobody_could_see_counts_from_when_it_could_be_seen() -> None:
    """Progress and stalls during a downtime of the exporter count from when they can be observed."""
    moved_meanwhile = judged([Sample(500.0, stalled=True)], stands_still(Step(0.0), Step(100.0)), Span(90.0, 500.0))
    assert (-900.0,) == moved_meanwhile.late
    due_meanwhile = judged([Sample(2_010.0, stalled=True)], stands_still(Step(100.0)), Span(900.0, 2_000.0))
    assert (10.0,) == due_meanwhile.late


def test_detection_is_studied() -> None:
    """The study runs, with restarts, an outage and discovery among its servers, and prints one row per detector."""
    text = detection.study(4, processes=1)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert 2 + len(detection.CIRCUMSTANCES) * len(detection.DETECTORS) == len(rows)
    assert all(f"| {detection.OURS} | 1.000 | 1.000 |" in row for row in rows if detection.OURS in row)


def test_cost_is_studied() -> None:
    """The study runs and never exceeds the request budget."""
    text = cost.study((cost.Case(20, 5.0), cost.Case(10, 5.0, dataset_ids=2)), processes=1)
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("|")]
    assert ["| 20 batches", "| 2 knowledge bases with 10 batches, no ids known"] == [row[0] for row in rows[2:]]
    assert all(int(row[5]) <= 5 for row in rows[2:])


def test_an_unfinished_batch_costs_what_the_floor_counts() -> None:
    """One batch in a hundred is unfinished, and its documents finish as often as the calculated minimum assumes."""
    day = cost.batches(100, 5.0)
    ends = {upload.batch: upload.ends for upload in day.uploads}
    assert 0.9 <= sum(cost.DAY <= end < 2 * cost.DAY for end in ends.values()) / 99 <= 1.1
    assert day.traffic.needed <= day.traffic.requests["indexing_status"] <= day.traffic.total
