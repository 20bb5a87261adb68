"""Merging answers: the object before and the answer give the object after and the events. Pure.

*Progress* is any change in the status, the phase times or the segments of a document, or in the documents of a batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from exporter.tracking.eta import estimate_eta
from exporter.tracking.events import Finished, Restarted
from exporter.tracking.model import FINISHED, STATUSES, Attempt, Batch, Document
from exporter.tracking.queued import is_same_attempt, looks_new
from exporter.tracking.stall import IDLE, is_stalled, stall_events, with_batch_verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from exporter.clock import Instant
    from exporter.config import StallLimits
    from exporter.tracking.events import Event
    from exporter.tracking.model import Number, Progress

_NO_RESTART = IDLE | {"unknown"}
"""After the end, these statuses do not say that the document is indexed again."""

_INDEX = {status: index for index, status in enumerate(STATUSES)}


def advance(
    before: Document | None, new: Document, now: Instant, *, is_new: bool = False
) -> tuple[Document, tuple[Event, ...]]:
    """The document after an answer. ``new``: as the answer describes it; ``before``: as it was known.

    ``is_new``: the attempt of an unknown document began after the exporter first looked, so its end counts.
    """
    progress = new.progress
    if before is None:
        return _first_sight(new, now, is_new=is_new)
    attempt = before.attempt
    if attempt.first_seen is not None and not attempt.counted and not is_same_attempt(before, new):
        attempt = replace(attempt, first_seen=None)
    if is_same_progress(before.progress, progress):
        return _unmoved(new, before, attempt), ()
    at_counted_end = attempt.counted and _is_same_end(attempt.ended, progress)
    ends = progress.status in FINISHED and not at_counted_end
    restarts = attempt.counted and (ends or progress.status not in _NO_RESTART)
    phases = _phases(progress, attempt.ended) if ends and progress.status == "completed" else ()
    if at_counted_end and attempt.ended is not None:
        attempt = Attempt(_with_missing_times(progress, attempt.ended), counted=True, first_seen=attempt.first_seen)
    elif ends:
        is_first = progress.status == "completed" and not attempt.counted
        attempt = Attempt(progress, counted=True, first_seen=attempt.first_seen if is_first else None)
    elif restarts:
        attempt = Attempt(attempt.ended)
    document = _moved(new, now, attempt)
    events: list[Event] = []
    if restarts:
        events.append(Restarted(document))
    if ends:
        events.append(Finished(document, phases))
    return document, tuple(events)


def _moved(new: Document, now: Instant, attempt: Attempt) -> Document:
    return replace(new, last_progress=now.wall, last_progress_monotonic=now.monotonic, attempt=attempt)


def _unmoved(new: Document, before: Document, attempt: Attempt) -> Document:
    return replace(
        new,
        last_progress=before.last_progress,
        last_progress_monotonic=before.last_progress_monotonic,
        attempt=attempt,
    )


def is_same_progress(before: Progress, after: Progress) -> bool:
    """Whether nothing moved. A change of the error text alone is no progress."""
    return before == after or replace(before, has_error=after.has_error) == after


class MergedBatch(NamedTuple):
    """A batch after an answer.

    - ``transitions``: the progress before and after, of each document that moved.
    - ``removed``: ids of the documents that the batch no longer contains.
    - ``taken_from``: the batches that lost a document to this one.
    - ``changed``: ids of the documents that are new or whose status changed.
    """

    batch: Batch
    documents: tuple[Document, ...]
    events: tuple[Event, ...]
    moved: bool
    transitions: tuple[tuple[Progress, Progress], ...]
    removed: frozenset[str]
    taken_from: frozenset[str]
    changed: tuple[str, ...]


def merge_batch(
    key: tuple[str, str, str],
    before: Batch | None,
    known: Callable[[str], Document | None],
    items: Mapping[str, Progress],
    *,
    now: Instant,
    limits: StallLimits,
    is_new: Callable[[Progress], bool] = lambda _progress: False,
) -> MergedBatch:
    """Merge an answer into the batch ``key`` (server, dataset id, batch). ``items``: progress by document id.

    ``is_new``: whether the attempt of a document that was not ``known`` began after the exporter first looked.
    """
    server, dataset_id, name = key
    members = frozenset(before.documents) if before else frozenset()
    documents: list[Document] = []
    events: list[Event] = []
    transitions: list[tuple[Progress, Progress]] = []
    taken_from: set[str] = set()
    changed: list[str] = []
    moved = before is None or members != items.keys()
    for document_id, progress in items.items():
        old = known(document_id)
        if old is None:
            new = Document(server, dataset_id, document_id, name, progress)
        else:
            new = Document(server, dataset_id, document_id, name, progress, old.detail, stalled=old.stalled)
            if old.batch not in (name, ""):
                taken_from.add(old.batch)
            if not is_same_progress(old.progress, progress):
                moved = True
                transitions.append((old.progress, progress))
        if old is None or old.progress.status != progress.status:
            changed.append(document_id)
        document, happened = advance(old, new, now, is_new=old is None and is_new(progress))
        documents.append(document)
        events += happened
    total = sum_batch(server, dataset_id, name, documents)
    batch, verdicts = update_batch(before, total, documents, moved=moved, now=now, limits=limits)
    return MergedBatch(
        batch=batch,
        documents=tuple(with_batch_verdict(document, batch) for document in documents),
        events=(*events, *verdicts),
        moved=moved,
        transitions=tuple(transitions),
        removed=members - items.keys(),
        taken_from=frozenset(taken_from),
        changed=tuple(changed),
    )


def confirm_batch(
    before: Batch, documents: Sequence[Document], *, now: Instant, limits: StallLimits
) -> tuple[Batch, tuple[Document, ...], tuple[Event, ...]]:
    """The batch after an answer that repeats the last one: nothing moved, so only the stall verdict can change."""
    batch, verdicts = update_batch(before, before, documents, moved=False, now=now, limits=limits)
    return batch, tuple(with_batch_verdict(document, batch) for document in documents), verdicts


def sum_batch(server: str, dataset_id: str, batch: str, documents: Iterable[Document]) -> Batch:
    """The batch with the sums over its documents. Segments are None when no document reports any."""
    counts = [0] * len(STATUSES)
    ids: list[str] = []
    segments: Number | None = None
    completed: Number | None = None
    for document in documents:
        progress = document.progress
        ids.append(document.document_id)
        counts[_INDEX[progress.status]] += 1
        if progress.total_segments is not None:
            segments = (segments or 0) + progress.total_segments
        if progress.completed_segments is not None:
            completed = (completed or 0) + progress.completed_segments
    return Batch(
        server,
        dataset_id,
        batch,
        documents=tuple(sorted(ids)),
        counts=tuple(counts),
        segments=segments,
        completed_segments=completed,
    )


def update_batch(
    before: Batch | None,
    total: Batch,
    documents: Sequence[Document],
    *,
    moved: bool,
    now: Instant,
    limits: StallLimits,
) -> tuple[Batch, tuple[Event, ...]]:
    """``total``, the sums over ``documents``, completed with last progress, stall verdict and ETA."""
    if before is None or moved:
        batch = replace(total, last_progress=now.wall, last_progress_monotonic=now.monotonic)
    else:
        batch = replace(
            total, last_progress=before.last_progress, last_progress_monotonic=before.last_progress_monotonic
        )
    active = [document.progress.status for document in documents if document.progress.status not in IDLE]
    stalled = is_stalled(active, batch.last_progress_monotonic, now, limits)
    milestones, eta = estimate_eta(before.milestones if before else (), documents, now)
    batch = replace(batch, stalled=stalled, milestones=milestones, eta=None if stalled else eta)
    return batch, stall_events(batch, was_stalled=before is not None and before.stalled)


def _first_sight(new: Document, now: Instant, *, is_new: bool) -> tuple[Document, tuple[Event, ...]]:
    """A document that was not known before. The arguments are those of ``advance``."""
    progress = new.progress
    attempt = _attempt_at_first_sight(progress, now)
    if not (is_new and progress.status in FINISHED):
        return _moved(new, now, attempt), ()
    phases: tuple[tuple[str, float], ...] = ()
    if progress.status == "completed":
        attempt, phases = replace(attempt, first_seen=now.wall), _phases(progress, None)
    document = _moved(new, now, attempt)
    return document, (Finished(document, phases),)


def _attempt_at_first_sight(progress: Progress, now: Instant) -> Attempt:
    """The attempt of a document that is seen for the first time. Its end is not counted later."""
    if progress.status in FINISHED:
        return Attempt(progress, counted=True)
    if progress.completed_at is not None or progress.stopped_at is not None:
        return Attempt(progress)
    return Attempt(first_seen=now.wall if looks_new(progress) else None)


def _is_same_end(ended: Progress | None, progress: Progress) -> bool:
    """Whether both are the end of the same attempt. If not, the document was indexed again between two polls.

    A list reports no times of an end and a detail reports some; the others arrive once the batch is known. Only a time
    that differs from the one before belongs to another attempt.
    """
    if ended is None or ended.status != progress.status:
        return False
    pairs = zip(_times(ended), _times(progress), strict=True)
    return all(one is None or other is None or one == other for one, other in pairs)


def _with_missing_times(progress: Progress, ended: Progress) -> Progress:
    """``progress``, an end, with the times that only an earlier answer has reported."""
    started, completed, stopped = _times(ended)
    return replace(
        progress,
        processing_started_at=started if progress.processing_started_at is None else progress.processing_started_at,
        completed_at=completed if progress.completed_at is None else progress.completed_at,
        stopped_at=stopped if progress.stopped_at is None else progress.stopped_at,
    )


def _times(progress: Progress) -> tuple[Number | None, ...]:
    return progress.processing_started_at, progress.completed_at, progress.stopped_at


def _phases(progress: Progress, old: Progress | None) -> tuple[tuple[str, float], ...]:
    """Seconds per phase. A time that was there in ``old``, before the attempt began, belongs to an earlier one."""

    def fresh(name: str) -> Number | None:
        value: Number | None = getattr(progress, name)
        return None if old is not None and getattr(old, name) == value else value

    started = fresh("processing_started_at")
    parsed = fresh("parsing_completed_at")
    split = fresh("splitting_completed_at")
    completed = fresh("completed_at")
    spans = (
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
