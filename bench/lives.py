"""Lives of batches, drawn from what goes wrong with Dify and from what only looks so; each with its truth.

A mode writes a life twice: as a plan for the embedded server, and as the instants at which something that the API shows
moves. Whether and when it stands still follows from these instants and the rules of ``docs/metrics.md`` alone; nothing
of the exporter takes part in it.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import asdict

from exporter.simulator import Action, BatchPlan, DocumentPlan, Life

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from random import Random

STALLED_AFTER, QUEUED_AFTER = 900.0, 1_800.0
"""Seconds: the defaults of ``stall.after`` and ``stall.queued_after``."""

UNNOTICED = 600.0
"""Seconds for which it may take the exporter to notice that what was finished moves again: ``settled_interval``."""

AFTERWARDS = 900.0
"""Seconds for which a life goes on after it should have been called stalled, or has come to its end."""

SETTLING = 0.5
"""Seconds (a tenth of indexing at most) between the last segment's completion and the document's."""

GROWTH_AFTER_PAUSE = 3.0
"""Seconds for which the segments of a document that was paused while splitting still grow."""

HIGH, ECONOMY, PIPELINE = "high_quality", "economy", "pipeline"


class Move(NamedTuple):
    """Something moves. ``after``: what the batch does from then on: it is queued, works, rests or is gone.

    ``rested``: it was at its end shortly before, so that it is looked at more rarely. ``grows``: only the number of segments
    changes, while the document is split: without a batch id just the detail tells it.
    """

    at: float
    after: str = "works"
    rested: bool = False
    grows: bool = False


class Standstill(NamedTuple):
    """A batch that is to work stands still: from ``last``, its last move, until ``until``. ``limit``: as the rules say."""

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
    """A life. ``dataset``: the kind of knowledge base that it takes place in. ``ends``: seconds after which it is told."""

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
        *(Move(parsed + life.split * share / life.segments, grows=True) for share in range(1, life.segments)),
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


def _queued_for_ever(pen: Pen) -> Story:
    return pen.story("queued for ever", [pen.life()], [], lost=True)


def _worker_lost(pen: Pen, phase: str) -> Story:
    before = 0 if pen.single else pen.random.randint(0, 2)
    after = 0 if pen.single else pen.random.randint(0, 2)
    fate = pen.one_of("dies", "hangs")
    struck = pen.life(phase=phase, fate=fate, after=pen.seconds(0.02, 0.98), parse=pen.seconds(5, 300))
    lives = [*(pen.life() for _ in range(before)), struck, *(pen.life() for _ in range(after))]
    queue = pen.seconds(0, 300)
    return pen.story(f"worker lost in {phase}", lives, run(lives, queue), queue=queue)


def _lost_in_parsing(pen: Pen) -> Story:
    return _worker_lost(pen, "parsing")


def _lost_in_splitting(pen: Pen) -> Story:
    return _worker_lost(pen, "splitting")


def _lost_in_indexing(pen: Pen) -> Story:
    return _worker_lost(pen, "indexing")


def _hung_after_update(pen: Pen) -> Story:
    first = [pen.life()]
    moves = run(first, 0.0)
    again = moves[-1].at + pen.seconds(1, 500)
    lost = pen.random.random() < 0.3
    life = pen.life(fate="hangs", phase=pen.one_of("splitting", "indexing"), after=pen.seconds(0.0, 0.5))
    action = Action(do="update", at=again, life=life, lost=lost)
    moves += [Move(again, "queued", rested=True)] if lost else run([life], again, rested=True)
    return pen.story("hung after an update", first, moves, actions=[action])


def _fell_back(pen: Pen) -> Story:
    first = [pen.life()]
    moves = run(first, 0.0)
    back = moves[-1].at + pen.seconds(1, 500)
    actions = [Action(do="fall_back", at=back)]
    moves.append(Move(back, rested=True))
    if pen.random.random() < 0.3:
        again = back + pen.seconds(3_000, 4_500)
        actions.append(Action(do="come_back", at=again))
        moves.append(Move(again, "rests"))
    return pen.story("fell back from completed", first, moves, actions=actions)


def _retry_lost(pen: Pen) -> Story:
    first = [pen.life(fate="fails", phase="indexing", after=pen.seconds(0.1, 0.9))]
    moves = run(first, 0.0)
    again = moves[-1].at + pen.seconds(1, 500)
    moves.append(Move(again, "queued", rested=True))
    return pen.story("retry lost", first, moves, actions=[Action(do="retry", at=again, lost=True)])


def _sibling_of_a_paused(pen: Pen) -> Story:
    lives = [pen.life(index=pen.seconds(120, 600)) for _ in range(pen.random.randint(2, 4))]
    moves = run(lives, 0.0)
    struck = lives[0].parse + lives[0].split + pen.seconds(20, 100)
    moves = [*(move for move in moves if move.at < struck), Move(struck)]
    action = Action(do="pause", document=f"{pen.name}-0.txt", at=struck)
    return pen.story("left behind by a paused one", lives, moves, actions=[action])


def _pipeline_lost(pen: Pen) -> Story:
    life = pen.life(fate=pen.one_of("hangs", "dies"), phase="indexing")
    return pen.story("pipeline hung", [life], [], dataset=PIPELINE)


def _lost_after_a_pause(pen: Pen) -> Story:
    life = pen.life(parse=pen.seconds(200, 400), fate="hangs", phase="indexing", after=pen.seconds(0.1, 0.9))
    pause, resume = pen.seconds(20, 180), pen.seconds(1_200, 3_000)
    moves = [Move(0.0), Move(pause, "rests"), *run([life], resume)]
    actions = [Action(do="pause", at=pause), Action(do="resume", at=resume)]
    return pen.story("worker lost after a pause", [life], moves, actions=actions)


def _hung_then_helped(pen: Pen) -> Story:
    lives = [pen.life(fate="hangs", phase="indexing", after=pen.seconds(0.1, 0.9))]
    moves = run(lives, 0.0)
    helped = moves[-1].at + STALLED_AFTER + pen.seconds(900, 1_800)
    match pen.one_of("update", "delete", "reupload"):
        case "delete":
            action = Action(do="delete", at=helped)
            moves.append(Move(helped, "gone"))
        case "update":
            second = pen.life()
            action = Action(do="update", at=helped, life=second)
            moves += run([second], helped)
        case _:
            second = pen.life()
            action = Action(do="reupload", at=helped, life=second, into=f"{pen.name}-again")
            moves.append(Move(helped, "gone"))
            return pen.story("hung, then helped", lives, moves, actions=[action], into=run([second], helped))
    return pen.story("hung, then helped", lives, moves, actions=[action])


def _reuploaded_and_hung(pen: Pen) -> Story:
    lives = [pen.life()]
    second = pen.life(fate="dies", phase=pen.one_of("parsing", "splitting", "indexing"), after=pen.seconds(0.02, 0.98))
    moves = run(lives, 0.0)
    again = moves[-1].at + pen.seconds(1, 500)
    action = Action(do="reupload", at=again, life=second, into=f"{pen.name}-again")
    moves.append(Move(again, "gone"))
    into = run([second], again, rested=True)
    return pen.story("re-uploaded and hung", lives, moves, actions=[action], into=into)


def _plain(pen: Pen) -> Story:
    lives = [pen.life() for _ in range(1 if pen.single else pen.random.randint(1, 3))]
    queue = pen.seconds(0, 600)
    economy = pen.random.random() < 0.5
    moves = run(lives, queue, economy=economy)
    return pen.story("plain", lives, moves, queue=queue, dataset=ECONOMY if economy else HIGH)


def _slow(pen: Pen) -> Story:
    life = pen.life(segments=200, split=pen.seconds(600, 1_500), index=pen.seconds(1_800, 4_800))
    return pen.story("slow and steady", [life], run([life], 0.0))


def _just_under_the_limit(pen: Pen) -> Story:
    jumps = pen.random.randint(5, 10)
    gap = STALLED_AFTER - pen.seconds(1, 120)
    life = pen.life(segments=10 * jumps, jumps=jumps, index=jumps * gap)
    return pen.story("jumps just under the limit", [life], run([life], 0.0))


def _long_queue(pen: Pen) -> Story:
    lives = [pen.life()]
    queue = QUEUED_AFTER - pen.seconds(1, 600)
    return pen.story("long queue", lives, run(lives, queue), queue=queue)


def _one_after_another(pen: Pen) -> Story:
    lives = [pen.life(index=pen.seconds(300, 800)) for _ in range(pen.random.randint(4, 8))]
    return pen.story("one document after another", lives, run(lives, 0.0))


def _paused(pen: Pen) -> Story:
    life = pen.life(index=pen.seconds(120, 600))
    pause = life.parse + life.split + pen.seconds(20, 100)
    moves = [*(move for move in run([life], 0.0) if move.at < pause), Move(pause, "rests")]
    actions = [Action(do="pause", at=pause)]
    if pen.random.random() < 0.6:
        # What is left of it takes no longer than the whole: too short to stand still in.
        resume = pause + pen.seconds(1_800, 5_400)
        moves += [Move(resume), Move(resume + life.index, "rests")]
        actions.append(Action(do="resume", at=resume))
    else:
        moves.append(Move(pause + 4_000, "rests"))
    return pen.story("paused", [life], moves, actions=actions)


def _failed(pen: Pen) -> Story:
    phase = pen.one_of("parsing", "splitting", "indexing")
    lives = [pen.life(fate="fails", phase=phase, after=pen.seconds(0.02, 0.98))]
    moves = run(lives, 0.0)
    return pen.story("failed", lives, [*moves, Move(moves[-1].at + 1_800, "rests")])


def _retried(pen: Pen) -> Story:
    lives = [pen.life(fate="fails", phase="indexing")]
    moves = run(lives, 0.0)
    again = moves[-1].at + pen.seconds(30, 600)
    second = pen.life()
    action = Action(do="retry", at=again, life=second)
    return pen.story("retried", lives, [*moves, *run([second], again, rested=True)], actions=[action])


def _reuploaded(pen: Pen) -> Story:
    lives = [pen.life(fate="hangs", phase="indexing", after=pen.seconds(0.1, 0.9))]
    second = pen.life()
    moves = run(lives, 0.0)
    again = moves[-1].at + pen.seconds(60, 800)
    action = Action(do="reupload", at=again, life=second, into=f"{pen.name}-again")
    moves.append(Move(again, "gone"))
    return pen.story("re-uploaded", lives, moves, actions=[action], into=run([second], again))


def _deleted(pen: Pen) -> Story:
    lives = [pen.life(fate="dies", phase="splitting")]
    moves = run(lives, 0.0)
    deleted = moves[-1].at + pen.seconds(60, 800)
    moves += [Move(deleted, "gone"), Move(deleted + 1_200, "gone")]
    return pen.story("deleted", lives, moves, actions=[Action(do="delete", at=deleted)])


def _pipeline(pen: Pen) -> Story:
    spent = QUEUED_AFTER - pen.seconds(1, 900)
    life = pen.life(parse=1.0, split=1.0, index=spent - 2.0)
    return pen.story("pipeline", [life], [Move(spent, "rests")], dataset=PIPELINE)


def _silent_economy(pen: Pen) -> Story:
    life = pen.life(index=STALLED_AFTER - pen.seconds(1, 300))
    return pen.story("economy, silent", [life], run([life], 0.0, economy=True), dataset=ECONOMY)


Mode = tuple["Callable[[Pen], Story]", int, bool]

MODES: tuple[Mode, ...] = (
    (_queued_for_ever, 4, True),
    (_lost_in_parsing, 4, True),
    (_lost_in_splitting, 4, True),
    (_lost_in_indexing, 4, True),
    (_hung_after_update, 4, True),
    (_fell_back, 3, True),
    (_retry_lost, 2, True),
    (_sibling_of_a_paused, 2, False),
    (_pipeline_lost, 2, True),
    (_lost_after_a_pause, 2, True),
    (_hung_then_helped, 3, True),
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
"""How each mode is drawn, how often, and whether it has a single document, so that it can be told without batch ids."""


def draw(random: Random, name: str, *, single: bool) -> Story:
    """A life. ``single``: of one document."""
    modes = [mode for mode in MODES if mode[2] or not single]
    (chosen,) = random.choices(modes, [weight for _, weight, _ in modes])
    return chosen[0](Pen(random, name, single=single))
