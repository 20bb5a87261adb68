"""Merging answers into the store.

Several requests are under way at once, and each answer describes the server at some time after its request was sent
(``sent``, monotonic seconds). A document that another answer changed after that time stays as that answer reported it:
otherwise an end would be undone and counted again. What was ignored is fetched again.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from msgspec.structs import replace

from exporter.clock import instant
from exporter.tracking.events import Outcome, Wanted
from exporter.tracking.model import FINISHED, Document
from exporter.tracking.parse import merge_listed, parse_detail, parse_detail_progress, parse_item
from exporter.tracking.progress import advance, confirm_batch, is_same_progress, merge_batch, sum_batch, update_batch
from exporter.tracking.queued import observe_queued
from exporter.tracking.stall import stall_due, with_own_verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from exporter.dify import DocumentDetail, IndexingItem
    from exporter.tracking.events import Event
    from exporter.tracking.model import Detail, Number, Progress
    from exporter.tracking.objects import Objects
    from exporter.tracking.store import Store

_UNREPORTED_BY_LISTS = frozenset({"splitting", "indexing"})
"""While a document has one of these statuses its segments move, which a list does not report."""

_UNREPORTED_BY_DETAILS = frozenset({"indexing"})
"""While a document has this status its segments are completed, which a detail does not report."""


class Merger:
    """Merges the answers of one server into its store. Thread-safe: each merge is one transaction of the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

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
        now = instant(self._store.clock)
        progress = {item.id: parse_item(item, self._store.unknown) for item in items}
        with self._store.transaction() as objects:
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
            restored = [document_id for document_id in progress if (dataset_id, document_id) not in objects.documents]
            key = (dataset_id, batch)
            merged = merge_batch(
                (self._store.server, dataset_id, batch),
                objects.batches.get(key) or objects.restored_batches.get(key),
                lambda document_id: objects.document((dataset_id, document_id)),
                progress,
                now=now,
                limits=self._store.limits,
            )
            objects.put_batch(merged.batch)
            for document_id in merged.removed:
                objects.release_document((dataset_id, document_id), batch)
            if previous_success is not None:
                for before, after in merged.transitions:
                    self._store.offset.observe(before, after, since=previous_success, now=now.wall)
            events: list[Event] = [*merged.events]
            for document in merged.documents:
                seen, queued = observe_queued(document, self._store.offset.seconds)
                events += queued
                objects.put_document(seen)
            for other in merged.taken_from:
                self._sum_again(objects, dataset_id, other)
            failures = self._store.counters.count(dataset_id, events, {item.id: item.error for item in items})
        # A document from before a restart may have its detail; an unfinished one is fetched again all the same.
        again = [document_id for document_id in restored if progress[document_id].status not in FINISHED]
        return Outcome(
            moved=merged.moved,
            settled=all(found.status in FINISHED for found in progress.values()),
            wanted=Wanted(
                details=tuple(dict.fromkeys((*merged.changed, *again))),
                documents=objects.configured(dataset_id, merged.removed),
                batches=(batch,) if newer else (),
                missing=_without_detail(merged.documents),
            ),
            events=merged.events,
            failures=failures,
            stall_due=stall_due(merged.batch, self._store.limits),
            outdated=bool(newer),
        )

    def confirm_batch(self, dataset_id: str, batch: str) -> Outcome:
        """Merge an answer that repeats the last one byte for byte."""
        with self._store.transaction() as objects:
            old = objects.batches.get((dataset_id, batch))
            if old is None:
                return Outcome()
            members = [objects.documents[dataset_id, document_id] for document_id in old.documents]
            new, documents, events = confirm_batch(
                old, members, now=instant(self._store.clock), limits=self._store.limits
            )
            objects.put_batch(new)
            for document in documents:
                objects.put_document(document)
        return Outcome(
            settled=all(member.progress.status in FINISHED for member in members),
            wanted=Wanted(missing=_without_detail(members)),
            events=events,
            stall_due=stall_due(new, self._store.limits),
        )

    def apply_detail(
        self, dataset_id: str, answer: DocumentDetail, *, document_id: str, sent: float = inf, adopt: bool = True
    ) -> Outcome:
        """Merge the detail of a document. Its progress counts only while no batch reports more.

        ``adopt``: an unknown document is known from now on; otherwise it was removed while the request was under way.
        """
        detail = parse_detail(answer, self._store.unknown)
        key = (dataset_id, document_id)
        with self._store.transaction() as objects:
            if detail.rule is not None:
                detail = replace(detail, rule=objects.shared_rule(detail.rule))
            before = objects.document(key)
            if before is None and not adopt:
                return Outcome(settled=True)
            if before is not None and objects.is_covered(before):
                if key in objects.documents:
                    document, queued = observe_queued(replace(before, detail=detail), self._store.offset.seconds)
                    objects.put_document(document)
                    self._store.counters.count(dataset_id, queued, {})
                else:
                    objects.restored_documents[key] = replace(before, detail=detail)
                return Outcome(settled=before.progress.status in FINISHED)
            progress = parse_detail_progress(answer, before.progress if before else None, self._store.unknown)
            if progress is None:
                return Outcome()
            return self._merge_document(
                objects, key, progress, detail, answer.error, unreported=_UNREPORTED_BY_DETAILS, sent=sent
            )

    def confirm_document(self, dataset_id: str, document_id: str) -> Outcome:
        """Merge a detail that repeats the last one byte for byte."""
        key = (dataset_id, document_id)
        with self._store.transaction() as objects:
            before = objects.documents.get(key)
            if before is None:
                return Outcome()
            if before.batch:
                return Outcome(settled=before.progress.status in FINISHED)
            return self._merge_document(
                objects, key, before.progress, before.detail, None, unreported=_UNREPORTED_BY_DETAILS
            )

    def apply_segments(
        self, dataset_id: str, document_id: str, completed: Number | None, *, sent: float = inf
    ) -> Outcome:
        """Merge the number of completed segments of a document whose batch is unknown; None: the server refused."""
        key = (dataset_id, document_id)
        with self._store.transaction() as objects:
            before = objects.documents.get(key)
            if before is None or before.batch:
                return Outcome(settled=True)
            progress = before.progress
            if completed is not None:
                progress = replace(progress, completed_segments=completed)
            outcome = self._merge_document(objects, key, progress, before.detail, None, sent=sent)
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
        missing: list[str] = []
        with self._store.transaction() as objects:
            for document_id, (reported, error) in listed.items():
                key = (dataset_id, document_id)
                before = objects.document(key)
                if before is None or before.detail is None:
                    missing.append(document_id)
                if before is not None and objects.is_covered(before):
                    if before.progress.status in FINISHED:
                        batches.append(before.batch)
                    continue
                objects.unlisted.discard(key)
                if not objects.is_configured(key):
                    objects.discovered.add(key)
                detail = before.detail if before else None
                restored = key not in objects.documents
                if restored or before is None or before.progress.status != reported.status:
                    details.append(document_id)
                progress = reported if before is None else merge_listed(reported, before.progress)
                outcomes.append(
                    self._merge_document(
                        objects, key, progress, detail, error, unreported=_UNREPORTED_BY_LISTS, sent=sent
                    )
                )
            unlisted = objects.unfinished_except(dataset_id, listed)
            ended = [found.document_id for found in unlisted if paused or found.progress.status != "paused"]
            if complete:
                objects.unlisted |= {(dataset_id, document_id) for document_id in ended}
        for outcome in outcomes:
            details += outcome.wanted.details
        details += ended
        events = tuple(event for outcome in outcomes for event in outcome.events)
        return Outcome(
            moved=bool(events),
            settled=not listed and not unlisted,
            wanted=Wanted(
                batches=tuple(batches),
                details=tuple(details),
                segments=tuple(found for outcome in outcomes for found in outcome.wanted.segments),
                missing=tuple(missing),
            ),
            events=events,
            failures=tuple(failure for outcome in outcomes for failure in outcome.failures),
            stall_due=min((due for outcome in outcomes if (due := outcome.stall_due) is not None), default=None),
        )

    def _merge_document(
        self,
        objects: Objects,
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
        now = instant(self._store.clock)
        dataset_id, document_id = key
        before = objects.document(key)
        objects.unlisted.discard(key)
        moved = before is None or not is_same_progress(before.progress, progress)
        if before is not None and before.last_progress_monotonic > sent and moved:
            return Outcome(wanted=Wanted(details=(document_id,)), outdated=True)
        stalled = before.stalled if before else False
        new = Document(self._store.server, dataset_id, document_id, "", progress, detail, stalled=stalled)
        document, events = advance(before, new, now)
        document, queued = observe_queued(document, self._store.offset.seconds)
        conclusive = progress.status not in unreported
        if conclusive or document.stalled:
            document, verdicts = with_own_verdict(document, now=now, limits=self._store.limits)
            events = (*events, *verdicts)
        events = (*events, *queued)
        changed = before is None or key not in objects.documents or before.progress.status != progress.status
        objects.put_document(document)
        failures = self._store.counters.count(dataset_id, events, {document_id: error})
        needs_segments = progress.status == "indexing" or (changed and progress.status == "completed")
        return Outcome(
            moved=moved,
            settled=progress.status in FINISHED,
            wanted=Wanted(segments=(document_id,) if needs_segments else ()),
            events=events,
            failures=failures,
            stall_due=stall_due(document, self._store.limits) if conclusive else None,
        )

    def _sum_again(self, objects: Objects, dataset_id: str, batch: str) -> None:
        """Update a batch that has lost documents to another one."""
        old = objects.batches.get((dataset_id, batch))
        if old is None:
            return
        documents = (objects.documents.get((dataset_id, document_id)) for document_id in old.documents)
        members = [document for document in documents if document and document.batch == batch]
        total = sum_batch(self._store.server, dataset_id, batch, members)
        new, _ = update_batch(
            old, total, members, moved=True, now=instant(self._store.clock), limits=self._store.limits
        )
        objects.put_batch(new)


def _without_detail(documents: Iterable[Document]) -> tuple[str, ...]:
    """The ids of the documents whose detail is missing."""
    return tuple(document.document_id for document in documents if document.detail is None)
