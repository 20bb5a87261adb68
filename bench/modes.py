"""Failures of Dify, and situations that only look like failures: the modes from which lifecycles are drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.lives import ECONOMY, HIGH, PIPELINE, QUEUED_AFTER, STALLED_AFTER, Move, Pen, Story, run
from exporter.simulator import Action

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random


def _queued_for_ever(pen: Pen) -> Story:
    return pen.story("queued forever", [pen.life()], [], lost=True)


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
    moves.append(Move(back, rested=True, hidden=True))
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
    return pen.story("blocked by a paused document", lives, moves, actions=[action])


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
            return pen.story("hung, then fixed", lives, moves, actions=[action], into=run([second], helped))
    return pen.story("hung, then fixed", lives, moves, actions=[action])


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
        # The rest takes no longer than a whole run, which is too short for a stall.
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
"""The function of each mode, its weight, and whether it works with a single document and without batch ids."""


def draw(random: Random, name: str, *, single: bool) -> Story:
    """Draw a lifecycle. ``single``: with one document."""
    modes = [mode for mode in MODES if mode[2] or not single]
    (chosen,) = random.choices(modes, [weight for _, weight, _ in modes])
    return chosen[0](Pen(random, name, single=single))
