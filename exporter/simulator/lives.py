"""The state of a document at an instant: a pure function of its row and its current run.

A *row* is what the database stores: the result of everything that has finished. A *run* is one attempt; all its
instants are fixed when the worker starts it. ``row_at`` computes the row at a given time; reading changes nothing.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from exporter.simulator.scenario import Life

GROWTH_AFTER_PAUSE = 3.0
"""Seconds for which segments are still added to a document that was paused while splitting."""

SETTLING = 0.5
"""Seconds (at most a tenth of indexing) between the completion of the last segment and of the document."""


class Row(Struct, gc=False):
    """What the database stores about a document's indexing. Times are Unix seconds with fractions."""

    status: str = "waiting"
    started: float | None = None
    parsed: float | None = None
    split: float | None = None
    completed_at: float | None = None
    paused_at: float | None = None
    stopped: float | None = None
    error: str | None = None
    completed: int = 0
    total: int = 0
    outdated: int = 0
    tokens: int | None = None
    latency: float | None = None
    characters: int | None = None
    updated: float = 0.0


class Run(Struct, frozen=True, gc=False):
    """One attempt: when it reaches each stage. ``inf`` means never.

    ``started``: when its task starts; ``turn``: when this document's turn comes. The document parses until ``parsed``,
    splits until ``split`` and indexes from ``indexing`` to ``done``. ``frozen``: when it stops early, with ``error`` or
    without any; ``growth``: when no more segments are added.
    """

    started: float
    turn: float
    parsed: float
    split: float
    indexing: float
    done: float
    life: Life
    jumps: int
    finishing: int
    pipeline: bool = False
    economy: bool = False
    already: int = 0
    frozen: float = inf
    growth: float = inf
    error: str | None = None

    @property
    def free(self) -> float:
        """When the worker starts the next document."""
        return min(self.done, self.frozen)

    @property
    def over(self) -> float:
        """The instant after which nothing changes."""
        return self.done if self.frozen == inf else max(self.frozen, self.growth)


@dataclass(frozen=True, slots=True)
class Traits:
    """Properties of the dataset and the document form that affect every run."""

    economy: bool = True
    hierarchical: bool = False
    pipeline: bool = False


def begin(life: Life, started: float, turn: float, traits: Traits) -> Run:
    """The run of a document whose task starts at ``started`` and whose own turn comes at ``turn``."""
    run = _foreseen(life, started, turn, traits)
    return _strike(run, {"parsing": turn, "splitting": run.parsed, "indexing": run.split})


def _foreseen(life: Life, started: float, turn: float, traits: Traits) -> Run:
    """The run if no fate strikes."""
    parsed = turn + life.parse
    split = parsed + life.split
    return Run(
        started=started,
        turn=turn,
        parsed=parsed,
        split=split,
        indexing=split,
        done=split + life.index,
        life=life,
        jumps=1 if traits.economy else max(1, min(life.jumps, 10)),
        finishing=0 if traits.economy and traits.hierarchical else max(0, life.segments - life.missing),
        pipeline=traits.pipeline,
        economy=traits.economy,
    )


def _strike(run: Run, since: dict[str, float]) -> Run:
    """Stop a run by the fate of its life. ``since``: the start of each phase that is still to come."""
    life = run.life
    if life.fate == "completes" or life.phase not in since:
        return run
    until = {"parsing": run.parsed, "splitting": run.split, "indexing": run.done}[life.phase]
    instant = since[life.phase] + life.after * (until - since[life.phase])
    return replace(run, frozen=instant, growth=instant, error=life.error if life.fate == "fails" else None)


def left_behind(run: Run) -> Run:
    """The run of a document whose task ended before the document's turn: it stays in parsing forever."""
    return replace(run, turn=inf, parsed=inf, split=inf, indexing=inf, done=inf, frozen=inf, growth=inf, error=None)


def interrupted(run: Run, instant: float) -> Run:
    """The run when paused at ``instant``. Before the document's turn, the worker notices the pause only then."""
    instant = max(instant, run.turn)
    return replace(run, frozen=instant, growth=min(instant + GROWTH_AFTER_PAUSE, run.growth), error=None)


def resumed(row: Row, life: Life, turn: float, traits: Traits) -> Run:
    """The run of a paused document that resumes at ``turn``, in the phase in which it was paused."""
    started = turn if row.started is None else row.started
    if row.status not in ("splitting", "indexing") or traits.pipeline:
        return begin(life, started, turn, traits)
    run = _foreseen(life, started, turn, traits)
    if row.status == "splitting":
        split = turn + life.split
        run = replace(run, parsed=turn, split=split, indexing=split, done=split + life.index)
        return _strike(run, {"splitting": turn, "indexing": split})
    share = 1.0 - row.completed / run.finishing if run.finishing else 1.0
    run = replace(
        run,
        parsed=turn if row.parsed is None else row.parsed,
        split=turn if row.split is None else row.split,
        indexing=turn,
        done=turn + share * life.index,
        jumps=max(1, round(share * run.jumps)),
        already=row.completed,
    )
    return _strike(run, {"indexing": turn})


def row_at(row: Row, run: Run | None, now: float) -> Row:
    """The row at ``now``. The given row is not changed."""
    if run is None or now < run.started:
        return row
    result = copy.copy(row)
    instant = min(now, run.frozen)
    if run.pipeline:
        if instant >= run.done:
            result.completed = run.finishing
            result.total = run.life.segments
            _complete(result, run)
    else:
        _proceed(result, run, now, instant)
    if run.error is not None and now >= run.frozen:
        result.status = "error"
        result.error = run.error
        result.updated = max(result.updated, run.frozen)
        if not run.pipeline:
            result.stopped = run.frozen
    return result


def _proceed(result: Row, run: Run, now: float, instant: float) -> None:
    """Update a row to the state of a run at ``instant``; only segment growth uses ``now``, which may be later."""
    life = run.life
    result.started = run.started
    result.completed = run.already
    result.total = 0
    if instant < run.parsed:
        result.status = "parsing"
        return
    result.parsed = run.parsed
    result.outdated = 0
    if instant < run.split:
        result.status = "splitting"
        result.total = _share(life.segments, min(now, run.growth) - run.parsed, run.split - run.parsed)
        return
    result.split = run.split
    result.total = life.segments
    result.characters = life.characters
    result.updated = max(result.updated, run.split)
    if instant < run.done:
        result.status = "indexing"
        span = run.done - run.indexing
        jump = _share(run.jumps, instant - run.indexing, span - min(SETTLING, span / 10))
        result.completed = run.already + (run.finishing - run.already) * jump // run.jumps
        return
    result.completed = run.finishing
    _complete(result, run)


def _complete(result: Row, run: Run) -> None:
    """Write the fields that completion sets. It clears ``error`` but never ``stopped``."""
    result.status = "completed"
    result.completed_at = run.done
    result.error = None
    result.latency = run.done - run.indexing
    result.characters = run.life.characters
    result.tokens = 0 if run.economy else run.life.tokens


def _share(whole: int, passed: float, span: float) -> int:
    """The part of ``whole`` that is reached after ``passed`` of ``span`` seconds."""
    return whole if passed >= span else int(whole * (passed / span))
