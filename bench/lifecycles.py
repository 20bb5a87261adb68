"""Lifecycles of batches with their ground truth.

A mode (see ``bench.modes``) describes a lifecycle twice: as a plan for the embedded server, and as the instants of
visible progress in the API. Periods without progress follow only from these instants and the rules of
``docs/metrics.md``; the exporter plays no part in this.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import asdict

from exporter.simulator import Attempt, BatchPlan, DocumentPlan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

    from exporter.simulator import Action

STALLED_AFTER, QUEUED_AFTER = 900.0, 1_800.0
"""Seconds: the defaults of ``stall.after`` and ``stall.queued_after``."""

UNNOTICED = 600.0
"""Seconds that the exporter may need to notice that a finished batch progresses again: ``settled_interval``."""

AFTERWARDS = 900.0
"""Seconds for which a lifecycle continues after its stall should have been detected, or after its end."""

SETTLING = 0.5
"""Seconds between the completion of the last segment and of the document (at most a tenth of indexing)."""

HIGH, ECONOMY, PIPELINE = "high_quality", "economy", "pipeline"


class Step(NamedTuple):
    """An instant of progress. ``state``: of the batch from then on: queued, working, idle or deleted.

    ``settled``: the batch had finished shortly before, so it is polled less often. ``hidden``: without a batch id, only
    the detail shows this progress: segments added during splitting, and a fall back directly after completion.
    """

    at: float
    state: str = "working"
    settled: bool = False
    hidden: bool = False


class Standstill(NamedTuple):
    """A period without progress in a batch that should work: from ``last`` to ``until``. ``limit``: by the rules."""

    last: Step
    until: float
    limit: float


class Batch(NamedTuple):
    """A watched batch with all its steps, in seconds from the start of the lifecycle."""

    id: str
    steps: tuple[Step, ...]

    def standstills(self) -> Iterator[Standstill]:
        """Every period without progress that exceeds the limit of the rules."""
        ends = [*(step.at for step in self.steps[1:]), inf]
        for step, end in zip(self.steps, ends, strict=True):
            limit = {"queued": QUEUED_AFTER, "working": STALLED_AFTER}.get(step.state, inf)
            if end - step.at > limit:
                yield Standstill(step, end, limit)


class Lifecycle(NamedTuple):
    """A lifecycle. ``dataset``: the type of knowledge base. ``ends``: seconds after which nothing more happens."""

    mode: str
    dataset: str
    plan: BatchPlan
    batches: tuple[Batch, ...]
    ends: float


class Sampler:
    """Draws the random values of a lifecycle. ``single``: one document per batch."""

    def __init__(self, random: Random, name: str, *, single: bool) -> None:
        self.random = random
        self.name = name
        self.single = single

    def seconds(self, least: float, most: float) -> float:
        """Draw a duration."""
        return self.random.uniform(least, most)

    def one_of(self, *choices: str) -> str:
        """Draw a choice."""
        return self.random.choice(choices)

    def attempt(self, **given: object) -> Attempt:
        """An attempt of a few minutes: high-quality indexing in ten steps."""
        drawn: dict[str, object] = {
            "segments": 10 * self.random.randint(2, 20),
            "parse": self.seconds(1, 60),
            "split": self.seconds(5, 120),
            "index": self.seconds(30, 600),
        }
        return Attempt(**(drawn | given))  # type: ignore[arg-type]

    def lifecycle(
        self,
        mode: str,
        attempts: Sequence[Attempt],
        steps: Sequence[Step],
        *,
        queue: float = 0.0,
        lost: bool = False,
        actions: Sequence[Action] = (),
        dataset: str = HIGH,
        into: Sequence[Step] = (),
    ) -> Lifecycle:
        """Assemble the lifecycle. ``into``: the steps of the batch that documents are moved to."""
        documents = tuple(
            DocumentPlan(name=f"{self.name}-{number}.txt", **asdict(attempt)) for number, attempt in enumerate(attempts)
        )
        plan = BatchPlan(id=self.name, queue=queue, lost=lost, documents=documents, actions=tuple(actions))
        batches = [Batch(self.name, (Step(0.0, "queued"), *steps))]
        if into:
            batches.append(Batch(f"{self.name}-again", tuple(into)))
        ends = max(_last_verdict(batch) for batch in batches) + AFTERWARDS
        return Lifecycle(mode, dataset, plan, tuple(batches), ends)


def indexing_steps(
    attempts: Sequence[Attempt], start: float, *, economy: bool = False, settled: bool = False
) -> list[Step]:
    """All steps after a worker picks up a batch at ``start``, one document after another."""
    steps = [Step(start, settled=settled)]
    turn: float | None = start
    for attempt in attempts:
        if turn is not None:
            own, turn = _steps(attempt, turn, economy=economy)
            steps += [step._replace(settled=settled and step.at < start + UNNOTICED) for step in own]
    return steps if turn is None else [*steps[:-1], steps[-1]._replace(state="idle")]


def _steps(attempt: Attempt, turn: float, *, economy: bool) -> tuple[list[Step], float | None]:
    """The steps of a document that is processed at ``turn``, and the start of the next document; None: never."""
    parsed = turn + attempt.parse
    split = parsed + attempt.split
    done = split + attempt.index
    span = attempt.index - min(SETTLING, attempt.index / 10)
    jumps = 1 if economy else attempt.jumps
    steps = [
        Step(parsed),
        *(Step(parsed + attempt.split * share / attempt.segments, hidden=True) for share in range(1, attempt.segments)),
        Step(split),
        *(Step(split + span * jump / jumps) for jump in range(1, jumps + 1)),
        Step(done),
    ]
    if attempt.outcome == "completes":
        return steps, done
    begins, ends = {"parsing": (turn, parsed), "splitting": (parsed, split), "indexing": (split, done)}[attempt.phase]
    interrupted = begins + attempt.after * (ends - begins)
    steps = [step for step in steps if step.at <= interrupted]
    return (([*steps, Step(interrupted)], interrupted)) if attempt.outcome == "fails" else (steps, None)


def _last_verdict(batch: Batch) -> float:
    """When the last verdict on a batch is due."""
    due = batch.steps[-1].at
    for standstill in batch.standstills():
        if standstill.until == inf:
            due = standstill.last.at + standstill.limit
    return due
