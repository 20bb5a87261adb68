"""Interprets answers: derives the new object and its events from the previous object and an answer.

Pure: the same inputs yield the same objects and events. The rules are those of ``docs/metrics.md``.

- *Progress* is any change in the status, the phase times or the segments of a document, or in the set of documents.
- A batch is *stalled* when some of its documents are neither finished nor paused, and there was no progress for
  ``StallLimits.after`` seconds, or for ``StallLimits.queued_after`` seconds while all of these are waiting. One worker processes
  the documents of a batch one after another. A document is therefore judged by its batch, and on its own only if the
  batch is unknown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from exporter.tracking.eta import estimate_eta
from exporter.tracking.model import STATUSES, Attempt, Batch, Document
from exporter.tracking.parse import FINISHED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.tracking.model import Number, Progress

AT_REST = FINISHED | {"paused"}
"""The statuses in which no progress is expected."""


class Instant(NamedTuple):
    """An instant: Unix seconds for display, monotonic seconds for measuring."""

    wall: float
    monotonic: float


class StallLimits(NamedTuple):
    """Seconds without progress after which indexing counts as stalled."""

    after: float = 900.0
    queued_after: float = 1800.0


class Finished(NamedTuple):
    """An attempt has finished. ``phases``: seconds spent in each, as far as the API's times belong to this attempt."""

    document: Document
    phases: tuple[tuple[str, float], ...]


class Restarted(NamedTuple):
    """A completed or failed document is being indexed again."""

    document: Document


class Stalled(NamedTuple):
    """Indexing makes no progress any more. ``since``: Unix seconds of the last progress."""

    subject: Batch | Document
    since: float


class Resumed(NamedTuple):
    """What was stalled made progress or finished."""

    subject: Batch | Document


Event = Finished | Restarted | Stalled | Resumed


def advance(before: Document | None, new: Document, now: Instant) -> tuple[Document, tuple[Event, ...]]:
    """Compare ``new``, a document as an answer just described it, with ``before``. Returns it updated, with events."""
    progress = new.progress
    if before is None:
        return replace(new, last_progress=now.wall, moved=now.monotonic, attempt=_first_sight(progress)), ()
    if same(before.progress, progress):
        return replace(new, last_progress=before.last_progress, moved=before.moved, attempt=before.attempt), ()
    attempt = before.attempt
    rests = attempt.counted and _is_same_end(attempt.ended, progress)
    ends = progress.status in FINISHED and not rests
    restarts = attempt.counted and (ends or progress.status not in AT_REST)
    phases = _phases(new, attempt) if ends and progress.status == "completed" else ()
    if rests and attempt.ended is not None:
        attempt = Attempt(_completed_by(progress, attempt.ended), counted=True)
    elif ends:
        attempt = Attempt(progress, counted=True)
    elif restarts:
        attempt = Attempt(attempt.ended)
    moved = replace(new, last_progress=now.wall, moved=now.monotonic, attempt=attempt)
    events: list[Event] = []
    if restarts:
        events.append(Restarted(moved))
    if ends:
        events.append(Finished(moved, phases))
    return moved, tuple(events)


def same(before: Progress, after: Progress) -> bool:
    """Whether there was no progress. A change of the error text alone is no progress."""
    return before == after or replace(before, has_error=after.has_error) == after


def gather(
    before: Batch | None, new: Batch, documents: Sequence[Document], *, moved: bool, now: Instant, stall: StallLimits
) -> tuple[Batch, tuple[Event, ...]]:
    """The batch after an answer. ``new`` holds its sums, ``documents`` its current documents."""
    if before is None or moved:
        batch = replace(new, last_progress=now.wall, moved=now.monotonic)
    else:
        batch = replace(new, last_progress=before.last_progress, moved=before.moved)
    active = [document.progress.status for document in documents if document.progress.status not in AT_REST]
    stalled = _is_stalled(active, batch.moved, now, stall)
    trail, eta = estimate_eta(before, documents, now)
    batch = replace(batch, stalled=stalled, trail=trail, eta=None if stalled else eta)
    return batch, _verdict(before is not None and before.stalled, batch, batch.last_progress)


def judge(
    document: Document, batch: Batch | None, *, now: Instant, stall: StallLimits
) -> tuple[Document, tuple[Event, ...]]:
    """Decide whether the document is stalled: like its batch, if it has one, else by its own last progress."""
    active = document.progress.status not in AT_REST
    if batch is not None:
        stalled = active and batch.stalled
        return (document if stalled == document.stalled else replace(document, stalled=stalled)), ()
    stalled = _is_stalled([document.progress.status] if active else [], document.moved, now, stall)
    if stalled == document.stalled:
        return document, ()
    judged = replace(document, stalled=stalled)
    return judged, _verdict(document.stalled, judged, judged.last_progress)


def _verdict(before: bool, subject: Batch | Document, since: float) -> tuple[Event, ...]:  # noqa: FBT001 private
    if subject.stalled == before:
        return ()
    return (Stalled(subject, since),) if subject.stalled else (Resumed(subject),)


def verdict_at(subject: Batch | Document, stall: StallLimits) -> float | None:
    """Monotonic second from which it is stalled without progress; None if it is stalled already, finished or paused."""
    if subject.stalled:
        return None
    if isinstance(subject, Document):
        found = [subject.progress.status]
    else:
        found = [status for status, count in zip(STATUSES, subject.counts, strict=True) if count]
    active = [status for status in found if status not in AT_REST]
    return subject.moved + _limit(active, stall) if active else None


def _is_stalled(active: Sequence[str], moved: float, now: Instant, stall: StallLimits) -> bool:
    """``active``: the statuses of the documents that are neither finished nor paused."""
    return bool(active) and now.monotonic - moved >= _limit(active, stall)


def _limit(active: Sequence[str], stall: StallLimits) -> float:
    return stall.queued_after if all(status == "waiting" for status in active) else stall.after


def _first_sight(progress: Progress) -> Attempt:
    """The attempt of a document that is seen for the first time. An end that was not observed is not counted."""
    if progress.status in FINISHED:
        return Attempt(progress, counted=True)
    if progress.completed_at is not None or progress.stopped_at is not None:
        return Attempt(progress)
    return Attempt(first=progress.status == "waiting" and progress.processing_started_at is None)


def _is_same_end(ended: Progress | None, progress: Progress) -> bool:
    """Whether both are the end of the same attempt. If not, the document was indexed again between two polls.

    A list contains no end times and a detail only some; the others arrive once the batch is known. Only a time that
    differs from a known one proves another attempt.
    """
    if ended is None or ended.status != progress.status:
        return False
    told = zip(_times(ended), _times(progress), strict=True)
    return all(one is None or other is None or one == other for one, other in told)


def _completed_by(progress: Progress, ended: Progress) -> Progress:
    """An end, completed with the times that only an earlier answer contained."""
    started, completed, stopped = _times(ended)
    return replace(
        progress,
        processing_started_at=started if progress.processing_started_at is None else progress.processing_started_at,
        completed_at=completed if progress.completed_at is None else progress.completed_at,
        stopped_at=stopped if progress.stopped_at is None else progress.stopped_at,
    )


def _times(progress: Progress) -> tuple[Number | None, ...]:
    return progress.processing_started_at, progress.completed_at, progress.stopped_at


def _phases(document: Document, attempt: Attempt) -> tuple[tuple[str, float], ...]:
    """Seconds by phase. A time that was set before the attempt began belongs to an earlier one and is ignored."""
    progress, old = document.progress, attempt.ended

    def fresh(name: str) -> Number | None:
        value: Number | None = getattr(progress, name)
        return None if old is not None and getattr(old, name) == value else value

    started = fresh("processing_started_at")
    parsed = fresh("parsing_completed_at")
    split = fresh("splitting_completed_at")
    completed = fresh("completed_at")
    created = document.detail.created_at if attempt.first and document.detail else None
    spans = (
        ("queued", created, started),
        ("parsing", started, parsed),
        ("splitting", parsed, split),
        ("indexing", split, completed),
        ("total", started, completed),
    )
    return tuple(
        (phase, float(end - start))
        for phase, start, end in spans
        if start is not None and end is not None and end >= start
    )
