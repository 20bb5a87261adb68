"""Lifecycles of batches with their ground truth.

A mode (see ``bench.modes``) describes a lifecycle twice: as a plan for the embedded server, and as the instants of
visible progress in the API. Periods without progress follow only from these instants and the rules of
``docs/metrics.md``; the exporter plays no part in this.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import asdict

from exporter.simulator import BatchPlan, DocumentPlan, Life

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


class Move(NamedTuple):
    """An instant of progress. ``after``: the state of the batch from then on: queued, working, resting or gone.

    ``rested``: the batch had finished shortly before, so it is polled less often. ``hidden``: without a batch id, only
    the detail shows this progress: segments added during splitting, and a fall back directly after completion.
    """

    at: float
    after: str = "works"
    rested: bool = False
    hidden: bool = False


class Standstill(NamedTuple):
    """A period without progress in a batch that should work: from ``last`` to ``until``. ``limit``: by the rules."""

    last: Move
    until: float
    limit: float


class Batch(NamedTuple):
    """A watched batch with all its moves, in seconds from the start of the lifecycle."""

    id: str
    moves: tuple[Move, ...]

    def standstills(self) -> Iterator[Standstill]:
        """Every period without progress that exceeds the limit of the rules."""
        ends = [*(move.at for move in self.moves[1:]), inf]
        for move, end in zip(self.moves, ends, strict=True):
            limit = {"queued": QUEUED_AFTER, "works": STALLED_AFTER}.get(move.after, inf)
            if end - move.at > limit:
                yield Standstill(move, end, limit)


class Story(NamedTuple):
    """A lifecycle. ``dataset``: the type of knowledge base. ``ends``: seconds after which nothing more happens."""

    mode: str
    dataset: str
    plan: BatchPlan
    batches: tuple[Batch, ...]
    ends: float


class Pen:
    """Draws the random values of a story. ``single``: one document per batch."""

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

    def life(self, **given: object) -> Life:
        """A lifecycle of a few minutes: high-quality indexing in ten steps."""
        drawn: dict[str, object] = {
            "segments": 10 * self.random.randint(2, 20),
            "parse": self.seconds(1, 60),
            "split": self.seconds(5, 120),
            "index": self.seconds(30, 600),
        }
        return Life(**(drawn | given))  # type: ignore[arg-type]

    def story(
        self,
        mode: str,
        lives: Sequence[Life],
        moves: Sequence[Move],
        *,
        queue: float = 0.0,
        lost: bool = False,
        actions: Sequence[Action] = (),
        dataset: str = HIGH,
        into: Sequence[Move] = (),
    ) -> Story:
        """Assemble the story. ``into``: the moves of the batch that documents are moved to."""
        documents = tuple(
            DocumentPlan(name=f"{self.name}-{number}.txt", **asdict(life)) for number, life in enumerate(lives)
        )
        plan = BatchPlan(id=self.name, queue=queue, lost=lost, documents=documents, actions=tuple(actions))
        batches = [Batch(self.name, (Move(0.0, "queued"), *moves))]
        if into:
            batches.append(Batch(f"{self.name}-again", tuple(into)))
        ends = max(_last_word(batch) for batch in batches) + AFTERWARDS
        return Story(mode, dataset, plan, tuple(batches), ends)


def run(lives: Sequence[Life], start: float, *, economy: bool = False, rested: bool = False) -> list[Move]:
    """All moves after a worker picks up a batch at ``start``, one document after another."""
    moves = [Move(start, rested=rested)]
    turn: float | None = start
    for life in lives:
        if turn is not None:
            steps, turn = _steps(life, turn, economy=economy)
            moves += [step._replace(rested=rested and step.at < start + UNNOTICED) for step in steps]
    return moves if turn is None else [*moves[:-1], moves[-1]._replace(after="rests")]


def _steps(life: Life, turn: float, *, economy: bool) -> tuple[list[Move], float | None]:
    """The moves of a document that is processed at ``turn``, and the start of the next document; None: never."""
    parsed = turn + life.parse
    split = parsed + life.split
    done = split + life.index
    span = life.index - min(SETTLING, life.index / 10)
    jumps = 1 if economy else life.jumps
    steps = [
        Move(parsed),
        *(Move(parsed + life.split * share / life.segments, hidden=True) for share in range(1, life.segments)),
        Move(split),
        *(Move(split + span * jump / jumps) for jump in range(1, jumps + 1)),
        Move(done),
    ]
    if life.fate == "completes":
        return steps, done
    begins, ends = {"parsing": (turn, parsed), "splitting": (parsed, split), "indexing": (split, done)}[life.phase]
    struck = begins + life.after * (ends - begins)
    steps = [step for step in steps if step.at <= struck]
    return (([*steps, Move(struck)], struck)) if life.fate == "fails" else (steps, None)


def _last_word(batch: Batch) -> float:
    """When the last verdict on a batch is due."""
    said = batch.moves[-1].at
    for standstill in batch.standstills():
        if standstill.until == inf:
            said = standstill.last.at + standstill.limit
    return said
