"""The store of one server: the latest object of every dataset, batch and document.

All changes of one answer are published together, so that no reader sees half of an answer. Objects restored from the
state file are kept apart until their target answers again.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from exporter.tracking.clock_offset import ClockOffset
from exporter.tracking.error_reasons import PATTERNS
from exporter.tracking.event_counters import Counters
from exporter.tracking.model import Dataset, DatasetCounters, Document, NullListener, NullRecorder
from exporter.tracking.parse import FINISHED, is_settled
from exporter.tracking.progress import Instant, StallLimits
from exporter.tracking.targets import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from exporter.clock import Clock
    from exporter.polling.target_statuses import TargetStatuses
    from exporter.state.state_file import SavedObjects
    from exporter.tracking.error_reasons import Pattern
    from exporter.tracking.model import Batch, Change, ChangeListener, ProcessRule, Recorder, Tracked

_T = TypeVar("_T")

DocumentKey = tuple[str, str]

DEFAULT_STALL = StallLimits()


class ObjectStore:
    """The known objects of one server. Thread-safe. The listener is called under the lock: it sees changes in order."""

    def __init__(
        self,
        server: str,
        statuses: TargetStatuses,
        *,
        listener: ChangeListener,
        unknown: Callable[[str], None],
        clock: Clock,
        stall: StallLimits = DEFAULT_STALL,
        patterns: Sequence[Pattern] = PATTERNS,
        recorder: Recorder | None = None,
    ) -> None:
        """``unknown`` is called with the field name for every value that is not among the known ones."""
        self._server = server
        self._statuses = statuses
        self.clock = clock
        self._stall = stall
        self.offset = ClockOffset()
        self._counters = Counters(server, patterns)
        self._listener = listener
        self._recorder = recorder or NullRecorder()
        self.unknown = unknown
        self._lock = threading.Lock()
        self._documents: dict[DocumentKey, Document] = {}
        self._batches: dict[tuple[str, str], Batch] = {}
        self._found: set[DocumentKey] = set()
        self._datasets_by_id: dict[str, Dataset] = {}
        self._past_documents: dict[DocumentKey, Document] = {}
        self._past_batches: dict[tuple[str, str], Batch] = {}
        self._rules: dict[ProcessRule, ProcessRule] = {}

    def change(self, stall: StallLimits, patterns: Sequence[Pattern]) -> None:
        """Apply other stall limits and error patterns from the next answer on."""
        with self._lock:
            self._stall = stall
            self._counters.patterns = patterns

    def recall(self, memory: SavedObjects) -> None:
        """Load the objects saved before a restart. Each is published once its target answers again."""
        self._past_documents = {(found.dataset_id, found.document_id): found for found in memory.documents}
        self._past_batches = {(found.dataset_id, found.batch): found for found in memory.batches}
        self._counters.recall(memory.counters)

    def was_settled(self, target: Target) -> bool:
        """Whether ``target`` was finished before the restart: it can be polled after all others."""
        past = self._past_batches.get((target.dataset_id, target.id)) if target.kind == "batch" else None
        return past is not None and is_settled(past)

    def document(self, dataset_id: str, document_id: str) -> Document | None:
        """The document as last seen, possibly before a restart."""
        return self._known(dataset_id, document_id)

    def batch(self, dataset_id: str, batch: str) -> Batch | None:
        """The batch as last seen."""
        return self._batches.get((dataset_id, batch))

    def trace(self, target: Target) -> object:
        """Token for the stored result of the target's last answer; it changes when that result is replaced.

        The batch id; for a document, the batch that reports it or the time of its last progress. None: no result is
        stored.
        """
        if target.kind == "batch":
            return target.id if (target.dataset_id, target.id) in self._batches else None
        document = self._documents.get((target.dataset_id, target.id))
        return document and (document.batch or document.moved)

    @property
    def documents(self) -> list[Document]:
        """Every document that is currently known."""
        with self._lock:
            return list(self._documents.values())

    def kept(self) -> list[Document | Batch | DatasetCounters]:
        """All objects to persist across restarts."""
        with self._lock:
            return [*self._documents.values(), *self._batches.values(), *self._counters.counters]

    def finished_for(self, dataset_id: str, batch: str) -> float | None:
        """Seconds since the batch finished; None if it is unfinished or unknown."""
        found = self._batches.get((dataset_id, batch))
        if found is None or not is_settled(found):
            return None
        return self.clock.monotonic() - found.moved

    @property
    def dataset_ids(self) -> list[str]:
        """The ids of all datasets with known attributes."""
        with self._lock:
            return list(self._datasets_by_id)

    def dataset(self, dataset_id: str) -> Dataset:
        """The attributes of a dataset."""
        return self._datasets_by_id.get(dataset_id) or Dataset(self._server, dataset_id)

    def set_dataset(self, new: Dataset) -> None:
        """Store the attributes of a dataset."""
        with self._lock:
            old = self._datasets_by_id.get(new.dataset_id)
            if new != old:
                self._datasets_by_id[new.dataset_id] = new
                self._tell([(old, new)])

    def open_dataset(self, dataset_id: str) -> None:
        """Start the event counters of a dataset."""
        with self._lock:
            changes: list[Change] = []
            self._counters.open(dataset_id, changes)
            self._tell(changes)

    def close(self) -> None:
        """Remove everything and publish nothing more: answers to running requests arrive too late."""
        with self._lock:
            keys = (*self._documents, *self._batches, *self._past_documents, *self._past_batches)
            known = {*self._datasets_by_id, *(dataset_id for dataset_id, _ in keys)}
        for dataset_id in known | {activity.dataset_id for activity in self._counters.counters}:
            self.forget_dataset(dataset_id)
        with self._lock:
            self._listener, self._recorder = NullListener(), NullRecorder()

    def forget_dataset(self, dataset_id: str) -> None:
        """Remove a dataset with everything in it, restored objects included."""
        with self._lock:
            past: list[Change] = [(known, None) for known in _take_all(self._past_documents, dataset_id)]
            past += [(known, None) for known in _take_all(self._past_batches, dataset_id)]
            self._recorder.note(past, at_once=False)
            changes: list[Change] = []
            for key in [key for key in self._documents if key[0] == dataset_id]:
                changes.append((self._documents.pop(key), None))
                self._found.discard(key)
            names = [name for name in self._batches if name[0] == dataset_id]
            changes += [(self._batches.pop(name), None) for name in names]
            base = self._datasets_by_id.pop(dataset_id, None)
            if base is not None:
                changes.append((base, None))
            self._counters.close(dataset_id, changes)
            self._tell(changes)

    def forget_batch(self, dataset_id: str, batch: str) -> list[Target]:
        """Remove a batch and its documents, except those that something else refers to. Returns the configured ones."""
        with self._lock:
            old = self._batches.pop((dataset_id, batch), None)
            known = old or self._past_batches.pop((dataset_id, batch), None)
            if known is None:
                return []
            changes: list[Change] = []
            if old:
                changes.append((old, None))
            else:
                self._recorder.note([(known, None)], at_once=False)
            for document_id in known.documents:
                self._release(dataset_id, document_id, batch, changes)
            self._tell(changes)
            return self._named(dataset_id, known.documents)

    def hand_over(self, dataset_id: str, document_id: str) -> None:
        """Continue with the document in discovery: the configuration no longer names it."""
        with self._lock:
            self._found.add((dataset_id, document_id))

    def forget_document(self, dataset_id: str, document_id: str) -> None:
        """Remove a document, unless a batch still lists it."""
        with self._lock:
            document = self._known(dataset_id, document_id)
            if document is None or self._is_covered(document):
                return
            key = (dataset_id, document_id)
            self._found.discard(key)
            if self._documents.pop(key, None):
                self._tell([(document, None)])
            else:
                del self._past_documents[key]
                self._recorder.note([(document, None)], at_once=False)

    def expire(self, seconds: float) -> None:
        """Remove discovered documents that have been finished for ``seconds``."""
        before = self.clock.monotonic() - seconds
        with self._lock:
            changes: list[Change] = []
            for key in list(self._found):
                document = self._known(*key)
                if document is None or self._is_covered(document):
                    self._found.discard(key)
                elif key not in self._documents:
                    continue
                elif document.progress.status in FINISHED and document.moved <= before:
                    self._found.discard(key)
                    del self._documents[key]
                    changes.append((document, None))
            self._tell(changes)

    def _known(self, dataset_id: str, document_id: str) -> Document | None:
        """The document as last seen, possibly before a restart."""
        key = (dataset_id, document_id)
        return self._documents.get(key) or self._past_documents.get(key)

    def _keep(self, document: Document, changes: list[Change]) -> None:
        """Replace the stored object of ``document``."""
        key = (document.dataset_id, document.document_id)
        before = self._documents.get(key)
        if before is None:
            self._past_documents.pop(key, None)
        if document != before:
            self._documents[key] = document
            changes.append((before, document))

    def _release(self, dataset_id: str, document_id: str, batch: str, changes: list[Change]) -> None:
        """Detach a document from ``batch``. It stays if another batch lists it or the configuration names it.

        A restored document may belong to a batch that is no longer polled: it waits for discovery.
        """
        key = (dataset_id, document_id)
        document = self._known(dataset_id, document_id)
        if document is None or document.batch != batch:
            return
        if key not in self._documents:
            self._past_documents[key] = replace(document, batch="")
        elif self._pinned(dataset_id, document_id):
            self._documents[key] = after = replace(document, batch="")
            changes.append((document, after))
        else:
            del self._documents[key]
            changes.append((document, None))

    def _tell(self, changes: list[Change]) -> None:
        """Notify the recorder, then the listener.

        Counted events, and documents that are to be counted when they finish, are on disk before they are visible.
        """
        if changes:
            self._recorder.note(changes, at_once=any(_counts(old, new) for old, new in changes))
            self._listener.changed(changes)

    def _is_covered(self, document: Document) -> bool:
        """Whether a batch reports its progress. The batch of a restored document has to be polled for that."""
        shown = (document.dataset_id, document.document_id) in self._documents
        watched = Target("batch", document.dataset_id, document.batch) in self._statuses
        return bool(document.batch) and (shown or watched)

    def _pinned(self, dataset_id: str, document_id: str) -> bool:
        return Target("document", dataset_id, document_id) in self._statuses

    def _named(self, dataset_id: str, ids: Iterable[str]) -> list[Target]:
        """The documents among ``ids`` that the configuration names."""
        return [Target("document", dataset_id, found) for found in ids if self._pinned(dataset_id, found)]

    def _now(self) -> Instant:
        return Instant(self.clock.time(), self.clock.monotonic())


def _take_all(objects: dict[tuple[str, str], _T], dataset_id: str) -> list[_T]:
    """Remove and return the objects of one dataset."""
    return [objects.pop(key) for key in [key for key in objects if key[0] == dataset_id]]


def _counts(old: Tracked | None, new: Tracked | None) -> bool:
    """Whether a counter would be wrong if the process were killed and this change lost."""
    if isinstance(new, Document):
        return old is None and new.progress.status not in FINISHED
    return isinstance(new, DatasetCounters)
