"""Lives of batches, each with its truth.

A mode (see ``bench.modes``) writes a life twice: as a plan for the embedded server, and as the instants at which
something that the API shows moves. Whether and when it stands still follows from these instants and the rules of
``docs/metrics.md`` alone; nothing of the exporter takes part in it.
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
"""Seconds for which it may take the exporter to notice that what was finished moves again: ``settled_interval``."""

AFTERWARDS = 900.0
"""Seconds for which a life goes on after it should have been called stalled, or has come to its end."""

SETTLING = 0.5
"""Seconds (a tenth of indexing at most) between the last segment's completion and the document's."""

HIGH, ECONOMY, PIPELINE = "high_quality", "economy", "pipeline"


class Move(NamedTuple):
    """Something moves. ``after``: what the batch does from then on: it is queued, works, rests or is gone.

    ``rested``: it was at its end shortly before, so that it is looked at more rarely. ``hidden``: without a batch id
    only the detail tells it: the segments that a document gains while it is split, and a fall back that follows its
    completion at once.
    """

    at: float
    after: str = "works"
    rested: bool = False
    hidden: bool = False


class Standstill(NamedTuple):
    """A batch that is to work stands still: from its ``last`` move until ``until``. ``limit``: as the rules say."""

    last: Move
    until: float
    limit: float


class Batch(NamedTuple):
    """What is watched, and all that moves in it, seconds from the start of the life."""

    id: str
    moves: tuple[Move, ...]

    def standstills(self) -> Iterator[Standstill]:
        """Every time at which it stands still for longer than the rules allow."""
        ends = [*(move.at for move in self.moves[1:]), inf]
        for move, end in zip(self.moves, ends, strict=True):
            limit = {"queued": QUEUED_AFTER, "works": STALLED_AFTER}.get(move.after, inf)
            if end - move.at > limit:
                yield Standstill(move, end, limit)


class Story(NamedTuple):
    """A life. ``dataset``: the kind of knowledge base. ``ends``: seconds after which all of it is told."""

    mode: str
    dataset: str
    plan: BatchPlan
    batches: tuple[Batch, ...]
    ends: float


class Pen:
    """Draws what a story needs. ``single``: one document a batch."""

    def __init__(self, random: Random, name: str, *, single: bool) -> None:
        self.random = random
        self.name = name
        self.single = single

    def seconds(self, least: float, most: float) -> float:
        """A span."""
        return self.random.uniform(least, most)

    def one_of(self, *choices: str) -> str:
        """A choice."""
        return self.random.choice(choices)

    def life(self, **given: object) -> Life:
        """A life of some minutes, with high-quality indexing in ten jumps."""
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
        """Put it together. ``into``: what moves in the batch that documents go over to."""
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
    """All that moves when a worker takes up a batch at ``start``: one document after another."""
    moves = [Move(start, rested=rested)]
    turn: float | None = start
    for life in lives:
        if turn is not None:
            steps, turn = _steps(life, turn, economy=economy)
            moves += [step._replace(rested=rested and step.at < start + UNNOTICED) for step in steps]
    return moves if turn is None else [*moves[:-1], moves[-1]._replace(after="rests")]


def _steps(life: Life, turn: float, *, economy: bool) -> tuple[list[Move], float | None]:
    """What moves in one document whose turn has come, and when the next one's comes; None: never."""
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
    """When all has been said of a batch."""
    said = batch.moves[-1].at
    for standstill in batch.standstills():
        if standstill.until == inf:
            said = standstill.last.at + standstill.limit
    return said
