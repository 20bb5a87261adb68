"""Documents and knowledge bases, as the embedded server stores them."""

from __future__ import annotations

import uuid
from math import inf
from typing import TYPE_CHECKING

from exporter.simulator.lives import Row, Traits, row_at

if TYPE_CHECKING:
    from exporter.simulator.lives import Run
    from exporter.simulator.scenario import DatasetPlan, DocumentPlan, Life
    from exporter.simulator.tasks import IndexingTask

NAMESPACE = uuid.UUID("9a1c4b52-2f0e-4f7e-9d0a-7c1f2f6f5a10")
UNFINISHED = frozenset({"parsing", "cleaning", "splitting", "indexing"})


def document_id(dataset_id: str, batch: str, number: int, plan: DocumentPlan) -> str:
    """The id of document ``number`` of a batch: always the same for the same plan."""
    return plan.id or stable_id("document", f"{dataset_id}/{batch}/{number}/{plan.name}")


def stable_id(kind: str, of: str = "") -> str:
    """A UUID that is always the same for the same object."""
    return str(uuid.uuid5(NAMESPACE, f"{kind}/{of}"))


class DatasetState:
    """A knowledge base: its plan and its current contents. A batch without documents does not exist."""

    __slots__ = ("batches", "created", "documents", "plan", "positions")

    def __init__(self, plan: DatasetPlan, created: float) -> None:
        self.plan = plan
        self.created = created
        self.documents: dict[str, Document] = {}
        self.batches: dict[str, list[Document]] = {}
        self.positions = 0


class Document:
    """A document. Its ``row`` and ``run`` together determine its state; ``held``: the document is paused.

    ``goes_on``: its next run resumes where the last one was paused. ``fate_at``: when the fate of its life strikes.
    """

    __slots__ = (
        "archived",
        "batch",
        "created",
        "created_from",
        "dataset",
        "disabled_at",
        "fate_at",
        "goes_on",
        "gone",
        "held",
        "id",
        "life",
        "name",
        "plan",
        "position",
        "row",
        "run",
        "task",
        "traits",
    )

    def __init__(self, identifier: str, dataset: DatasetState, plan: DocumentPlan, created: float) -> None:
        dataset.positions += 1
        self.id = identifier
        self.dataset = dataset
        self.plan = plan
        self.life: Life = plan
        self.batch = ""
        self.name = plan.name
        self.position = dataset.positions
        self.created = created
        self.created_from = plan.created_from
        self.row = Row(updated=created)
        self.run: Run | None = None
        self.task: IndexingTask | None = None
        self.held = False
        self.goes_on = False
        self.fate_at = inf
        self.gone = False
        self.archived = False
        self.disabled_at: float | None = None
        self.traits = Traits(
            economy=dataset.plan.technique != "high_quality",
            hierarchical=plan.rule.mode == "hierarchical",
            pipeline=dataset.plan.pipeline,
        )

    def row_now(self, now: float) -> Row:
        """The row at ``now``."""
        if self.run is not None and now >= self.run.over:
            self.fold(now)
        return row_at(self.row, self.run, now)

    def fold(self, now: float) -> None:
        """Write the results of the run up to ``now`` into the row and clear the run."""
        self.row = row_at(self.row, self.run, now)
        self.run = None

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
            return "paused" if self.held else "indexing"
        if row.status == "error":
            return "error"
        if self.archived:
            return "archived"
        return "available" if self.disabled_at is None else "disabled"
