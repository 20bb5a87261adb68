"""A worker's task: the documents of one message, one after the other."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from exporter.simulator.lives import begin, left_behind, resumed

if TYPE_CHECKING:
    from exporter.simulator.documents import Document


class IndexingTask:
    """All documents of a batch, or the one document that is retried, updated or resumed."""

    def __init__(self, documents: tuple[Document, ...]) -> None:
        self.documents = documents
        self.withdrawn = False

    def start(self, instant: float) -> float:
        """Fix the instants of every document's run; return when the worker is free again.

        Paused documents are skipped: their message is consumed. A worker that dies or hangs leaves the remaining
        documents in parsing; only one that dies becomes free again.
        """
        turn = instant
        stranded = False
        for document in self._waiting():
            document.fold(instant)
            if document.goes_on:
                run = resumed(document.row, document.life, turn, document.traits)
            else:
                run = begin(document.life, instant, turn, document.traits)
            document.goes_on = False
            document.run = left_behind(run) if stranded else run
            document.fate_at = document.run.frozen
            if not stranded:
                turn = run.free
                stranded = run.frozen != inf and run.error is None
                if document.life.fate == "hangs":
                    turn = inf
        return turn

    def interrupt(self, document: Document) -> None:
        """Leave the documents after this one in parsing: pausing a document ends the whole task."""
        found = False
        for other in self.documents:
            if other.task is self and other.run is not None and found:
                other.run = left_behind(other.run)
            found = found or other is document

    def _waiting(self) -> list[Document]:
        return [each for each in self.documents if each.task is self and not each.gone and not each.held]
