"""When a batch will be done at its recent rate: absent rather than wrong.

Completed segments arrive in at most ten jumps per document, with economy indexing in a single one. Documents are
processed one after another and have no segments before they are split. The rate is therefore measured from jump to
jump: in segments once the unfinished part of the batch is split, otherwise in documents.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from exporter.tracking.model import FINISHED, Milestone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.clock import Instant
    from exporter.tracking.model import Document

RECENT = 10
"""Jumps that determine the recent rate."""

NEEDED = 3
"""Milestones before there is a rate; the first one only marks the start."""


def estimate_eta(
    milestones: tuple[Milestone, ...], documents: Sequence[Document], now: Instant
) -> tuple[tuple[Milestone, ...], float | None]:
    """The milestones with the one that this answer may have added, and the end of the batch (Unix seconds)."""
    unfinished = [document.progress for document in documents if document.progress.status not in FINISHED]
    if not unfinished:
        return (), None
    milestones = _extend(milestones, documents, len(documents) - len(unfinished), now)
    if any(progress.status == "paused" for progress in unfinished):
        return milestones, None
    if all(progress.status == "indexing" and progress.total_segments for progress in unfinished):
        remaining = sum((progress.total_segments or 0) - (progress.completed_segments or 0) for progress in unfinished)
        end = _end([(mark.monotonic, mark.segments) for mark in milestones[-RECENT:]], remaining)
    else:
        end = _end([(mark.monotonic, mark.documents) for mark in milestones], len(unfinished))
    if end is None or end < now.monotonic:
        return milestones, None
    return milestones, float(math.ceil(now.wall + end - now.monotonic))


def _extend(
    milestones: tuple[Milestone, ...], documents: Sequence[Document], finished: int, now: Instant
) -> tuple[Milestone, ...]:
    done = sum(document.progress.completed_segments or 0 for document in documents)
    mark = Milestone(now.monotonic, segments=done, documents=finished)
    if not milestones or done < milestones[-1].segments or finished < milestones[-1].documents:
        return (mark,)
    if (done, finished) == (milestones[-1].segments, milestones[-1].documents):
        return milestones
    return _recent((*milestones, mark))


def _recent(milestones: tuple[Milestone, ...]) -> tuple[Milestone, ...]:
    """The latest milestones and, of older ones, those at which a document finished: ten jumps lie between them."""
    finished: dict[int, Milestone] = {}
    for mark in milestones[:-RECENT]:
        finished.setdefault(mark.documents, mark)
    return (*list(finished.values())[-RECENT:], *milestones[-RECENT:])


def _end(steps: list[tuple[float, float]], remaining: float) -> float | None:
    """The monotonic second at which ``remaining`` more will be done. ``steps``: monotonic second and amount done."""
    jumps = steps[:1] + [step for earlier, step in itertools.pairwise(steps) if step[1] > earlier[1]]
    if len(jumps) < NEEDED or remaining <= 0:
        return None
    (began, first_done), (latest, last_done) = jumps[1], jumps[-1]
    if latest <= began:
        return None
    return latest + remaining * (latest - began) / (last_done - first_done)
