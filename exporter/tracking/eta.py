"""Estimates when a batch will finish (its ETA) from its recent rate; returns None rather than a wrong estimate.

Completed segments arrive in at most ten jumps per document, with economy indexing in one. Documents run one after
another and have no segments before they are split. The rate is therefore measured from jump to jump: in segments once
the rest of the batch is split, else in documents.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from exporter.tracking.model import Milestone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.tracking.model import Batch, Document
    from exporter.tracking.progress import Instant

KEPT = 10
"""Number of jumps that the rate is based on."""

NEEDED = 3
"""Milestones needed for a rate; the first one only marks the start."""

_DONE = frozenset({"completed", "error"})


def estimate_eta(
    before: Batch | None, documents: Sequence[Document], now: Instant
) -> tuple[tuple[Milestone, ...], float | None]:
    """The milestones, with the one that this answer may have added, and the ETA of the batch (Unix seconds)."""
    rest = [document.progress for document in documents if document.progress.status not in _DONE]
    if not rest:
        return (), None
    trail = _extend(before.trail if before else (), documents, len(documents) - len(rest), now)
    if any(progress.status == "paused" for progress in rest):
        return trail, None
    segments = [(progress.total_segments or 0) - (progress.completed_segments or 0) for progress in rest]
    if all(progress.status == "indexing" and progress.total_segments for progress in rest):
        end = _end([(mark.monotonic, mark.segments) for mark in trail[-KEPT:]], sum(segments))
    else:
        end = _end([(mark.monotonic, mark.documents) for mark in trail], len(rest))
    if end is None or end < now.monotonic:
        return trail, None
    return trail, float(math.ceil(now.wall + end - now.monotonic))


def _extend(
    trail: tuple[Milestone, ...], documents: Sequence[Document], finished: int, now: Instant
) -> tuple[Milestone, ...]:
    done = sum(document.progress.completed_segments or 0 for document in documents)
    mark = Milestone(now.monotonic, done, finished)
    if not trail or done < trail[-1].segments or finished < trail[-1].documents:
        return (mark,)
    if (done, finished) == (trail[-1].segments, trail[-1].documents):
        return trail
    return _recent((*trail, mark))


def _recent(trail: tuple[Milestone, ...]) -> tuple[Milestone, ...]:
    """The latest milestones, and of the older ones those at which a document finished: ten jumps lie in between."""
    finished: dict[int, Milestone] = {}
    for mark in trail[:-KEPT]:
        finished.setdefault(mark.documents, mark)
    return (*list(finished.values())[-KEPT:], *trail[-KEPT:])


def _end(steps: list[tuple[float, float]], rest: float) -> float | None:
    """Monotonic second at which ``rest`` more will be done, extrapolated from ``steps`` (time, total done)."""
    jumps = steps[:1] + [step for earlier, step in itertools.pairwise(steps) if step[1] > earlier[1]]
    if len(jumps) < NEEDED or rest <= 0:
        return None
    (began, from_), (latest, to) = jumps[1], jumps[-1]
    if latest <= began:
        return None
    return latest + rest * (latest - began) / (to - from_)
