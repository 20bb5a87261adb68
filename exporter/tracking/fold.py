"""Folds one answer about a batch into the known batch and its documents. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from exporter.tracking.model import Document
from exporter.tracking.parse import sum_batch
from exporter.tracking.progress import advance, gather, judge, same

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from exporter.tracking.model import Batch, Progress
    from exporter.tracking.progress import Event, Instant, StallLimits


class Folded(NamedTuple):
    """The result of folding an answer into a batch.

    ``moves``: the progress before and after, of the documents that made progress. ``left``: the ids of documents that
    are no longer in the batch. ``taken``: the batches that lost a document to this one. ``changed``: the ids of
    documents that are new or whose status changed.
    """

    batch: Batch
    documents: tuple[Document, ...]
    events: tuple[Event, ...]
    moved: bool
    moves: tuple[tuple[Progress, Progress], ...]
    left: frozenset[str]
    taken: frozenset[str]
    changed: tuple[str, ...]


def fold_batch(
    key: tuple[str, str, str],
    before: Batch | None,
    known: Callable[[str], Document | None],
    items: Mapping[str, Progress],
    *,
    now: Instant,
    stall: StallLimits,
) -> Folded:
    """Fold ``items``, progress by document id, into the batch ``key`` (server, dataset, batch)."""
    server, dataset_id, name = key
    members = frozenset(before.documents) if before else frozenset()
    documents: list[Document] = []
    events: list[Event] = []
    moves: list[tuple[Progress, Progress]] = []
    taken: set[str] = set()
    changed: list[str] = []
    moved = before is None or members != items.keys()
    for document_id, progress in items.items():
        old = known(document_id)
        if old is None:
            new = Document(server, dataset_id, document_id, name, progress)
        else:
            new = Document(server, dataset_id, document_id, name, progress, old.detail, stalled=old.stalled)
            if old.batch not in (name, ""):
                taken.add(old.batch)
            if not same(old.progress, progress):
                moved = True
                moves.append((old.progress, progress))
        if old is None or old.progress.status != progress.status:
            changed.append(document_id)
        document, happened = advance(old, new, now)
        documents.append(document)
        events += happened
    summed = sum_batch(server, dataset_id, name, documents)
    batch, verdicts = gather(before, summed, documents, moved=moved, now=now, stall=stall)
    return Folded(
        batch,
        _judged(documents, batch, now=now, stall=stall),
        (*events, *verdicts),
        moved,
        tuple(moves),
        members - items.keys(),
        frozenset(taken),
        tuple(changed),
    )


def refold_batch(
    before: Batch, documents: Sequence[Document], *, now: Instant, stall: StallLimits
) -> tuple[Batch, tuple[Document, ...], tuple[Event, ...]]:
    """Fold an answer identical to the last one: nothing changed, but the batch may have become stalled."""
    batch, verdicts = gather(before, before, documents, moved=False, now=now, stall=stall)
    return batch, _judged(documents, batch, now=now, stall=stall), verdicts


def _judged(documents: Sequence[Document], batch: Batch, *, now: Instant, stall: StallLimits) -> tuple[Document, ...]:
    return tuple(judge(document, batch, now=now, stall=stall)[0] for document in documents)
