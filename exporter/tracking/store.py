"""What is known of one server: the latest object of every document, batch and target.

All that one answer changes is told to the listener in one call, so that nobody sees half of it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from exporter.tracking.model import Document, ServerStatus, TargetStatus
from exporter.tracking.reading import FINISHED, progress_of_detail, read_detail, read_item, sum_batch
from exporter.tracking.targets import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from exporter.dify import DocumentDetail, IndexingItem
    from exporter.tracking.model import Batch, Change, Listener, ProcessRule, Progress

DocumentKey = tuple[str, str]


class Applied(NamedTuple):
    """What an answer did. ``details``: the documents of which the detail should be asked for now."""

    moved: bool
    settled: bool
    details: tuple[DocumentKey, ...] = ()


class Store:
    """The objects of one server. Thread-safe; the listener is called under the lock: it sees changes in order."""

    def __init__(self, server: str, url: str, *, listener: Listener, unknown: Callable[[str], None]) -> None:
        """``unknown`` is called with the field's name for every value that is none of the known ones."""
        self._server = server
        self._listener = listener
        self._unknown = unknown
        self._lock = threading.Lock()
        self._status = ServerStatus(server, url)
        self._documents: dict[DocumentKey, Document] = {}
        self._batches: dict[tuple[str, str], Batch] = {}
        self._targets: dict[Target, TargetStatus] = {}
        self._rules: dict[ProcessRule, ProcessRule] = {}
        listener.changed([(None, self._status)])

    def document(self, dataset_id: str, document_id: str) -> Document | None:
        """The document as it was last seen."""
        return self._documents.get((dataset_id, document_id))

    def batch(self, dataset_id: str, batch: str) -> Batch | None:
        """The batch as it was last seen."""
        return self._batches.get((dataset_id, batch))

    def target(self, target: Target) -> TargetStatus | None:
        """How the polls of a target go."""
        return self._targets.get(target)

    @property
    def status(self) -> ServerStatus:
        """The server as it was last seen."""
        return self._status

    @property
    def documents(self) -> list[Document]:
        """Every document that is known now."""
        with self._lock:
            return list(self._documents.values())

    @property
    def targets(self) -> list[TargetStatus]:
        """How the polls of every target go."""
        with self._lock:
            return list(self._targets.values())

    def add_targets(self, targets: Iterable[Target]) -> None:
        """Targets that the config names get series from the start, so that one that never answers is seen."""
        with self._lock:
            changes: list[Change] = []
            for target in targets:
                if target not in self._targets:
                    status = TargetStatus(self._server, target.metric_kind, target.dataset_id, target.id)
                    self._targets[target] = status
                    changes.append((None, status))
            self._listener.changed(changes)

    def set_target(self, target: Target, *, success: bool, now: float, interval: float) -> None:
        """Note how a poll of ``target`` went. Targets without series are passed over."""
        with self._lock:
            old = self._targets.get(target)
            if old is None:
                return
            new = replace(old, success=success, last_success=now if success else old.last_success, interval=interval)
            self._targets[target] = new
            self._listener.changed([(old, new)])

    def mark_unread(self, targets: Iterable[Target]) -> None:
        """Polls that were due could not be made: the last values stand, marked as not fresh."""
        with self._lock:
            changes: list[Change] = []
            for target in targets:
                old = self._targets.get(target)
                if old is not None and old.success is not False:
                    new = replace(old, success=False)
                    self._targets[target] = new
                    changes.append((old, new))
            if changes:
                self._listener.changed(changes)

    def set_server(self, *, up: bool | None, version: str) -> None:
        """Note what the last request said of the server. ``up`` None, ``version`` "": it said nothing."""
        with self._lock:
            old = self._status
            new = ServerStatus(self._server, old.url, version or old.version, old.up if up is None else up)
            if new != old:
                self._status = new
                self._listener.changed([(old, new)])

    def apply_batch(self, dataset_id: str, batch: str, items: list[IndexingItem]) -> Applied:
        """Take an answer of indexing-status."""
        with self._lock:
            changes: list[Change] = []
            old = self._batches.get((dataset_id, batch))
            left = set(old.documents) if old else set()
            losers: set[str] = set()
            details: list[DocumentKey] = []
            documents: dict[str, Document] = {}
            moved = old is None
            for item in items:
                progress = read_item(item, self._unknown)
                key = (dataset_id, item.id)
                before = self._documents.get(key)
                left.discard(item.id)
                if before is not None and before.batch == batch and before.progress == progress:
                    documents[item.id] = before
                    continue
                moved = True
                if before is None:
                    after = Document(self._server, dataset_id, item.id, batch, progress)
                else:
                    after = replace(before, batch=batch, progress=progress)
                    if before.batch not in (batch, ""):
                        losers.add(before.batch)
                if before is None or before.progress.status != progress.status:
                    details.append(key)
                self._documents[key] = documents[item.id] = after
                changes.append((before, after))
            for document_id in left:
                moved = True
                self._release(dataset_id, document_id, batch, changes)
            for loser in losers:
                self._resum(dataset_id, loser, changes)
            new = sum_batch(self._server, dataset_id, batch, documents.values())
            if new != old:
                self._batches[dataset_id, batch] = new
                changes.append((old, new))
            if changes:
                self._listener.changed(changes)
        settled = all(document.progress.status in FINISHED for document in documents.values())
        return Applied(moved, settled, tuple(dict.fromkeys(details)))

    def apply_detail(self, dataset_id: str, answer: DocumentDetail, *, document_id: str) -> Applied:
        """Take the detail of a document. Its progress counts only while no batch tells more."""
        detail = read_detail(answer, self._unknown)
        with self._lock:
            key = (dataset_id, document_id)
            before = self._documents.get(key)
            if detail.rule is not None:
                detail = replace(detail, rule=self._rules.setdefault(detail.rule, detail.rule))
            progress: Progress | None
            if before is not None and before.batch:
                progress = before.progress
            else:
                progress = progress_of_detail(answer, self._unknown) or (before.progress if before else None)
            if progress is None:
                return Applied(moved=False, settled=False)
            if before is None:
                after = Document(self._server, dataset_id, document_id, "", progress, detail)
            else:
                after = replace(before, progress=progress, detail=detail)
            if after != before:
                self._documents[key] = after
                self._listener.changed([(before, after)])
            moved = before is None or before.progress != progress
        return Applied(moved, progress.status in FINISHED)

    def forget_batch(self, dataset_id: str, batch: str) -> None:
        """The batch is gone, and with it every document that nothing else holds."""
        with self._lock:
            old = self._batches.pop((dataset_id, batch), None)
            if old is None:
                return
            changes: list[Change] = [(old, None)]
            for document_id in old.documents:
                self._release(dataset_id, document_id, batch, changes)
            self._listener.changed(changes)

    def forget_document(self, dataset_id: str, document_id: str) -> None:
        """The document is gone, unless a batch still names it."""
        with self._lock:
            old = self._documents.get((dataset_id, document_id))
            if old is not None and not old.batch:
                del self._documents[dataset_id, document_id]
                self._listener.changed([(old, None)])

    def _release(self, dataset_id: str, document_id: str, batch: str, changes: list[Change]) -> None:
        """``batch`` holds the document no longer. It stays where another batch has taken it or the config names it."""
        key = (dataset_id, document_id)
        document = self._documents.get(key)
        if document is None or document.batch != batch:
            return
        if self._pinned(dataset_id, document_id):
            self._documents[key] = after = replace(document, batch="")
            changes.append((document, after))
        else:
            del self._documents[key]
            changes.append((document, None))

    def _pinned(self, dataset_id: str, document_id: str) -> bool:
        return Target("document", dataset_id, document_id) in self._targets

    def _resum(self, dataset_id: str, batch: str, changes: list[Change]) -> None:
        """Sum a batch anew that has lost documents to another one, or for ever."""
        old = self._batches.get((dataset_id, batch))
        if old is None:
            return
        members = (self._documents.get((dataset_id, document_id)) for document_id in old.documents)
        new = sum_batch(
            self._server, dataset_id, batch, [member for member in members if member and member.batch == batch]
        )
        self._batches[dataset_id, batch] = new
        changes.append((old, new))
