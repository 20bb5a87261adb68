"""Everything that is known of one server: its objects behind a lock, and who is informed of their changes."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from exporter.config import StallLimits
from exporter.tracking.clock_offset import ClockOffset
from exporter.tracking.counters import Counters
from exporter.tracking.error_reasons import PATTERNS
from exporter.tracking.events import NOTHING_WANTED, Wanted
from exporter.tracking.model import FINISHED, Document, is_finished
from exporter.tracking.objects import Objects, Watched, must_survive, nothing_to_recall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from exporter.clock import Clock
    from exporter.tracking.error_reasons import Pattern
    from exporter.tracking.model import Batch, ChangeListener, Dataset, DatasetCounters, SeenLists
    from exporter.tracking.objects import Recall, SavedObjects

DEFAULT_LIMITS = StallLimits()

RECENT_END = {"error": 86_400.0, "completed": 3_600.0}
"""Seconds for which a document that ended so is likely to be deleted and uploaded again."""


class Store:
    """The objects of one server. Thread-safe. Listeners are called under the lock, so they see changes in order."""

    def __init__(
        self,
        server: str,
        watched: Watched,
        *,
        listeners: Sequence[ChangeListener],
        unknown: Callable[[str], None],
        clock: Clock,
        limits: StallLimits = DEFAULT_LIMITS,
        patterns: Sequence[Pattern] = PATTERNS,
        recall: Recall = nothing_to_recall,
    ) -> None:
        """``unknown`` is called with the field's name for every value that is not a known one.

        ``recall`` is called under the lock, for objects that are not known.
        """
        self.server = server
        self._listeners = tuple(listeners)
        self.unknown = unknown
        self.clock = clock
        self.limits = limits
        self.offset = ClockOffset()
        self._objects = Objects(server, watched, clock.monotonic, recall)
        self.counters = Counters(server, patterns, self._objects.add_change, now=clock.time, recall=recall)
        self._lock = threading.Lock()

    def reconfigure(self, limits: StallLimits, patterns: Sequence[Pattern]) -> None:
        """Use other stall limits and error patterns from the next answer on."""
        with self._lock:
            self.limits = limits
            self.counters.patterns = patterns

    def restore(self, saved: SavedObjects) -> None:
        """Continue from what was known before a restart."""
        with self._lock:
            self._objects.restore(saved)
            self.counters.restore(saved.counters)

    def close(self) -> None:
        """Remove everything and inform nobody any more: answers under way come too late."""
        with self.transaction() as objects:
            counted = {counters.dataset_id for counters in self.counters.all()}
            for dataset_id in objects.dataset_ids() | counted:
                objects.remove_dataset(dataset_id)
                self.counters.stop(dataset_id)
        with self._lock:
            self._listeners = ()

    def document(self, dataset_id: str, document_id: str) -> Document | None:
        """The document as it was last seen, possibly before a restart."""
        return self._objects.document((dataset_id, document_id))

    def batch(self, dataset_id: str, batch: str) -> Batch | None:
        """The batch as it was last seen since the start."""
        return self._objects.batches.get((dataset_id, batch))

    def dataset(self, dataset_id: str) -> Dataset:
        """What is known of the dataset itself."""
        return self._objects.dataset(dataset_id)

    @property
    def documents(self) -> list[Document]:
        """Every document that was seen since the start."""
        with self._lock:
            return list(self._objects.documents.values())

    @property
    def dataset_ids(self) -> list[str]:
        """The datasets of which a name or count is known."""
        with self._lock:
            return list(self._objects.datasets)

    def saved_objects(self) -> list[Document | Batch | DatasetCounters | SeenLists]:
        """Everything that is to survive a restart."""
        with self._lock:
            objects = self._objects
            lists = objects.lists.values()
            return [*objects.documents.values(), *objects.batches.values(), *self.counters.all(), *lists]

    def was_finished(self, dataset_id: str, batch: str) -> bool:
        """Whether the batch had finished before the restart and has not been polled since."""
        restored = self._objects.restored_batches.get((dataset_id, batch))
        return restored is not None and is_finished(restored)

    def finished_for(self, dataset_id: str, batch: str) -> float | None:
        """Seconds since the batch finished; None while it is unfinished or unknown."""
        found = self.batch(dataset_id, batch)
        if found is None or not is_finished(found):
            return None
        return self.clock.monotonic() - found.last_progress_monotonic

    def is_unfinished(self, dataset_id: str, document_id: str) -> bool:
        """Whether the document is known and has not finished."""
        document = self.document(dataset_id, document_id)
        return document is not None and document.progress.status not in FINISHED

    def needs_segments(self, dataset_id: str, document_id: str) -> bool:
        """Whether the number of completed segments of the document is of interest: not once its list has dropped it."""
        key = (dataset_id, document_id)
        return self._objects.document(key) is not None and key not in self._objects.unlisted

    def batch_token(self, dataset_id: str, batch: str) -> object:
        """Token for the stored result of the batch's last answer; None: there is none."""
        return batch if (dataset_id, batch) in self._objects.batches else None

    def document_token(self, dataset_id: str, document_id: str) -> object:
        """Token for the stored result of the document's last answer; it changes when that result is replaced.

        None while there is no detail: the document may have been removed since the last answer, and have returned.
        """
        document = self._objects.documents.get((dataset_id, document_id))
        if document is None or document.detail is None:
            return None
        return document.batch or document.last_progress_monotonic

    def watch_dataset(self, dataset_id: str) -> None:
        """Count the events of a dataset from now on."""
        if dataset_id not in self.counters:
            with self.transaction():
                self.counters.start(dataset_id)

    def seen_lists(self, dataset_id: str) -> SeenLists | None:
        """What the document lists of the dataset contained when they were last read."""
        with self._lock:
            return self._objects.seen_lists(dataset_id)

    def put_lists(self, new: SeenLists) -> None:
        """Store what the document lists of a dataset contained, unless that is known."""
        with self.transaction() as objects:
            if objects.seen_lists(new.dataset_id) is None:
                objects.put_lists(new)

    def unlisted(self, dataset_id: str) -> set[str]:
        """The documents that the last lists of unfinished documents did not contain, and of which no end is known."""
        with self._lock:
            return {document_id for found, document_id in self._objects.unlisted if found == dataset_id}

    def unfinished(self, dataset_id: str) -> set[str]:
        """The unfinished documents of the dataset that discovery follows."""
        with self._lock:
            found = self._objects.discovered_except(dataset_id, ())
        return {document.document_id for document in found if document.progress.status not in FINISHED}

    def has_unfinished(self, dataset_id: str) -> bool:
        """Whether a document of the dataset is known that has not finished."""
        with self._lock:
            documents = [found for key, found in self._objects.documents.items() if key[0] == dataset_id]
        return any(found.progress.status not in FINISHED for found in documents)

    def has_recent_ends(self, dataset_id: str) -> bool:
        """Whether documents of the dataset failed within a day or completed within an hour: they may be replaced."""
        now = self.clock.monotonic()
        with self._lock:
            documents = [found for key, found in self._objects.documents.items() if key[0] == dataset_id]
        return any(
            now - found.last_progress_monotonic < RECENT_END[found.progress.status]
            for found in documents
            if found.progress.status in FINISHED
        )

    def remove_untraced(self, dataset_id: str, document_id: str) -> bool:
        """Remove a document that no list contains and whose detail is refused. False: there is no such document."""
        key = (dataset_id, document_id)
        with self.transaction() as objects:
            if key not in objects.untraced:
                return False
            objects.remove_document(key)
            return True

    def put_dataset(self, new: Dataset) -> None:
        """Store what was learned of a dataset."""
        with self.transaction() as objects:
            objects.put_dataset(new)

    def remove_dataset(self, dataset_id: str) -> Wanted:
        """Remove the dataset with everything in it."""
        with self.transaction() as objects:
            objects.remove_dataset(dataset_id)
            self.counters.stop(dataset_id)
        return NOTHING_WANTED

    def remove_batch(self, dataset_id: str, batch: str) -> Wanted:
        """Remove the batch, and each document in it that the configuration does not name: those are to be polled."""
        with self.transaction() as objects:
            members = objects.remove_batch((dataset_id, batch))
            return Wanted(documents=objects.configured(dataset_id, members))

    def remove_document(self, dataset_id: str, document_id: str) -> Wanted:
        """Remove the document unless a batch still contains it: servers before 1.5.1 have no details."""
        with self.transaction() as objects:
            document = self.document(dataset_id, document_id)
            if document is not None and not objects.is_covered(document):
                objects.remove_document((dataset_id, document_id))
        return NOTHING_WANTED

    def leave_to_discovery(self, dataset_id: str, document_id: str) -> None:
        """The configuration no longer names the document; discovery keeps it."""
        with self._lock:
            self._objects.discovered.add((dataset_id, document_id))

    def expire(self, seconds: float) -> None:
        """Remove the documents that discovery found and that finished at least ``seconds`` ago."""
        with self.transaction() as objects:
            objects.remove_expired(self.clock.monotonic() - seconds)

    @contextmanager
    def transaction(self) -> Iterator[Objects]:
        """The objects, to be changed; then the listeners get all changes in one call, so that nobody sees a part."""
        with self._lock:
            yield self._objects
            changes = self._objects.take_changes()
            if changes:
                durable = any(map(must_survive, changes))
                for listener in self._listeners:
                    listener.changed(changes, durable=durable)
