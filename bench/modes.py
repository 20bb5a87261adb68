"""Failures of Dify, and situations that only look like failures: the modes from which lifecycles are drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.lifecycles import (
    ECONOMY,
    HIGH,
    PIPELINE,
    QUEUED_AFTER,
    STALLED_AFTER,
    Lifecycle,
    Sampler,
    Step,
    indexing_steps,
)
from exporter.simulator import Action

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random


def _queued_forever(sampler: Sampler) -> Lifecycle:
    return sampler.lifecycle("queued forever", [sampler.attempt()], [], lost=True)


def _worker_lost(sampler: Sampler, phase: str) -> Lifecycle:
    before = 0 if sampler.single else sampler.random.randint(0, 2)
    after = 0 if sampler.single else sampler.random.randint(0, 2)
    outcome = sampler.one_of("dies", "hangs")
    interrupted = sampler.attempt(
        phase=phase, outcome=outcome, after=sampler.seconds(0.02, 0.98), parse=sampler.seconds(5, 300)
    )
    attempts = [*(sampler.attempt() for _ in range(before)), interrupted, *(sampler.attempt() for _ in range(after))]
    queue = sampler.seconds(0, 300)
    return sampler.lifecycle(f"worker lost in {phase}", attempts, indexing_steps(attempts, queue), queue=queue)


def _lost_in_parsing(sampler: Sampler) -> Lifecycle:
    return _worker_lost(sampler, "parsing")


def _lost_in_splitting(sampler: Sampler) -> Lifecycle:
    return _worker_lost(sampler, "splitting")


def _lost_in_indexing(sampler: Sampler) -> Lifecycle:
    return _worker_lost(sampler, "indexing")


def _hung_after_update(sampler: Sampler) -> Lifecycle:
    first = [sampler.attempt()]
    steps = indexing_steps(first, 0.0)
    again = steps[-1].at + sampler.seconds(1, 500)
    lost = sampler.random.random() < 0.3
    attempt = sampler.attempt(
        outcome="hangs", phase=sampler.one_of("splitting", "indexing"), after=sampler.seconds(0.0, 0.5)
    )
    action = Action(kind="update", at=again, attempt=attempt, lost=lost)
    steps += [Step(again, "queued", settled=True)] if lost else indexing_steps([attempt], again, settled=True)
    return sampler.lifecycle("hung after an update", first, steps, actions=[action])


def _fell_back(sampler: Sampler) -> Lifecycle:
    first = [sampler.attempt()]
    steps = indexing_steps(first, 0.0)
    back = steps[-1].at + sampler.seconds(1, 500)
    actions = [Action(kind="fall_back", at=back)]
    steps.append(Step(back, settled=True, hidden=True))
    if sampler.random.random() < 0.3:
        again = back + sampler.seconds(3_000, 4_500)
        actions.append(Action(kind="come_back", at=again))
        steps.append(Step(again, "idle"))
    return sampler.lifecycle("fell back from completed", first, steps, actions=actions)


def _retry_lost(sampler: Sampler) -> Lifecycle:
    first = [sampler.attempt(outcome="fails", phase="indexing", after=sampler.seconds(0.1, 0.9))]
    steps = indexing_steps(first, 0.0)
    again = steps[-1].at + sampler.seconds(1, 500)
    steps.append(Step(again, "queued", settled=True))
    return sampler.lifecycle("retry lost", first, steps, actions=[Action(kind="retry", at=again, lost=True)])


def _blocked_by_a_paused_document(sampler: Sampler) -> Lifecycle:
    attempts = [sampler.attempt(index=sampler.seconds(120, 600)) for _ in range(sampler.random.randint(2, 4))]
    steps = indexing_steps(attempts, 0.0)
    interrupted = attempts[0].parse + attempts[0].split + sampler.seconds(20, 100)
    steps = [*(step for step in steps if step.at < interrupted), Step(interrupted)]
    action = Action(kind="pause", document=f"{sampler.name}-0.txt", at=interrupted)
    return sampler.lifecycle("blocked by a paused document", attempts, steps, actions=[action])


def _pipeline_lost(sampler: Sampler) -> Lifecycle:
    attempt = sampler.attempt(outcome=sampler.one_of("hangs", "dies"), phase="indexing")
    return sampler.lifecycle("pipeline hung", [attempt], [], dataset=PIPELINE)


def _lost_after_a_pause(sampler: Sampler) -> Lifecycle:
    attempt = sampler.attempt(
        parse=sampler.seconds(200, 400), outcome="hangs", phase="indexing", after=sampler.seconds(0.1, 0.9)
    )
    pause, resume = sampler.seconds(20, 180), sampler.seconds(1_200, 3_000)
    steps = [Step(0.0), Step(pause, "idle"), *indexing_steps([attempt], resume)]
    actions = [Action(kind="pause", at=pause), Action(kind="resume", at=resume)]
    return sampler.lifecycle("worker lost after a pause", [attempt], steps, actions=actions)


def _hung_then_fixed(sampler: Sampler) -> Lifecycle:
    attempts = [sampler.attempt(outcome="hangs", phase="indexing", after=sampler.seconds(0.1, 0.9))]
    steps = indexing_steps(attempts, 0.0)
    fixed = steps[-1].at + STALLED_AFTER + sampler.seconds(900, 1_800)
    match sampler.one_of("update", "delete", "reupload"):
        case "delete":
            action = Action(kind="delete", at=fixed)
            steps.append(Step(fixed, "deleted"))
        case "update":
            second = sampler.attempt()
            action = Action(kind="update", at=fixed, attempt=second)
            steps += indexing_steps([second], fixed)
        case _:
            second = sampler.attempt()
            action = Action(kind="reupload", at=fixed, attempt=second, into=f"{sampler.name}-again")
            steps.append(Step(fixed, "deleted"))
            return sampler.lifecycle(
                "hung, then fixed", attempts, steps, actions=[action], into=indexing_steps([second], fixed)
            )
    return sampler.lifecycle("hung, then fixed", attempts, steps, actions=[action])


def _reuploaded_and_hung(sampler: Sampler) -> Lifecycle:
    attempts = [sampler.attempt()]
    second = sampler.attempt(
        outcome="dies", phase=sampler.one_of("parsing", "splitting", "indexing"), after=sampler.seconds(0.02, 0.98)
    )
    steps = indexing_steps(attempts, 0.0)
    again = steps[-1].at + sampler.seconds(1, 500)
    action = Action(kind="reupload", at=again, attempt=second, into=f"{sampler.name}-again")
    steps.append(Step(again, "deleted"))
    into = indexing_steps([second], again, settled=True)
    return sampler.lifecycle("re-uploaded and hung", attempts, steps, actions=[action], into=into)


def _plain(sampler: Sampler) -> Lifecycle:
    attempts = [sampler.attempt() for _ in range(1 if sampler.single else sampler.random.randint(1, 3))]
    queue = sampler.seconds(0, 600)
    economy = sampler.random.random() < 0.5
    steps = indexing_steps(attempts, queue, economy=economy)
    return sampler.lifecycle("plain", attempts, steps, queue=queue, dataset=ECONOMY if economy else HIGH)


def _slow(sampler: Sampler) -> Lifecycle:
    attempt = sampler.attempt(segments=200, split=sampler.seconds(600, 1_500), index=sampler.seconds(1_800, 4_800))
    return sampler.lifecycle("slow and steady", [attempt], indexing_steps([attempt], 0.0))


def _just_under_the_limit(sampler: Sampler) -> Lifecycle:
    jumps = sampler.random.randint(5, 10)
    gap = STALLED_AFTER - sampler.seconds(1, 120)
    attempt = sampler.attempt(segments=10 * jumps, jumps=jumps, index=jumps * gap)
    return sampler.lifecycle("jumps just under the limit", [attempt], indexing_steps([attempt], 0.0))


def _long_queue(sampler: Sampler) -> Lifecycle:
    attempts = [sampler.attempt()]
    queue = QUEUED_AFTER - sampler.seconds(1, 600)
    return sampler.lifecycle("long queue", attempts, indexing_steps(attempts, queue), queue=queue)


def _one_after_another(sampler: Sampler) -> Lifecycle:
    attempts = [sampler.attempt(index=sampler.seconds(300, 800)) for _ in range(sampler.random.randint(4, 8))]
    return sampler.lifecycle("one document after another", attempts, indexing_steps(attempts, 0.0))


def _paused(sampler: Sampler) -> Lifecycle:
    attempt = sampler.attempt(index=sampler.seconds(120, 600))
    pause = attempt.parse + attempt.split + sampler.seconds(20, 100)
    steps = [*(step for step in indexing_steps([attempt], 0.0) if step.at < pause), Step(pause, "idle")]
    actions = [Action(kind="pause", at=pause)]
    if sampler.random.random() < 0.6:
        # The rest takes no longer than a whole run, which is too short for a stall.
        resume = pause + sampler.seconds(1_800, 5_400)
        steps += [Step(resume), Step(resume + attempt.index, "idle")]
        actions.append(Action(kind="resume", at=resume))
    else:
        steps.append(Step(pause + 4_000, "idle"))
    return sampler.lifecycle("paused", [attempt], steps, actions=actions)


def _failed(sampler: Sampler) -> Lifecycle:
    phase = sampler.one_of("parsing", "splitting", "indexing")
    attempts = [sampler.attempt(outcome="fails", phase=phase, after=sampler.seconds(0.02, 0.98))]
    steps = indexing_steps(attempts, 0.0)
    return sampler.lifecycle("failed", attempts, [*steps, Step(steps[-1].at + 1_800, "idle")])


def _retried(sampler: Sampler) -> Lifecycle:
    attempts = [sampler.attempt(outcome="fails", phase="indexing")]
    steps = indexing_steps(attempts, 0.0)
    again = steps[-1].at + sampler.seconds(30, 600)
    second = sampler.attempt()
    action = Action(kind="retry", at=again, attempt=second)
    return sampler.lifecycle(
        "retried", attempts, [*steps, *indexing_steps([second], again, settled=True)], actions=[action]
    )


def _reuploaded(sampler: Sampler) -> Lifecycle:
    attempts = [sampler.attempt(outcome="hangs", phase="indexing", after=sampler.seconds(0.1, 0.9))]
    second = sampler.attempt()
    steps = indexing_steps(attempts, 0.0)
    again = steps[-1].at + sampler.seconds(60, 800)
    action = Action(kind="reupload", at=again, attempt=second, into=f"{sampler.name}-again")
    steps.append(Step(again, "deleted"))
    return sampler.lifecycle("re-uploaded", attempts, steps, actions=[action], into=indexing_steps([second], again))


def _deleted(sampler: Sampler) -> Lifecycle:
    attempts = [sampler.attempt(outcome="dies", phase="splitting")]
    steps = indexing_steps(attempts, 0.0)
    deleted = steps[-1].at + sampler.seconds(60, 800)
    steps += [Step(deleted, "deleted"), Step(deleted + 1_200, "deleted")]
    return sampler.lifecycle("deleted", attempts, steps, actions=[Action(kind="delete", at=deleted)])


def _pipeline(sampler: Sampler) -> Lifecycle:
    spent = QUEUED_AFTER - sampler.seconds(1, 900)
    attempt = sampler.attempt(parse=1.0, split=1.0, index=spent - 2.0)
    return sampler.lifecycle("pipeline", [attempt], [Step(spent, "idle")], dataset=PIPELINE)


def _silent_economy(sampler: Sampler) -> Lifecycle:
    attempt = sampler.attempt(index=STALLED_AFTER - sampler.seconds(1, 300))
    return sampler.lifecycle(
        "economy, silent", [attempt], indexing_steps([attempt], 0.0, economy=True), dataset=ECONOMY
    )


Mode = tuple["Callable[[Sampler], Lifecycle]", int, bool]

MODES: tuple[Mode, ...] = (
    (_queued_forever, 4, True),
    (_lost_in_parsing, 4, True),
    (_lost_in_splitting, 4, True),
    (_lost_in_indexing, 4, True),
    (_hung_after_update, 4, True),
    (_fell_back, 3, True),
    (_retry_lost, 2, True),
    (_blocked_by_a_paused_document, 2, False),
    (_pipeline_lost, 2, True),
    (_lost_after_a_pause, 2, True),
    (_hung_then_fixed, 3, True),
    (_reuploaded_and_hung, 2, True),
    (_plain, 5, True),
    (_slow, 3, True),
    (_just_under_the_limit, 4, True),
    (_long_queue, 4, True),
    (_one_after_another, 3, False),
    (_paused, 3, True),
    (_failed, 2, True),
    (_retried, 2, True),
    (_reuploaded, 2, True),
    (_deleted, 2, True),
    (_pipeline, 3, True),
    (_silent_economy, 3, True),
)
"""The function of each mode, its weight, and whether it works with a single document and without batch ids."""


def draw(random: Random, name: str, *, single: bool) -> Lifecycle:
    """Draw a lifecycle. ``single``: with one document."""
    modes = [mode for mode in MODES if mode[2] or not single]
    (chosen,) = random.choices(modes, [weight for _, weight, _ in modes])
    return chosen[0](Sampler(random, name, single=single))
