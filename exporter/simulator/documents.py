"""Knowledge bases, documents and indexing tasks, as the embedded server stores them."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from exporter.simulator.timeline import Row, Traits, new_timeline, resumed_timeline, row_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.simulator.scenario import Attempt, DatasetPlan, DocumentPlan
    from exporter.simulator.timeline import Timeline

_NAMESPACE = uuid.UUID("9a1c4b52-2f0e-4f7e-9d0a-7c1f2f6f5a10")
UNFINISHED = frozenset({"parsing", "cleaning", "splitting", "indexing"})


def document_id(dataset_id: str, batch: str, number: int, plan: DocumentPlan) -> str:
    """The id of document ``number`` of a batch: always the same for the same plan."""
    return plan.id or stable_id("document", f"{dataset_id}/{batch}/{number}/{plan.name}")


def stable_id(kind: str, of: str = "") -> str:
    """A UUID that is always the same for the same object."""
    return str(uuid.uuid5(_NAMESPACE, f"{kind}/{of}"))


@dataclass(slots=True, eq=False, repr=False)
class DatasetState:
    """A knowledge base: its plan and its current contents. A batch without documents does not exist.

    ``batch_numbers``: for the ids of batches, shared by all knowledge bases of the server.
    """

    plan: DatasetPlan
    created: float
    batch_numbers: Iterator[int]
    documents: dict[str, Document] = field(default_factory=dict)
    batches: dict[str, list[Document]] = field(default_factory=dict)
    positions: int = 0

    def new_batch_id(self, instant: float) -> str:
        """An id in the server's format: the time and six digits, here from a counter instead of random."""
        stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime(instant))
        return f"{stamp}{next(self.batch_numbers) * 7919 % 1_000_000:06d}"


@dataclass(slots=True, eq=False, repr=False)
class Document:
    """A document. Its ``row`` and ``timeline`` together determine its indexing state.

    ``resuming``: its next timeline continues where it was paused. ``outcome_at``: when the outcome of its attempt
    happens, unless it completes.
    """

    id: str
    dataset: DatasetState
    plan: DocumentPlan
    created: float
    batch: str = ""
    timeline: Timeline | None = None
    task: IndexingTask | None = None
    paused: bool = False
    resuming: bool = False
    outcome_at: float = inf
    deleted: bool = False
    archived: bool = False
    disabled_at: float | None = None
    attempt: Attempt = field(init=False)
    name: str = field(init=False)
    created_from: str = field(init=False)
    position: int = field(init=False)
    row: Row = field(init=False)
    traits: Traits = field(init=False)

    def __post_init__(self) -> None:
        self.attempt = self.plan
        self.name = self.plan.name
        self.created_from = self.plan.created_from
        self.dataset.positions += 1
        self.position = self.dataset.positions
        self.row = Row(updated=self.created)
        self.traits = Traits(
            economy=self.dataset.plan.technique != "high_quality",
            hierarchical=self.plan.rule.mode == "hierarchical",
            pipeline=self.dataset.plan.pipeline,
        )

    def row_at(self, now: float) -> Row:
        """The row at ``now``, which must not be before the time of an earlier call."""
        if self.timeline is not None and now >= self.timeline.over:
            self.end_attempt(now)
        return row_at(self.row, self.timeline, now)

    def end_attempt(self, now: float) -> None:
        """Write the results of the attempt up to ``now`` into the row; nothing changes after that."""
        self.row = row_at(self.row, self.timeline, now)
        self.timeline = None

    def enter_batch(self, batch: str) -> None:
        """Add the document to a batch."""
        self.batch = batch
        self.dataset.batches.setdefault(batch, []).append(self)

    def leave_batch(self) -> None:
        """Remove the document from its batch; an empty batch is deleted."""
        rest = self.dataset.batches[self.batch]
        rest.remove(self)
        if not rest:
            del self.dataset.batches[self.batch]

    def display_status(self, row: Row) -> str | None:
        """The ``display_status`` in the detail and the list. A paused document that is still waiting is ``queuing``."""
        if row.status == "waiting":
            return "queuing"
        if row.status in UNFINISHED:
            return "paused" if self.paused else "indexing"
        if row.status == "error":
            return "error"
        if self.archived:
            return "archived"
        return "available" if self.disabled_at is None else "disabled"


class IndexingTask:
    """The documents of one message to a worker, which indexes one after the other.

    They are all documents of a batch, or the one document that is retried, updated or resumed.
    """

    def __init__(self, documents: tuple[Document, ...]) -> None:
        self.documents = documents
        self.canceled = False
        for document in documents:
            document.task = self

    def start(self, instant: float) -> float:
        """Set the timeline of every document; return when the worker is free again.

        Paused documents are skipped: their message is consumed. A worker that dies or hangs leaves the remaining
        documents in parsing; only one that dies becomes free again.
        """
        turn = instant
        lost = False
        for document in [each for each in self.documents if each.task is self and not each.deleted and not each.paused]:
            document.end_attempt(instant)
            if document.resuming:
                timeline = resumed_timeline(document.row, document.attempt, turn, document.traits)
            else:
                timeline = new_timeline(document.attempt, instant, turn, document.traits)
            document.resuming = False
            document.timeline = timeline.abandoned() if lost else timeline
            document.outcome_at = document.timeline.interrupted
            if not lost:
                turn = timeline.worker_free
                lost = timeline.interrupted != inf and timeline.error is None
                if document.attempt.outcome == "hangs":
                    turn = inf
        return turn

    def abandon_after(self, document: Document) -> None:
        """Leave the documents after this one in parsing: pausing a document ends the whole task."""
        for other in self.documents[self.documents.index(document) + 1 :]:
            if other.task is self and other.timeline is not None:
                other.timeline = other.timeline.abandoned()
