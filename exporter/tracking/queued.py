"""The phase ``queued``: how long a document waited from its creation to the start of its first attempt. Pure.

The other phases lie between times of one attempt. This one begins with ``created_at``, which only the detail has, often
after the end, and which says nothing about a later attempt: a retry, an update or another upload of the same document.
An update also clears the phase times, so that the document looks like a new one; only its age tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from exporter.tracking.clock_offset import ZONE_TOLERANCE
from exporter.tracking.events import Queued

if TYPE_CHECKING:
    from exporter.tracking.model import Document, Progress

NEW_FOR = 3_600.0
"""Seconds after its creation within which the first sight of a document shows its first attempt.

Longer than discovery takes to find a document (half an hour) and than an exporter is usually down, but short enough
that hardly any document is updated or retried within it before it was seen.
"""


def looks_new(progress: Progress) -> bool:
    """Whether an unfinished document shows no trace of an earlier attempt."""
    if progress.completed_at is not None or progress.stopped_at is not None:
        return False
    return progress.status != "waiting" or progress.processing_started_at is None


def is_same_attempt(before: Document, new: Document) -> bool:
    """Whether an unfinished document has not been started again between two answers, nor uploaded again."""
    if before.batch and new.batch and before.batch != new.batch:
        return False
    started = before.progress.processing_started_at
    if started is None:
        return True
    return new.progress.status != "waiting" and new.progress.processing_started_at == started


def observe_queued(document: Document, offset: float | None) -> tuple[Document, tuple[Queued, ...]]:
    """The document, and the event once it has completed its first attempt and both times of the phase are known.

    ``offset``: API time minus the exporter's clock, in seconds; None if unknown.
    """
    attempt = document.attempt
    if not attempt.counted or attempt.first_seen is None or attempt.ended is None or document.detail is None:
        return document, ()
    created, started = document.detail.created_at, attempt.ended.processing_started_at
    if created is None or started is None or started < created:
        return document, ()
    age = attempt.first_seen - (created - (offset or 0.0))
    if not -ZONE_TOLERANCE <= age <= NEW_FOR:
        return document, ()
    document = replace(document, attempt=replace(attempt, first_seen=None))
    return document, (Queued(document, float(started - created)),)
