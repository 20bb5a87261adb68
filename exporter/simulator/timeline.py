"""The state of a document at an instant: a pure function of its row and its timeline.

A *row* is what the database stores: the result of everything that has finished. A *timeline* has the instants of one
attempt, all fixed when the worker starts it. ``row_at`` computes the row at a given time; reading changes nothing.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from exporter.simulator.scenario import Attempt

GROWTH_AFTER_PAUSE = 3.0
"""Seconds for which segments are still added to a document that was paused while splitting."""

COMPLETION_DELAY = 0.5
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


@dataclass(frozen=True, slots=True)
class Traits:
    """Properties of the dataset and the document form that affect every attempt."""

    economy: bool = True
    hierarchical: bool = False
    pipeline: bool = False


class Timeline(Struct, frozen=True, gc=False):
    """When an attempt reaches each stage. ``inf`` means never.

    ``started``: when its task starts; ``turn``: when this document's turn comes. The document parses until ``parsed``,
    splits until ``split`` and indexes from ``indexing`` to ``done``. ``interrupted``: when it stops early, with
    ``error`` or without any; ``growth_ends``: when no more segments are added. ``completed_before``, ``completed``:
    completed segments when indexing starts and when it is done.
    """

    started: float
    turn: float
    parsed: float
    split: float
    indexing: float
    done: float
    attempt: Attempt
    jumps: int
    completed: int
    traits: Traits
    completed_before: int = 0
    interrupted: float = inf
    growth_ends: float = inf
    error: str | None = None

    @property
    def worker_free(self) -> float:
        """When the worker starts the next document."""
        return min(self.done, self.interrupted)

    @property
    def over(self) -> float:
        """The instant after which nothing changes."""
        return self.done if self.interrupted == inf else max(self.interrupted, self.growth_ends)

    def abandoned(self) -> Timeline:
        """The timeline if the task ends before the document's turn: the document stays in parsing forever."""
        never = dict.fromkeys(("turn", "parsed", "split", "indexing", "done", "interrupted", "growth_ends"), inf)
        return replace(self, error=None, **never)

    def paused(self, instant: float) -> Timeline:
        """The timeline if paused at ``instant``. Before the document's turn, the worker notices the pause only then."""
        instant = max(instant, self.turn)
        growth_ends = min(instant + GROWTH_AFTER_PAUSE, self.growth_ends)
        return replace(self, interrupted=instant, growth_ends=growth_ends, error=None)


def new_timeline(attempt: Attempt, started: float, turn: float, traits: Traits) -> Timeline:
    """The timeline of a document whose task starts at ``started`` and whose own turn comes at ``turn``."""
    timeline = _uninterrupted(attempt, started, turn, traits)
    return _with_outcome(timeline, {"parsing": turn, "splitting": timeline.parsed, "indexing": timeline.split})


def resumed_timeline(row: Row, attempt: Attempt, turn: float, traits: Traits) -> Timeline:
    """The timeline of a paused document that resumes at ``turn``, in the phase in which it was paused."""
    started = turn if row.started is None else row.started
    if row.status not in ("splitting", "indexing") or traits.pipeline:
        return new_timeline(attempt, started, turn, traits)
    timeline = _uninterrupted(attempt, started, turn, traits)
    if row.status == "splitting":
        split = turn + attempt.split
        timeline = replace(timeline, parsed=turn, split=split, indexing=split, done=split + attempt.index)
        return _with_outcome(timeline, {"splitting": turn, "indexing": split})
    share = 1.0 - row.completed / timeline.completed if timeline.completed else 1.0
    timeline = replace(
        timeline,
        parsed=turn if row.parsed is None else row.parsed,
        split=turn if row.split is None else row.split,
        indexing=turn,
        done=turn + share * attempt.index,
        jumps=max(1, round(share * timeline.jumps)),
        completed_before=row.completed,
    )
    return _with_outcome(timeline, {"indexing": turn})


def _uninterrupted(attempt: Attempt, started: float, turn: float, traits: Traits) -> Timeline:
    """The timeline of an attempt whose outcome is ``completes``."""
    parsed = turn + attempt.parse
    split = parsed + attempt.split
    return Timeline(
        started=started,
        turn=turn,
        parsed=parsed,
        split=split,
        indexing=split,
        done=split + attempt.index,
        attempt=attempt,
        jumps=1 if traits.economy else max(1, min(attempt.jumps, 10)),
        completed=0 if traits.economy and traits.hierarchical else max(0, attempt.segments - attempt.missing),
        traits=traits,
    )


def _with_outcome(timeline: Timeline, starts: dict[str, float]) -> Timeline:
    """The timeline with the outcome of its attempt. ``starts``: the start of each phase that is still to come."""
    attempt = timeline.attempt
    if attempt.outcome == "completes" or attempt.phase not in starts:
        return timeline
    start = starts[attempt.phase]
    end = {"parsing": timeline.parsed, "splitting": timeline.split, "indexing": timeline.done}[attempt.phase]
    instant = start + attempt.after * (end - start)
    error = attempt.error if attempt.outcome == "fails" else None
    return replace(timeline, interrupted=instant, growth_ends=instant, error=error)


def row_at(row: Row, timeline: Timeline | None, now: float) -> Row:
    """The row at ``now``. The given row is not changed."""
    if timeline is None or now < timeline.started:
        return row
    result = copy.copy(row)
    if timeline.traits.pipeline:
        if min(now, timeline.interrupted) >= timeline.done:
            result.total = timeline.attempt.segments
            _complete(result, timeline)
    else:
        _proceed(result, timeline, now)
    if timeline.error is not None and now >= timeline.interrupted:
        result.status = "error"
        result.error = timeline.error
        result.updated = max(result.updated, timeline.interrupted)
        if not timeline.traits.pipeline:
            result.stopped = timeline.interrupted
    return result


def _proceed(result: Row, timeline: Timeline, now: float) -> None:
    """Update a row to the state at ``now``. After an interruption, only the segments may still grow."""
    instant = min(now, timeline.interrupted)
    attempt = timeline.attempt
    result.started = timeline.started
    result.completed = timeline.completed_before
    result.total = 0
    if instant < timeline.parsed:
        result.status = "parsing"
        return
    result.parsed = timeline.parsed
    result.outdated = 0
    if instant < timeline.split:
        result.status = "splitting"
        growing = min(now, timeline.growth_ends) - timeline.parsed
        result.total = _share(attempt.segments, growing, timeline.split - timeline.parsed)
        return
    result.split = timeline.split
    result.total = attempt.segments
    result.characters = attempt.characters
    result.updated = max(result.updated, timeline.split)
    if instant < timeline.done:
        result.status = "indexing"
        span = timeline.done - timeline.indexing
        jump = _share(timeline.jumps, instant - timeline.indexing, span - min(COMPLETION_DELAY, span / 10))
        result.completed += (timeline.completed - timeline.completed_before) * jump // timeline.jumps
        return
    _complete(result, timeline)


def _complete(result: Row, timeline: Timeline) -> None:
    """Write the fields that completion sets. It clears ``error`` but never ``stopped``."""
    result.status = "completed"
    result.completed = timeline.completed
    result.completed_at = timeline.done
    result.error = None
    result.latency = timeline.done - timeline.indexing
    result.characters = timeline.attempt.characters
    result.tokens = 0 if timeline.traits.economy else timeline.attempt.tokens


def _share(whole: int, passed: float, span: float) -> int:
    """The part of ``whole`` that is reached after ``passed`` of ``span`` seconds."""
    return whole if passed >= span else int(whole * (passed / span))
