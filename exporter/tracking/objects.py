"""The latest object of every dataset, batch and document of one server, and the objects restored from the state file.

An object that leaves the page is forgotten here; its row in the state file stays. Should the object return, it is
recalled from there and continues: what was counted is not counted again, and its age goes on.

Not thread-safe: the store's lock guards it. Every change is recorded until ``take_changes`` hands all of them over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from msgspec.structs import replace

from exporter.tracking.model import FINISHED, Batch, Dataset, DatasetCounters, Document, SeenLists

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from exporter.tracking.model import Change

_T = TypeVar("_T")
S = TypeVar("S", Document, Batch, DatasetCounters, SeenLists)

Key = tuple[str, str]
"""Dataset id, and the id of the document or batch."""


class SavedObjects(NamedTuple):
    """The objects of one server that survive a restart."""

    documents: list[Document]
    batches: list[Batch]
    counters: list[DatasetCounters]
    lists: list[SeenLists] | tuple[()] = ()


class Recall(Protocol):
    """Looks up objects that were removed, possibly before a restart."""

    def __call__(self, server: str, kind: type[S], dataset_id: str, ids: Collection[str] | None, /) -> Sequence[S]:
        """Those of the objects of a dataset that are still known; ``ids`` None: all removed ones."""
        ...


def nothing_to_recall(_server: str, _kind: type[S], _dataset_id: str, _ids: Collection[str] | None) -> Sequence[S]:
    """Without a state file, what was removed is forgotten."""
    return ()


class Watched(NamedTuple):
    """What is polled for its own sake; both functions take a dataset id and the id of the batch or document."""

    batch: Callable[[str, str], bool]
    document: Callable[[str, str], bool]


class Objects:
    """The objects by their ids. A restored object is not published before its target answers again."""

    def __init__(
        self, server: str, watched: Watched, monotonic: Callable[[], float], recall: Recall = nothing_to_recall
    ) -> None:
        self._server = server
        self._monotonic = monotonic
        self._watched = watched
        self._recall = recall
        self._recalled_datasets: set[str] = set()
        self._changes: list[Change] = []
        self._rules: dict[object, object] = {}
        self.documents: dict[Key, Document] = {}
        self.batches: dict[Key, Batch] = {}
        self.datasets: dict[str, Dataset] = {}
        self.discovered: set[Key] = set()
        """Documents that stay because discovery found them."""
        self.unlisted: set[Key] = set()
        """Documents that the lists of unfinished ones no longer contain."""
        self.untraced: set[Key] = set()
        """Those of them that the other lists do not contain either: only their details tell how they ended."""
        self.released: dict[Key, tuple[float, Document]] = {}
        """Documents that their batch has lost, and since when (monotonic seconds): a new batch may contain them."""
        self.lists: dict[str, SeenLists] = {}
        self.restored_lists: dict[str, SeenLists] = {}
        self.restored_documents: dict[Key, Document] = {}
        self.restored_batches: dict[Key, Batch] = {}

    def restore(self, saved: SavedObjects) -> None:
        """Continue from what was known before a restart."""
        self.restored_documents = {(found.dataset_id, found.document_id): found for found in saved.documents}
        self.restored_batches = {(found.dataset_id, found.batch): found for found in saved.batches}
        self.restored_lists = {found.dataset_id: found for found in saved.lists}

    def recall_batch(self, key: Key) -> None:
        """Restore a batch that is not known, should it have been removed."""
        if key not in self.batches and key not in self.restored_batches:
            for found in self._recall(self._server, Batch, key[0], (key[1],)):
                self.restored_batches[key] = found

    def recall_documents(
        self, dataset_id: str, document_ids: Iterable[str], ended: Mapping[str, str] | None = None
    ) -> None:
        """Restore those of the documents that are not known, should they have been removed.

        Whether their batch still contains them is not known. ``ended``: the final statuses of documents by id; those
        that had ended like this when they were removed stay removed.
        """
        unknown = [found for found in document_ids if self.former((dataset_id, found)) is None]
        for document in self._recall(self._server, Document, dataset_id, unknown) if unknown else ():
            if ended and ended.get(document.document_id) == document.progress.status:
                continue
            self.restored_documents[dataset_id, document.document_id] = replace(document, batch="")

    def recall_dataset(self, dataset_id: str) -> None:
        """Restore the lists of a removed dataset, and its unfinished documents: they may have finished since."""
        if dataset_id in self._recalled_datasets:
            return
        self._recalled_datasets.add(dataset_id)
        if dataset_id not in self.lists and dataset_id not in self.restored_lists:
            for lists in self._recall(self._server, SeenLists, dataset_id, ("",)):
                self.restored_lists[dataset_id] = lists
        for document in self._recall(self._server, Document, dataset_id, None):
            key = (dataset_id, document.document_id)
            if document.progress.status not in FINISHED and self.former(key) is None:
                self.restored_documents[key] = replace(document, batch="")

    def take_changes(self) -> list[Change]:
        """The changes since the last call."""
        changes, self._changes = self._changes, []
        return changes

    def add_change(self, change: Change) -> None:
        """Record a change of an object that is kept elsewhere."""
        self._changes.append(change)

    def document(self, key: Key) -> Document | None:
        """The document as it was last seen, possibly before a restart."""
        return self.documents.get(key) or self.restored_documents.get(key)

    def former(self, key: Key) -> Document | None:
        """The document, or what it was before its batch lost it: its next end is not that of its former attempt."""
        return self.document(key) or self.released.get(key, (0.0, None))[1]

    def seen_lists(self, dataset_id: str) -> SeenLists | None:
        """What the lists of the dataset contained when they were last read, possibly before a restart."""
        self.recall_dataset(dataset_id)
        return self.lists.get(dataset_id) or self.restored_lists.get(dataset_id)

    def put_lists(self, new: SeenLists) -> None:
        """Store what the lists of a dataset contain now."""
        self.restored_lists.pop(new.dataset_id, None)
        self._changes.append((self.lists.get(new.dataset_id), new))
        self.lists[new.dataset_id] = new

    def dataset(self, dataset_id: str) -> Dataset:
        """What is known of the dataset itself."""
        return self.datasets.get(dataset_id) or Dataset(self._server, dataset_id)

    def dataset_ids(self) -> set[str]:
        """The datasets of which any object is known."""
        keys = (*self.documents, *self.batches, *self.restored_documents, *self.restored_batches)
        return {*self.datasets, *(dataset_id for dataset_id, _ in keys)}

    def is_configured(self, key: Key) -> bool:
        """Whether the configuration names the document."""
        return self._watched.document(*key)

    def configured(self, dataset_id: str, document_ids: Iterable[str]) -> tuple[str, ...]:
        """Those of the documents that the configuration names."""
        return tuple(found for found in document_ids if self._watched.document(dataset_id, found))

    def is_covered(self, document: Document) -> bool:
        """Whether a batch reports the document's progress.

        A batch that is only restored covers its documents while it is watched.
        """
        if not document.batch:
            return False
        shown = (document.dataset_id, document.document_id) in self.documents
        return shown or self._watched.batch(document.dataset_id, document.batch)

    def discovered_except(self, dataset_id: str, listed: Collection[str]) -> list[Document]:
        """The discovered documents of a dataset that no batch covers, without the ``listed`` ones."""
        restored = ((key, document) for key, document in self.restored_documents.items() if key[0] == dataset_id)
        self.discovered |= {key for key, document in restored if not self.is_covered(document)}
        keys = [key for key in self.discovered if key[0] == dataset_id and key[1] not in listed]
        documents = (document for key in keys if (document := self.document(key)) is not None)
        return [found for found in documents if not self.is_covered(found)]

    def put_dataset(self, new: Dataset) -> None:
        """Store ``new`` in place of what was known of the dataset."""
        old = self.datasets.get(new.dataset_id)
        if new != old:
            self.datasets[new.dataset_id] = new
            self._changes.append((old, new))

    def put_batch(self, new: Batch) -> None:
        """Store ``new`` in place of what was known of the batch."""
        key = (new.dataset_id, new.batch)
        self.restored_batches.pop(key, None)
        old = self.batches.get(key)
        self.batches[key] = new
        if new != old:
            self._changes.append((old, new))

    def put_document(self, new: Document) -> None:
        """Store ``new`` in place of what was known of the document."""
        key = (new.dataset_id, new.document_id)
        old = self.documents.get(key)
        if old is None:
            self.restored_documents.pop(key, None)
            self.released.pop(key, None)
        if new != old:
            self.documents[key] = new
            self._changes.append((old, new))

    def shared_rule(self, rule: _T) -> _T:
        """One object for all equal process rules: most documents of a dataset have the same."""
        return self._rules.setdefault(rule, rule)  # type: ignore[return-value]

    def remove_dataset(self, dataset_id: str) -> None:
        """Remove the dataset with everything in it."""
        tables = (self.restored_documents, self.restored_batches, self.documents, self.batches)
        for table in tables:
            for key in [key for key in table if key[0] == dataset_id]:
                self._changes.append((table.pop(key), None))
        self.released = {key: found for key, found in self.released.items() if key[0] != dataset_id}
        lists = self.lists.pop(dataset_id, None) or self.restored_lists.pop(dataset_id, None)
        if lists is not None:
            self._changes.append((lists, None))
        self.discovered = {key for key in self.discovered if key[0] != dataset_id}
        self.unlisted = {key for key in self.unlisted if key[0] != dataset_id}
        self.untraced = {key for key in self.untraced if key[0] != dataset_id}
        self._recalled_datasets.discard(dataset_id)
        dataset = self.datasets.pop(dataset_id, None)
        if dataset is not None:
            self._changes.append((dataset, None))

    def remove_batch(self, key: Key) -> tuple[str, ...]:
        """Remove the batch, and each document in it that nothing else needs. Return the ids of all its documents."""
        batch = self.batches.pop(key, None) or self.restored_batches.pop(key, None)
        if batch is None:
            return ()
        self._changes.append((batch, None))
        for document_id in batch.documents:
            self.release_document((batch.dataset_id, document_id), batch.batch)
        return batch.documents

    def remove_document(self, key: Key) -> None:
        """Remove the document."""
        self.discovered.discard(key)
        self.relist(key)
        document = self.documents.pop(key, None) or self.restored_documents.pop(key, None)
        if document is not None:
            self._changes.append((document, None))

    def relist(self, key: Key) -> None:
        """An answer reports the document again."""
        self.unlisted.discard(key)
        self.untraced.discard(key)

    def remove_expired(self, before: float) -> None:
        """Remove the documents that discovery found and that finished before a monotonic second."""
        self.released = {key: found for key, found in self.released.items() if found[0] > before}
        for key in list(self.discovered):
            document = self.document(key)
            if document is None or self.is_covered(document):
                self.discovered.discard(key)
            elif key not in self.documents or document.progress.status not in FINISHED:
                continue
            elif document.last_progress_monotonic <= before:
                self.remove_document(key)

    def release_document(self, key: Key, batch: str) -> None:
        """``batch`` no longer contains the document: remove it unless another batch or the configuration has it.

        A restored document may belong to a batch that nothing names: it stays until discovery has looked.
        """
        document = self.document(key)
        if document is None or document.batch != batch:
            return
        if key not in self.documents:
            self.restored_documents[key] = replace(document, batch="")
        elif self.is_configured(key):
            self.put_document(replace(document, batch=""))
        else:
            del self.documents[key]
            self.released[key] = self._monotonic(), replace(document, batch="", stalled=False)
            self._changes.append((document, None))


def must_survive(change: Change) -> bool:
    """Whether a counter would be wrong after a kill that loses this change."""
    old, new = change
    if isinstance(new, Document):
        return old is None and new.progress.status not in FINISHED
    return isinstance(new, DatasetCounters | SeenLists)
