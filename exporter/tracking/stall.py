"""When indexing counts as stalled. Pure; the rules are described in ``docs/metrics.md``.

- A batch is *stalled* when it has documents that are neither finished nor paused and nothing in it has moved for
  ``StallLimits.after`` seconds, or for ``StallLimits.queued_after`` while all of these documents wait in the queue.
- One worker processes the documents of a batch one after another. A document therefore shares the verdict of its
  batch; only a document whose batch is unknown is document by its own last progress.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from exporter.tracking.events import Resumed, Stalled
from exporter.tracking.model import FINISHED, STATUSES, Document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.clock import Instant
    from exporter.config import StallLimits
    from exporter.tracking.events import Event
    from exporter.tracking.model import Batch

IDLE = FINISHED | {"paused"}
"""The statuses in which no progress is expected."""


def is_stalled(active: Sequence[str], last_progress: float, now: Instant, limits: StallLimits) -> bool:
    """Whether the limit has passed. ``active``: the statuses of all documents that are not ``IDLE``.

    ``last_progress``: monotonic seconds.
    """
    return bool(active) and now.monotonic - last_progress >= _limit(active, limits)


def with_batch_verdict(document: Document, batch: Batch) -> Document:
    """The document with the verdict of its batch."""
    stalled = batch.stalled and document.progress.status not in IDLE
    return document if stalled == document.stalled else replace(document, stalled=stalled)


def with_own_verdict(document: Document, *, now: Instant, limits: StallLimits) -> tuple[Document, tuple[Event, ...]]:
    """The document, whose batch is unknown, with the verdict of its own last progress, and the event of a change."""
    active = [] if document.progress.status in IDLE else [document.progress.status]
    stalled = is_stalled(active, document.last_progress_monotonic, now, limits)
    if stalled == document.stalled:
        return document, ()
    updated = replace(document, stalled=stalled)
    return updated, stall_events(updated, was_stalled=document.stalled)


def stall_events(subject: Batch | Document, *, was_stalled: bool) -> tuple[Event, ...]:
    """The event when the verdict on ``subject`` differs from the one before."""
    if subject.stalled == was_stalled:
        return ()
    return (Stalled(subject, subject.last_progress),) if subject.stalled else (Resumed(subject),)


def stall_due(subject: Batch | Document, limits: StallLimits) -> float | None:
    """The monotonic second from which ``subject`` is stalled unless it moves; None when stalled already or idle."""
    if subject.stalled:
        return None
    if isinstance(subject, Document):
        statuses = [subject.progress.status]
    else:
        statuses = [status for status, count in zip(STATUSES, subject.counts, strict=True) if count]
    active = [status for status in statuses if status not in IDLE]
    return subject.last_progress_monotonic + _limit(active, limits) if active else None


def _limit(active: Sequence[str], limits: StallLimits) -> float:
    return limits.queued_after if all(status == "waiting" for status in active) else limits.after
