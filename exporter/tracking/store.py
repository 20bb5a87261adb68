"""What is known of one server: the latest object of every document, batch and target.

All that one answer changes is told to the listener in one call, so that nobody sees half of it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from exporter.tracking.fold import fold_batch, refold_batch
from exporter.tracking.ledger import Failure, Ledger
from exporter.tracking.model import STATUSES, Activity, Document, NoRecorder, ServerStatus, TargetStatus
from exporter.tracking.offset import ClockOffset
from exporter.tracking.progress import Now, Stall, advance, gather, judge, same
from exporter.tracking.reading import FINISHED, progress_of_detail, read_detail, read_item, sum_batch
from exporter.tracking.reasons import PATTERNS
from exporter.tracking.targets import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from exporter.clock import Clock
    from exporter.dify import DocumentDetail, IndexingItem
    from exporter.tracking.model import Batch, Change, Listener, Memory, ProcessRule, Recorder
    from exporter.tracking.progress import Event
    from exporter.tracking.reasons import Pattern

DocumentKey = tuple[str, str]

DEFAULT_STALL = Stall()


class Applied(NamedTuple):
    """What an answer did. ``details``: the documents of which the detail should be asked for now."""

    moved: bool
    settled: bool
    details: tuple[DocumentKey, ...] = ()
    events: tuple[Event, ...] = ()
    failures: tuple[Failure, ...] = ()


class Store:
    """The objects of one server. Thread-safe; the listener is called under the lock: it sees changes in order."""

    def __init__(
        self,
        server: str,
        url: str,
        *,
        listener: Listener,
        unknown: Callable[[str], None],
        clock: Clock,
        stall: Stall = DEFAULT_STALL,
        patterns: Sequence[Pattern] = PATTERNS,
        recorder: Recorder | None = None,
    ) -> None:
        """``unknown`` is called with the field's name for every value that is none of the known ones."""
        self._server = server
        self.clock = clock
        self._stall = stall
        self.offset = ClockOffset()
        self._ledger = Ledger(server, patterns)
        self._listener = listener
        self._recorder = recorder or NoRecorder()
        self._unknown = unknown
        self._lock = threading.Lock()
        self._status = ServerStatus(server, url)
        self._documents: dict[DocumentKey, Document] = {}
        self._batches: dict[tuple[str, str], Batch] = {}
        self._past_documents: dict[DocumentKey, Document] = {}
        self._past_batches: dict[tuple[str, str], Batch] = {}
        self._targets: dict[Target, TargetStatus] = {}
        self._rules: dict[ProcessRule, ProcessRule] = {}
        listener.changed([(None, self._status)])

    def recall(self, memory: Memory) -> None:
        """Go on from what was known before a restart. Nothing of it is shown before its target answers again."""
        self._past_documents = {(found.dataset_id, found.document_id): found for found in memory.documents}
        self._past_batches = {(found.dataset_id, found.batch): found for found in memory.batches}
        self._ledger.recall(memory.activities)

    def was_settled(self, target: Target) -> bool:
        """Whether ``target`` was finished before the restart: it can wait until the others are read."""
        past = self._past_batches.get((target.dataset_id, target.id)) if target.kind == "batch" else None
        return (
            past is not None
            and not past.stalled
            and all(not count or status in FINISHED for status, count in zip(STATUSES, past.counts, strict=True))
        )

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
                self._ledger.open(target.dataset_id, changes)
                if target not in self._targets:
                    status = TargetStatus(self._server, target.metric_kind, target.dataset_id, target.id)
                    self._targets[target] = status
                    changes.append((None, status))
            self._tell(changes)

    def set_target(self, target: Target, *, success: bool, now: float, interval: float) -> None:
        """Note how a poll of ``target`` went. Targets without series are passed over."""
        with self._lock:
            old = self._targets.get(target)
            if old is None:
                return
            new = replace(old, success=success, last_success=now if success else old.last_success, interval=interval)
            self._targets[target] = new
            self._tell([(old, new)])

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
            self._tell(changes)

    def set_server(self, *, up: bool | None, version: str) -> None:
        """Note what the last request said of the server. ``up`` None, ``version`` "": it said nothing."""
        with self._lock:
            old = self._status
            new = ServerStatus(self._server, old.url, version or old.version, old.up if up is None else up)
            if new != old:
                self._status = new
                self._tell([(old, new)])

    def apply_batch(self, dataset_id: str, batch: str, items: list[IndexingItem]) -> Applied:
        """Take an answer of indexing-status."""
        now = self._now()
        progress = {item.id: read_item(item, self._unknown) for item in items}
        with self._lock:
            unseen = [document_id for document_id in progress if (dataset_id, document_id) not in self._documents]
            old = self._batches.get((dataset_id, batch))
            folded = fold_batch(
                (self._server, dataset_id, batch),
                old or self._past_batches.pop((dataset_id, batch), None),
                lambda document_id: self._known(dataset_id, document_id),
                progress,
                now=now,
                stall=self._stall,
            )
            changes: list[Change] = []
            self._batches[dataset_id, batch] = folded.batch
            if folded.batch != old:
                changes.append((old, folded.batch))
            for document_id in folded.left:
                self._release(dataset_id, document_id, batch, changes)
            for document in folded.documents:
                self._keep(document, changes)
            for loser in folded.taken:
                self._resum(dataset_id, loser, changes)
            since = self._last_read(Target("batch", dataset_id, batch))
            if since is not None:
                for before, after in folded.moves:
                    self.offset.observe(before, after, since=since, now=now.wall)
            errors = {item.id: item.error for item in items}
            failures = self._ledger.count(dataset_id, folded.events, errors, changes)
            self._tell(changes)
        settled = all(found.status in FINISHED for found in progress.values())
        # A document from before a restart has its detail; while unfinished it is asked for again all the same.
        again = [document_id for document_id in unseen if progress[document_id].status not in FINISHED]
        details = tuple((dataset_id, document_id) for document_id in dict.fromkeys((*folded.changed, *again)))
        return Applied(folded.moved, settled, details, folded.events, failures)

    def confirm_batch(self, dataset_id: str, batch: str) -> Applied:
        """Take an answer that is the last one again, byte for byte."""
        with self._lock:
            old = self._batches.get((dataset_id, batch))
            if old is None:
                return Applied(moved=False, settled=True)
            held = [self._documents[dataset_id, document_id] for document_id in old.documents]
            new, documents, events = refold_batch(old, held, now=self._now(), stall=self._stall)
            changes: list[Change] = []
            if new != old:
                self._batches[dataset_id, batch] = new
                changes.append((old, new))
            for document in documents:
                self._keep(document, changes)
            self._tell(changes)
        return Applied(moved=False, settled=all(found.progress.status in FINISHED for found in held), events=events)

    def apply_detail(self, dataset_id: str, answer: DocumentDetail, *, document_id: str) -> Applied:
        """Take the detail of a document. Its progress counts only while no batch tells more."""
        now = self._now()
        detail = read_detail(answer, self._unknown)
        with self._lock:
            before = self._known(dataset_id, document_id)
            if detail.rule is not None:
                detail = replace(detail, rule=self._rules.setdefault(detail.rule, detail.rule))
            changes: list[Change] = []
            if before is not None and before.batch:
                self._keep(replace(before, detail=detail), changes)
                self._tell(changes)
                return Applied(moved=False, settled=before.progress.status in FINISHED)
            progress = progress_of_detail(answer, self._unknown) or (before.progress if before else None)
            if progress is None:
                return Applied(moved=False, settled=False)
            stalled = before.stalled if before else False
            new = Document(self._server, dataset_id, document_id, "", progress, detail, stalled=stalled)
            advanced, events = advance(before, new, now)
            judged, verdicts = judge(advanced, None, now=now, stall=self._stall)
            self._keep(judged, changes)
            failures = self._ledger.count(dataset_id, events, {document_id: answer.error}, changes)
            self._tell(changes)
        moved = before is None or not same(before.progress, progress)
        return Applied(moved, progress.status in FINISHED, (), (*events, *verdicts), failures)

    def confirm_document(self, dataset_id: str, document_id: str) -> Applied:
        """Take a detail that is the last one again, byte for byte."""
        now = self._now()
        with self._lock:
            before = self._documents.get((dataset_id, document_id))
            if before is None:
                return Applied(moved=False, settled=True)
            events: tuple[Event, ...] = ()
            if not before.batch:
                changes: list[Change] = []
                judged, events = judge(before, None, now=now, stall=self._stall)
                self._keep(judged, changes)
                self._tell(changes)
        return Applied(moved=False, settled=before.progress.status in FINISHED, events=events)

    def forget_batch(self, dataset_id: str, batch: str) -> None:
        """The batch is gone, and with it every document that nothing else holds."""
        with self._lock:
            old = self._batches.pop((dataset_id, batch), None)
            if old is None:
                return
            changes: list[Change] = [(old, None)]
            for document_id in old.documents:
                self._release(dataset_id, document_id, batch, changes)
            self._tell(changes)

    def forget_document(self, dataset_id: str, document_id: str) -> None:
        """The document is gone, unless a batch still names it."""
        with self._lock:
            old = self._documents.get((dataset_id, document_id))
            if old is not None and not old.batch:
                del self._documents[dataset_id, document_id]
                self._tell([(old, None)])

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

    def _known(self, dataset_id: str, document_id: str) -> Document | None:
        """The document as it was last seen, also before a restart."""
        key = (dataset_id, document_id)
        return self._documents.get(key) or self._past_documents.get(key)

    def _tell(self, changes: list[Change]) -> None:
        """Tell the recorder, then the listener. What was counted is on disk before anybody sees the counter."""
        if changes:
            self._recorder.note(changes, at_once=any(isinstance(new, Activity) for _, new in changes))
            self._listener.changed(changes)

    def _now(self) -> Now:
        return Now(self.clock.time(), self.clock.monotonic())

    def _last_read(self, target: Target) -> float | None:
        """When ``target`` was read last; None when its last poll failed."""
        status = self._targets.get(target)
        return status.last_success if status and status.success else None

    def _keep(self, document: Document, changes: list[Change]) -> None:
        """Put ``document`` in the place of what was known of it."""
        key = (document.dataset_id, document.document_id)
        before = self._documents.get(key)
        if before is None:
            self._past_documents.pop(key, None)
        if document != before:
            self._documents[key] = document
            changes.append((before, document))

    def _pinned(self, dataset_id: str, document_id: str) -> bool:
        return Target("document", dataset_id, document_id) in self._targets

    def _resum(self, dataset_id: str, batch: str, changes: list[Change]) -> None:
        """Sum a batch anew that has lost documents to another one, or for ever."""
        old = self._batches.get((dataset_id, batch))
        if old is None:
            return
        members = (self._documents.get((dataset_id, document_id)) for document_id in old.documents)
        held = [member for member in members if member and member.batch == batch]
        summed = sum_batch(self._server, dataset_id, batch, held)
        new, _ = gather(old, summed, held, moved=True, now=self._now(), stall=self._stall)
        self._batches[dataset_id, batch] = new
        changes.append((old, new))
