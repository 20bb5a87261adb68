"""What one server's answers make of everything that is known of it.

Several requests are under way at once, and each answer describes the server at some time after its request was sent
(``sent``, monotonic seconds). A document that another answer changed after that time stays as that answer reported it:
otherwise an end would be undone and counted again. What was ignored is fetched again.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING

from msgspec.structs import replace

from exporter.clock import instant
from exporter.config import StallLimits
from exporter.tracking.clock_offset import ClockOffset
from exporter.tracking.counters import Counters
from exporter.tracking.error_reasons import PATTERNS
from exporter.tracking.events import NOTHING_WANTED, Outcome, Wanted
from exporter.tracking.model import FINISHED, Document, is_finished
from exporter.tracking.objects import Objects, Watched, must_survive
from exporter.tracking.parse import merge_listed, parse_detail, parse_detail_progress, parse_item
from exporter.tracking.progress import advance, confirm_batch, is_same_progress, merge_batch, sum_batch, update_batch
from exporter.tracking.stall import stall_due, with_own_verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from exporter.clock import Clock
    from exporter.dify import DocumentDetail, IndexingItem
    from exporter.tracking.error_reasons import Pattern
    from exporter.tracking.model import Batch, ChangeListener, Dataset, DatasetCounters, Detail, Number, Progress
    from exporter.tracking.objects import SavedObjects

DEFAULT_LIMITS = StallLimits()

_UNREPORTED_BY_LISTS = frozenset({"splitting", "indexing"})
"""While a document has one of these statuses its segments move, which a list does not report."""

_UNREPORTED_BY_DETAILS = frozenset({"indexing"})
"""While a document has this status its segments are completed, which a detail does not report."""


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
    ) -> None:
        """``unknown`` is called with the field's name for every value that is not a known one."""
        self._server = server
        self._listeners = tuple(listeners)
        self.unknown = unknown
        self.clock = clock
        self._limits = limits
        self.offset = ClockOffset()
        self._objects = Objects(server, watched)
        self._counters = Counters(server, patterns, self._objects.add_change)
        self._lock = threading.Lock()

    def reconfigure(self, limits: StallLimits, patterns: Sequence[Pattern]) -> None:
        """Use other stall limits and error patterns from the next answer on."""
        with self._lock:
            self._limits = limits
            self._counters.patterns = patterns

    def restore(self, saved: SavedObjects) -> None:
        """Continue from what was known before a restart."""
        with self._lock:
            self._objects.restore(saved)
            self._counters.restore(saved.counters)

    def close(self) -> None:
        """Remove everything and inform nobody any more: answers under way come too late."""
        with self._transaction() as objects:
            counted = {counters.dataset_id for counters in self._counters.all()}
            for dataset_id in objects.dataset_ids() | counted:
                objects.remove_dataset(dataset_id)
                self._counters.stop(dataset_id)
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

    def saved_objects(self) -> list[Document | Batch | DatasetCounters]:
        """Everything that is to survive a restart."""
        with self._lock:
            objects = self._objects
            return [*objects.documents.values(), *objects.batches.values(), *self._counters.all()]

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
        """Token for the stored result of the document's last answer; it changes when that result is replaced."""
        document = self._objects.documents.get((dataset_id, document_id))
        return document and (document.batch or document.last_progress_monotonic)

    def watch_dataset(self, dataset_id: str) -> None:
        """Count the events of a dataset from now on."""
        with self._transaction():
            self._counters.start(dataset_id)

    def put_dataset(self, new: Dataset) -> None:
        """Store what was learned of a dataset."""
        with self._transaction() as objects:
            objects.put_dataset(new)

    def remove_dataset(self, dataset_id: str) -> Wanted:
        """Remove the dataset with everything in it."""
        with self._transaction() as objects:
            objects.remove_dataset(dataset_id)
            self._counters.stop(dataset_id)
        return NOTHING_WANTED

    def remove_batch(self, dataset_id: str, batch: str) -> Wanted:
        """Remove the batch, and each document in it that the configuration does not name: those are to be polled."""
        with self._transaction() as objects:
            members = objects.remove_batch((dataset_id, batch))
            return Wanted(documents=objects.configured(dataset_id, members))

    def remove_document(self, dataset_id: str, document_id: str) -> Wanted:
        """Remove the document unless a batch still contains it: servers before 1.5.1 have no details."""
        with self._transaction() as objects:
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
        with self._transaction() as objects:
            objects.remove_expired(self.clock.monotonic() - seconds)

    def apply_batch(
        self,
        dataset_id: str,
        batch: str,
        items: list[IndexingItem],
        *,
        sent: float = inf,
        previous_success: float | None = None,
    ) -> Outcome:
        """Merge an answer of indexing-status.

        ``previous_success``: when the batch was last read (Unix seconds of the exporter), None when its last poll
        failed; it bounds the clock offset.
        """
        now = instant(self.clock)
        progress = {item.id: parse_item(item, self.unknown) for item in items}
        with self._transaction() as objects:
            newer = [
                known
                for document_id in progress
                if (known := objects.document((dataset_id, document_id))) and known.last_progress_monotonic > sent
            ]
            for known in newer:
                if known.batch in (batch, ""):
                    progress[known.document_id] = known.progress
                else:
                    del progress[known.document_id]
            unseen = [document_id for document_id in progress if (dataset_id, document_id) not in objects.documents]
            key = (dataset_id, batch)
            merged = merge_batch(
                (self._server, dataset_id, batch),
                objects.batches.get(key) or objects.restored_batches.get(key),
                lambda document_id: objects.document((dataset_id, document_id)),
                progress,
                now=now,
                limits=self._limits,
            )
            objects.put_batch(merged.batch)
            for document_id in merged.removed:
                objects.release_document((dataset_id, document_id), batch)
            for document in merged.documents:
                objects.put_document(document)
            for other in merged.taken_from:
                self._sum_again(dataset_id, other)
            if previous_success is not None:
                for before, after in merged.transitions:
                    self.offset.observe(before, after, since=previous_success, now=now.wall)
            failures = self._counters.count(dataset_id, merged.events, {item.id: item.error for item in items})
        # A document from before a restart has its detail; an unfinished one is fetched again all the same.
        again = [document_id for document_id in unseen if progress[document_id].status not in FINISHED]
        return Outcome(
            moved=merged.moved,
            settled=all(found.status in FINISHED for found in progress.values()),
            wanted=Wanted(
                details=tuple(dict.fromkeys((*merged.changed, *again))),
                documents=self._objects.configured(dataset_id, merged.removed),
                batches=(batch,) if newer else (),
            ),
            events=merged.events,
            failures=failures,
            stall_due=stall_due(merged.batch, self._limits),
            outdated=bool(newer),
        )

    def confirm_batch(self, dataset_id: str, batch: str) -> Outcome:
        """Merge an answer that repeats the last one byte for byte."""
        with self._transaction() as objects:
            old = objects.batches.get((dataset_id, batch))
            if old is None:
                return Outcome()
            members = [objects.documents[dataset_id, document_id] for document_id in old.documents]
            new, documents, events = confirm_batch(old, members, now=instant(self.clock), limits=self._limits)
            objects.put_batch(new)
            for document in documents:
                objects.put_document(document)
        settled = all(member.progress.status in FINISHED for member in members)
        return Outcome(settled=settled, events=events, stall_due=stall_due(new, self._limits))

    def apply_detail(
        self, dataset_id: str, answer: DocumentDetail, *, document_id: str, sent: float = inf, adopt: bool = True
    ) -> Outcome:
        """Merge the detail of a document. Its progress counts only while no batch reports more.

        ``adopt``: an unknown document is known from now on; otherwise it was removed while the request was under way.
        """
        detail = parse_detail(answer, self.unknown)
        key = (dataset_id, document_id)
        with self._transaction() as objects:
            if detail.rule is not None:
                detail = replace(detail, rule=objects.shared_rule(detail.rule))
            before = objects.document(key)
            if before is None and not adopt:
                return Outcome(settled=True)
            if before is not None and objects.is_covered(before):
                if key not in objects.documents:
                    return Outcome()
                objects.put_document(replace(before, detail=detail))
                return Outcome(settled=before.progress.status in FINISHED)
            progress = parse_detail_progress(answer, before.progress if before else None, self.unknown)
            if progress is None:
                return Outcome()
            return self._merge_document(
                key, progress, detail, answer.error, unreported=_UNREPORTED_BY_DETAILS, sent=sent
            )

    def confirm_document(self, dataset_id: str, document_id: str) -> Outcome:
        """Merge a detail that repeats the last one byte for byte."""
        key = (dataset_id, document_id)
        with self._transaction() as objects:
            before = objects.documents.get(key)
            if before is None:
                return Outcome()
            if before.batch:
                return Outcome(settled=before.progress.status in FINISHED)
            return self._merge_document(key, before.progress, before.detail, None, unreported=_UNREPORTED_BY_DETAILS)

    def apply_segments(
        self, dataset_id: str, document_id: str, completed: Number | None, *, sent: float = inf
    ) -> Outcome:
        """Merge the number of completed segments of a document whose batch is unknown; None: the server refused."""
        key = (dataset_id, document_id)
        with self._transaction() as objects:
            before = objects.documents.get(key)
            if before is None or before.batch:
                return Outcome(settled=True)
            progress = before.progress
            if completed is not None:
                progress = replace(progress, completed_segments=completed)
            outcome = self._merge_document(key, progress, before.detail, None, sent=sent)
        settled = progress.status != "indexing" and not outcome.outdated
        return outcome._replace(settled=settled, wanted=Wanted())

    def apply_listed(
        self,
        dataset_id: str,
        listed: Mapping[str, tuple[Progress, str | None]],
        *,
        paused: bool = True,
        complete: bool = True,
        sent: float = inf,
    ) -> Outcome:
        """Merge the list of the unfinished documents of a dataset: progress and error text by document id.

        ``paused``: the list includes paused documents; otherwise one that is not listed may still be paused.
        ``complete``: a document that is not listed is not unfinished any more.
        A document that a batch covers is left to its batch, which is polled if it believes that the document finished.
        """
        outcomes: list[Outcome] = []
        batches: list[str] = []
        details: list[str] = []
        with self._transaction() as objects:
            for document_id, (reported, error) in listed.items():
                key = (dataset_id, document_id)
                before = objects.document(key)
                if before is not None and objects.is_covered(before):
                    if before.progress.status in FINISHED:
                        batches.append(before.batch)
                    continue
                objects.unlisted.discard(key)
                if not objects.is_configured(key):
                    objects.discovered.add(key)
                detail = before.detail if before else None
                restored = key not in objects.documents
                if restored or detail is None or before is None or before.progress.status != reported.status:
                    details.append(document_id)
                progress = reported if before is None else merge_listed(reported, before.progress)
                outcomes.append(
                    self._merge_document(key, progress, detail, error, unreported=_UNREPORTED_BY_LISTS, sent=sent)
                )
            missing = objects.unfinished_except(dataset_id, listed)
            ended = [found.document_id for found in missing if paused or found.progress.status != "paused"]
            if complete:
                objects.unlisted |= {(dataset_id, document_id) for document_id in ended}
        for outcome in outcomes:
            details += outcome.wanted.details
        details += ended
        events = tuple(event for outcome in outcomes for event in outcome.events)
        return Outcome(
            moved=bool(events),
            settled=not listed and not missing,
            wanted=Wanted(
                batches=tuple(batches),
                details=tuple(details),
                segments=tuple(found for outcome in outcomes for found in outcome.wanted.segments),
            ),
            events=events,
            failures=tuple(failure for outcome in outcomes for failure in outcome.failures),
            stall_due=min((due for outcome in outcomes if (due := outcome.stall_due) is not None), default=None),
        )

    def _merge_document(
        self,
        key: tuple[str, str],
        progress: Progress,
        detail: Detail | None,
        error: str | None,
        *,
        unreported: frozenset[str] = frozenset(),
        sent: float = inf,
    ) -> Outcome:
        """Merge the progress of a document whose batch is unknown. The caller publishes the changes.

        ``unreported``: the statuses in which the answer does not report everything that can move. Such an answer
        cannot show a stall: what it leaves out may have moved.
        """
        now = instant(self.clock)
        dataset_id, document_id = key
        before = self._objects.document(key)
        self._objects.unlisted.discard(key)
        moved = before is None or not is_same_progress(before.progress, progress)
        if before is not None and before.last_progress_monotonic > sent and moved:
            return Outcome(wanted=Wanted(details=(document_id,)), outdated=True)
        stalled = before.stalled if before else False
        new = Document(self._server, dataset_id, document_id, "", progress, detail, stalled=stalled)
        document, events = advance(before, new, now)
        conclusive = progress.status not in unreported
        if conclusive or document.stalled:
            document, verdicts = with_own_verdict(document, now=now, limits=self._limits)
            events = (*events, *verdicts)
        changed = before is None or key not in self._objects.documents or before.progress.status != progress.status
        self._objects.put_document(document)
        failures = self._counters.count(dataset_id, events, {document_id: error})
        needs_segments = progress.status == "indexing" or (changed and progress.status == "completed")
        return Outcome(
            moved=moved,
            settled=progress.status in FINISHED,
            wanted=Wanted(segments=(document_id,) if needs_segments else ()),
            events=events,
            failures=failures,
            stall_due=stall_due(document, self._limits) if conclusive else None,
        )

    def _sum_again(self, dataset_id: str, batch: str) -> None:
        """Update a batch that has lost documents to another one."""
        objects = self._objects
        old = objects.batches.get((dataset_id, batch))
        if old is None:
            return
        documents = (objects.documents.get((dataset_id, document_id)) for document_id in old.documents)
        members = [document for document in documents if document and document.batch == batch]
        total = sum_batch(self._server, dataset_id, batch, members)
        new, _ = update_batch(old, total, members, moved=True, now=instant(self.clock), limits=self._limits)
        objects.put_batch(new)

    @contextmanager
    def _transaction(self) -> Iterator[Objects]:
        """The objects, to be changed; then the listeners get all changes in one call, so that nobody sees a part."""
        with self._lock:
            yield self._objects
            changes = self._objects.take_changes()
            if changes:
                durable = any(map(must_survive, changes))
                for listener in self._listeners:
                    listener.changed(changes, durable=durable)
