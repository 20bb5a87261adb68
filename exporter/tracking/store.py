"""What is known of one server: the latest object of every document, batch and target.

All that one answer changes is told to the listener in one call, so that nobody sees half of it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from msgspec.structs import replace

from exporter.tracking.fold import fold_batch, refold_batch
from exporter.tracking.ledger import Ledger
from exporter.tracking.model import Activity, Document, KnowledgeBase, NoRecorder
from exporter.tracking.offset import ClockOffset
from exporter.tracking.outcome import Outcome
from exporter.tracking.progress import Now, Stall, advance, gather, judge, same
from exporter.tracking.reading import FINISHED, is_settled, progress_of_detail, read_detail, read_item, sum_batch
from exporter.tracking.reasons import PATTERNS
from exporter.tracking.targets import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from exporter.clock import Clock
    from exporter.dify import DocumentDetail, IndexingItem
    from exporter.tracking.ledger import Failure
    from exporter.tracking.model import (
        Batch,
        Change,
        Detail,
        Listener,
        Number,
        ProcessRule,
        Progress,
        Recorder,
        Tracked,
    )
    from exporter.tracking.progress import Event
    from exporter.tracking.reasons import Pattern
    from exporter.tracking.roster import Roster
    from exporter.tracking.state import Memory

DocumentKey = tuple[str, str]

DEFAULT_STALL = Stall()


class Store:
    """The objects of one server. Thread-safe; the listener is called under the lock: it sees changes in order."""

    def __init__(
        self,
        server: str,
        roster: Roster,
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
        self._roster = roster
        self.clock = clock
        self._stall = stall
        self.offset = ClockOffset()
        self._ledger = Ledger(server, patterns)
        self._listener = listener
        self._recorder = recorder or NoRecorder()
        self.unknown = unknown
        self._lock = threading.Lock()
        self._documents: dict[DocumentKey, Document] = {}
        self._batches: dict[tuple[str, str], Batch] = {}
        self._found: set[DocumentKey] = set()
        self._bases: dict[str, KnowledgeBase] = {}
        self._past_documents: dict[DocumentKey, Document] = {}
        self._past_batches: dict[tuple[str, str], Batch] = {}
        self._rules: dict[ProcessRule, ProcessRule] = {}

    def recall(self, memory: Memory) -> None:
        """Go on from what was known before a restart. Nothing of it is shown before its target answers again."""
        self._past_documents = {(found.dataset_id, found.document_id): found for found in memory.documents}
        self._past_batches = {(found.dataset_id, found.batch): found for found in memory.batches}
        self._ledger.recall(memory.activities)

    def was_settled(self, target: Target) -> bool:
        """Whether ``target`` was finished before the restart: it can wait until the others are read."""
        past = self._past_batches.get((target.dataset_id, target.id)) if target.kind == "batch" else None
        return past is not None and is_settled(past)

    def document(self, dataset_id: str, document_id: str) -> Document | None:
        """The document as it was last seen, also before a restart."""
        return self._known(dataset_id, document_id)

    def batch(self, dataset_id: str, batch: str) -> Batch | None:
        """The batch as it was last seen."""
        return self._batches.get((dataset_id, batch))

    @property
    def documents(self) -> list[Document]:
        """Every document that is known now."""
        with self._lock:
            return list(self._documents.values())

    def apply_batch(self, dataset_id: str, batch: str, items: list[IndexingItem]) -> Outcome:
        """Take an answer of indexing-status."""
        now = self._now()
        progress = {item.id: read_item(item, self.unknown) for item in items}
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
            since = self._roster.last_read(Target("batch", dataset_id, batch))
            if since is not None:
                for before, after in folded.moves:
                    self.offset.observe(before, after, since=since, now=now.wall)
            errors = {item.id: item.error for item in items}
            failures = self._ledger.count(dataset_id, folded.events, errors, changes)
            self._tell(changes)
        settled = all(found.status in FINISHED for found in progress.values())
        # A document from before a restart has its detail; while unfinished it is asked for again all the same.
        again = [document_id for document_id in unseen if progress[document_id].status not in FINISHED]
        wanted = (Target("detail", dataset_id, document_id) for document_id in dict.fromkeys((*folded.changed, *again)))
        return Outcome(folded.moved, settled, tuple(wanted), (), folded.events, failures)

    def confirm_batch(self, dataset_id: str, batch: str) -> Outcome:
        """Take an answer that is the last one again, byte for byte."""
        with self._lock:
            old = self._batches.get((dataset_id, batch))
            if old is None:
                return Outcome(moved=False, settled=True)
            held = [self._documents[dataset_id, document_id] for document_id in old.documents]
            new, documents, events = refold_batch(old, held, now=self._now(), stall=self._stall)
            changes: list[Change] = []
            if new != old:
                self._batches[dataset_id, batch] = new
                changes.append((old, new))
            for document in documents:
                self._keep(document, changes)
            self._tell(changes)
        return Outcome(moved=False, settled=all(found.progress.status in FINISHED for found in held), events=events)

    def apply_detail(self, dataset_id: str, answer: DocumentDetail, *, document_id: str) -> Outcome:
        """Take the detail of a document. Its progress counts only while no batch tells more."""
        detail = read_detail(answer, self.unknown)
        with self._lock:
            if detail.rule is not None:
                detail = replace(detail, rule=self._rules.setdefault(detail.rule, detail.rule))
            before = self._known(dataset_id, document_id)
            if before is not None and before.batch:
                changes: list[Change] = []
                if (dataset_id, document_id) in self._documents:
                    self._keep(replace(before, detail=detail), changes)
                self._tell(changes)
                return Outcome(settled=before.progress.status in FINISHED)
            progress = progress_of_detail(answer, before.progress if before else None, self.unknown)
            if progress is None:
                return Outcome()
            return self._progress_alone(dataset_id, document_id, progress, detail, answer.error)

    def apply_segments(self, dataset_id: str, document_id: str, completed: Number) -> Outcome:
        """Take the number of completed segments of a document whose batch is not known."""
        with self._lock:
            before = self._documents.get((dataset_id, document_id))
            if before is None or before.batch:
                return Outcome(settled=True)
            progress = replace(before.progress, completed_segments=completed)
            outcome = self._progress_alone(dataset_id, document_id, progress, before.detail, None)
        return outcome._replace(settled=progress.status != "indexing", wanted=())

    def apply_listed(self, dataset_id: str, listed: Mapping[str, tuple[Progress, str | None]]) -> Outcome:
        """Take the unfinished documents that discovery found, all of them, each with its error text.

        Where a batch covers a document the batch serves it: it is only woken when it believes that all is done.
        """
        wanted: list[Target] = []
        events: list[Event] = []
        failures: list[Failure] = []
        with self._lock:
            for document_id, (told, error) in listed.items():
                before = self._known(dataset_id, document_id)
                if before is not None and before.batch and Target("batch", dataset_id, before.batch) in self._roster:
                    if before.progress.status in FINISHED:
                        wanted.append(Target("batch", dataset_id, before.batch))
                    continue
                progress = told
                if before is not None:
                    progress = replace(before.progress, status=told.status, has_error=told.has_error)
                if not self._pinned(dataset_id, document_id):
                    self._found.add((dataset_id, document_id))
                detail = before.detail if before else None
                if detail is None or before is None or before.progress.status != told.status:
                    wanted.append(Target("detail", dataset_id, document_id))
                outcome = self._progress_alone(dataset_id, document_id, progress, detail, error)
                wanted += outcome.wanted
                events += outcome.events
                failures += outcome.failures
            self._found |= {
                key for key, past in self._past_documents.items() if key[0] == dataset_id and not past.batch
            }
            for key in self._found:
                if key[0] == dataset_id and key[1] not in listed:
                    document = self._known(*key)
                    if document is not None and not document.batch and document.progress.status not in FINISHED:
                        wanted.append(Target("detail", *key))
        return Outcome(bool(events), not listed, tuple(wanted), (), tuple(events), tuple(failures))

    def _progress_alone(
        self, dataset_id: str, document_id: str, progress: Progress, detail: Detail | None, error: str | None
    ) -> Outcome:
        """Take the progress of a document whose batch is not known."""
        now = self._now()
        key = (dataset_id, document_id)
        before = self._known(dataset_id, document_id)
        new = Document(
            self._server, dataset_id, document_id, "", progress, detail, stalled=before.stalled if before else False
        )
        advanced, events = advance(before, new, now)
        judged, verdicts = judge(advanced, None, now=now, stall=self._stall)
        changed = before is None or key not in self._documents or before.progress.status != progress.status
        changes: list[Change] = []
        self._keep(judged, changes)
        failures = self._ledger.count(dataset_id, events, {document_id: error}, changes)
        self._tell(changes)
        wanted = []
        if progress.status == "indexing" or (changed and progress.status == "completed"):
            wanted.append(Target("segments", dataset_id, document_id))
        moved = before is None or not same(before.progress, progress)
        return Outcome(moved, progress.status in FINISHED, tuple(wanted), (), (*events, *verdicts), failures)

    def confirm_document(self, dataset_id: str, document_id: str) -> Outcome:
        """Take a detail that is the last one again, byte for byte."""
        with self._lock:
            before = self._documents.get((dataset_id, document_id))
            if before is None:
                return Outcome(settled=True)
            if before.batch:
                return Outcome(settled=before.progress.status in FINISHED)
            return self._progress_alone(dataset_id, document_id, before.progress, before.detail, None)

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

    def kept(self) -> list[Document | Batch | Activity]:
        """All that is to be kept over a restart."""
        with self._lock:
            return [*self._documents.values(), *self._batches.values(), *self._ledger.activities]

    def knowledge_base(self, dataset_id: str) -> KnowledgeBase:
        """What is known of a knowledge base itself."""
        return self._bases.get(dataset_id) or KnowledgeBase(self._server, dataset_id)

    def set_knowledge_base(self, new: KnowledgeBase) -> None:
        """Note what was learned of a knowledge base."""
        with self._lock:
            old = self._bases.get(new.dataset_id)
            if new != old:
                self._bases[new.dataset_id] = new
                self._tell([(old, new)])

    def open_dataset(self, dataset_id: str) -> None:
        """Count what happens in a knowledge base from now on."""
        with self._lock:
            changes: list[Change] = []
            self._ledger.open(dataset_id, changes)
            self._tell(changes)

    def forget_dataset(self, dataset_id: str) -> None:
        """The knowledge base is gone, with everything in it."""
        with self._lock:
            changes: list[Change] = []
            for key in [key for key in self._documents if key[0] == dataset_id]:
                changes.append((self._documents.pop(key), None))
                self._found.discard(key)
            names = [name for name in self._batches if name[0] == dataset_id]
            changes += [(self._batches.pop(name), None) for name in names]
            base = self._bases.pop(dataset_id, None)
            if base is not None:
                changes.append((base, None))
            self._ledger.close(dataset_id, changes)
            self._tell(changes)

    def expire(self, seconds: float) -> None:
        """Forget the documents that discovery found and that have been finished for so many seconds."""
        before = self.clock.monotonic() - seconds
        with self._lock:
            changes: list[Change] = []
            for key in list(self._found):
                document = self._known(*key)
                if document is None or document.batch:
                    self._found.discard(key)
                elif key not in self._documents:
                    continue
                elif document.progress.status in FINISHED and document.moved <= before:
                    self._found.discard(key)
                    del self._documents[key]
                    changes.append((document, None))
            self._tell(changes)

    def finished_for(self, dataset_id: str, batch: str) -> float | None:
        """How many seconds a batch has been finished; None while it is not, or not known."""
        found = self._batches.get((dataset_id, batch))
        if found is None or not is_settled(found):
            return None
        return self.clock.monotonic() - found.moved

    def forget_document(self, dataset_id: str, document_id: str) -> None:
        """The document is gone, unless a batch still names it."""
        with self._lock:
            old = self._documents.get((dataset_id, document_id))
            if old is not None and not old.batch:
                del self._documents[dataset_id, document_id]
                self._found.discard((dataset_id, document_id))
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
        """Tell the recorder, then the listener.

        On disk before anybody sees it: what was counted, and each document that is to be counted when it ends.
        """
        if changes:
            self._recorder.note(changes, at_once=any(_counts(old, new) for old, new in changes))
            self._listener.changed(changes)

    def _now(self) -> Now:
        return Now(self.clock.time(), self.clock.monotonic())

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
        return Target("document", dataset_id, document_id) in self._roster

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


def _counts(old: Tracked | None, new: Tracked | None) -> bool:
    """Whether a counter would be wrong after a kill that loses this change."""
    if isinstance(new, Document):
        return old is None and new.progress.status not in FINISHED
    return isinstance(new, Activity)
