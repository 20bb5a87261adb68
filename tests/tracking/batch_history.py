"""A batch that receives a sequence of answers, and the events that follow."""

from __future__ import annotations

from typing import Any

from exporter.clock import Instant
from exporter.config import StallLimits
from exporter.tracking.model import Batch, Document, Progress
from exporter.tracking.progress import MergedBatch, confirm_batch, merge_batch

KEY = ("main", "d", "b")
STALL = StallLimits(after=900, queued_after=1800)


class BatchHistory:
    """A batch that receives one answer after another."""

    def __init__(self) -> None:
        self.batch: Batch | None = None
        self.documents: dict[str, Document] = {}
        self.events: list[object] = []
        self.now = Instant(1_000_000.0, 0.0)

    def at(self, seconds: float) -> BatchHistory:
        """Set the clock to so many seconds after the start."""
        self.now = Instant(1_000_000.0 + seconds, seconds)
        return self

    def answer(self, **progress: Progress) -> MergedBatch:
        """The server answers this, by document id."""
        merged = merge_batch(KEY, self.batch, self.documents.get, progress, now=self.now, limits=STALL)
        self.batch = merged.batch
        self.documents = {found.document_id: found for found in merged.documents}
        self.events += merged.events
        return merged

    def again(self) -> None:
        """Receive the previous answer again."""
        assert self.batch is not None
        self.batch, documents, events = confirm_batch(
            self.batch, tuple(self.documents.values()), now=self.now, limits=STALL
        )
        self.documents = {found.document_id: found for found in documents}
        self.events += events

    def names(self) -> list[str]:
        """The names of all events, in order."""
        return [type(event).__name__ for event in self.events]

    @property
    def stalled(self) -> bool:
        """Whether the batch is stalled."""
        assert self.batch is not None
        return self.batch.stalled


def working(completed: int = 0, total: int = 10, status: str = "indexing", **more: Any) -> Progress:
    """A document in the middle of its first attempt."""
    return Progress(status, 100, 101, 102, 102, completed_segments=completed, total_segments=total, **more)


WAITING = Progress("waiting", completed_segments=0, total_segments=0)
PARSING = Progress("parsing", 100, completed_segments=0, total_segments=0)
DONE = Progress("completed", 100, 101, 102, 102, 110, completed_segments=10, total_segments=10)
FAILED = Progress("error", 100, stopped_at=105, completed_segments=0, total_segments=0, has_error=True)
