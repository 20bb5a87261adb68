"""What happened on a server, by its own records: every end of an attempt, and when each document moved.

Times are monotonic seconds of the machine, which all processes share and no step of the wall clock changes.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from exporter.simulator.documents import Document
    from exporter.simulator.timeline import Row

FINISHED: Final = frozenset({"completed", "error"})
IN_PROGRESS: Final = frozenset({"parsing", "splitting", "indexing"})


class End(NamedTuple):
    """The end of an attempt at a document. ``attempt``: what it was, such as ``upload`` or ``retry``."""

    at: float
    dataset: str
    document: str
    batch: str
    status: str
    attempt: str


class Movement(NamedTuple):
    """A document after it moved. ``status``: also ``paused`` and ``deleted``."""

    at: float
    status: str
    batch: str


class Event(NamedTuple):
    """Something that was done to a server or to the exporter."""

    at: float
    what: str


class History(NamedTuple):
    """What happened on one server, in the order of time.

    ``movements``, ``datasets``: by document; ``batches``: every document that was ever in one, by dataset and batch.
    """

    ends: tuple[End, ...] = ()
    movements: Mapping[str, tuple[Movement, ...]] = {}
    datasets: Mapping[str, str] = {}
    batches: Mapping[tuple[str, str], frozenset[str]] = {}
    events: tuple[Event, ...] = ()

    def counts(self) -> Counter[tuple[str, str]]:
        """Number of ends by dataset and status, like the exporter's counter."""
        return Counter((end.dataset, end.status) for end in self.ends)

    def before(self, document: str, at: float) -> Movement | None:
        """The last movement of a document at some time; None: it did not exist yet."""
        movements = self.movements.get(document, ())
        index = bisect_right(movements, at, key=lambda movement: movement.at)
        return movements[index - 1] if index else None

    def members(self, dataset: str, batch: str) -> frozenset[str]:
        """Every document that was ever in a batch."""
        return self.batches.get((dataset, batch), frozenset())


class Recorder:
    """Records the history of the documents of one server. Not thread-safe."""

    def __init__(self) -> None:
        self._ends: dict[tuple[str, int], End] = {}
        self._ignored: set[tuple[str, int]] = set()
        self._attempts: Counter[str] = Counter()
        self._kinds: dict[str, str] = {}
        self._movements: dict[str, list[Movement]] = {}
        self._last: dict[str, tuple[object, ...]] = {}
        self._datasets: dict[str, str] = {}
        self._ended: dict[str, float] = {}
        self._batches: dict[tuple[str, str], set[str]] = {}
        self._events: list[Event] = []

    def history(self) -> History:
        """Everything recorded so far."""
        movements = {document: tuple(found) for document, found in self._movements.items()}
        batches = {key: frozenset(documents) for key, documents in self._batches.items()}
        ends = sorted(self._ends.values())
        return History(tuple(ends), movements, dict(self._datasets), batches, tuple(self._events))

    def note(self, what: str) -> None:
        """Record an event."""
        self._events.append(Event(time.monotonic(), what))

    def begin(self, document: Document, kind: str) -> None:
        """Record that another attempt begins."""
        self._attempts[document.id] += 1
        self._kinds[document.id] = kind
        self._ended.pop(document.id, None)

    def ignore(self, documents: Iterable[Document]) -> None:
        """Count no end of the present attempts: they were over before the exporter first looked."""
        for document in documents:
            self._ignored.add((document.id, self._attempts[document.id]))
            self._ended[document.id] = 0.0

    def ended(self, document: Document) -> float | None:
        """When the last attempt at a document ended; None while it runs."""
        return self._ended.get(document.id)

    def since(self, document: Document) -> float:
        """When the document last moved."""
        return self._movements[document.id][-1].at

    def observe(self, documents: Iterable[Document], now: float) -> None:
        """Record what moved and what ended. ``now``: the world's time."""
        at = time.monotonic()
        seen = set()
        for document in documents:
            seen.add(document.id)
            row = document.row_at(now)
            state = (*_progress(row), document.paused, document.batch)
            if self._last.get(document.id) != state:
                self._last[document.id] = state
                self._datasets[document.id] = document.dataset.plan.id
                self._batches.setdefault((document.dataset.plan.id, document.batch), set()).add(document.id)
                self._movements.setdefault(document.id, []).append(Movement(at, _status(document, row), document.batch))
            key = document.id, self._attempts[document.id]
            finished = row.status in FINISHED and not document.paused
            if finished and key not in self._ends and key not in self._ignored:
                kind = self._kinds.get(document.id, "upload")
                self._ends[key] = End(at, document.dataset.plan.id, document.id, document.batch, row.status, kind)
                self._ended[document.id] = at
        for gone in self._last.keys() - seen:
            del self._last[gone]
            self._ended.pop(gone, None)
            self._movements[gone].append(Movement(at, "deleted", ""))


def _progress(row: Row) -> tuple[object, ...]:
    return row.status, row.started, row.parsed, row.split, row.completed_at, row.stopped, row.completed, row.total


def _status(document: Document, row: Row) -> str:
    """Lists call a paused document that waits ``waiting``."""
    return "paused" if document.paused and row.status not in ("waiting", *FINISHED) else row.status
