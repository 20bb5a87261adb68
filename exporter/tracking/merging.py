"""Merging answers into the store.

Several requests are under way at once, and each answer describes the server at some time after its request was sent
(``sent``, monotonic seconds). A document that another answer changed after that time stays as that answer reported it:
otherwise an end would be undone and counted again. What was ignored is fetched again.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from exporter.clock import instant
from exporter.tracking.attempt_start import attempt_began
from exporter.tracking.events import Outcome, Wanted
from exporter.tracking.model import FINISHED, STATUSES, Document
from exporter.tracking.parse import merge_listed, parse_detail, parse_detail_progress, parse_item
from exporter.tracking.progress import advance, confirm_batch, is_same_progress, merge_batch, sum_batch, update_batch
from exporter.tracking.queued import observe_queued
from exporter.tracking.stall import stall_due, with_own_verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from exporter.dify import DocumentDetail, IndexingItem
    from exporter.tracking.events import Event
    from exporter.tracking.model import Detail, Number, Progress, SeenLists
    from exporter.tracking.objects import Objects
    from exporter.tracking.store import Store

_UNREPORTED_BY_LISTS = frozenset({"splitting", "indexing"})
"""While a document has one of these statuses its segments move, which a list does not report."""

_UNREPORTED_BY_DETAILS = frozenset({"indexing"})
"""While a document has this status its segments are completed, which a detail does not report."""

UNFINISHED = frozenset(STATUSES) - FINISHED

LONGEST_GAP = 86_400.0
"""Seconds: what began longer ago is not counted at first sight. It may be known, but removed after the retention."""

CLOCK_TOLERANCE = 30.0
"""Seconds by which the server's clock may be ahead of the exporter's."""


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
            objects.recall_batch((dataset_id, batch))
            objects.recall_documents(dataset_id, progress)
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
                lambda document_id: objects.former((dataset_id, document_id)),
                progress,
                now=now,
                limits=self._store.limits,
                is_new=lambda found: self._is_new(objects, dataset_id, found.processing_started_at, batch),
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
            if adopt:
                objects.recall_documents(dataset_id, (document_id,))
            before = objects.former(key) if adopt else objects.document(key)
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
                objects,
                key,
                progress,
                detail,
                answer.error,
                unreported=_UNREPORTED_BY_DETAILS,
                sent=sent,
                is_new=self._is_new(objects, dataset_id, answer.created_at),
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

    def confirm_listed(self, dataset_id: str, document_id: str, *, segments: bool) -> Outcome:
        """Let the last list that contains a document show a stall, because requests about the document are refused.

        ``segments``: completed segments can be counted, so that a list alone says nothing while they are counted.
        """
        key = (dataset_id, document_id)
        with self._store.transaction() as objects:
            before = objects.documents.get(key)
            if before is None or before.batch or key in objects.unlisted:
                return Outcome()
            if segments and before.progress.status in _UNREPORTED_BY_DETAILS:
                return Outcome()
            document, events = with_own_verdict(before, now=instant(self._store.clock), limits=self._store.limits)
            objects.put_document(document)
        return Outcome(events=events, stall_due=stall_due(document, self._store.limits))

    def apply_listed(
        self,
        dataset_id: str,
        listed: Mapping[str, tuple[Progress, str | None]],
        *,
        new: Collection[str] = (),
        seen: SeenLists | None = None,
        sections: Collection[str] = UNFINISHED,
        beyond: bool = False,
        untraced: Collection[str] | None = (),
        sent: float = inf,
    ) -> Outcome:
        """Merge the document lists of a dataset: progress and error text by document id.

        - ``new``: the finished documents among them that began after the lists were last read.
        - ``seen``: what the lists contained, to be stored together with what is counted.
        - ``sections``: the statuses of unfinished documents of which every one is listed. One that had such a status
          and is missing has another one by now, or was deleted: its detail tells, as for one that had failed and has
          not any more. ``beyond``: others that are missing may be behind the pages that were read.
        - ``untraced``: documents that were missing before and that no other list contains. None: no missing one is in
          any list.

        A document that a batch covers is left to its batch, which is polled if it reports something else.
        """
        with self._store.transaction() as objects:
            objects.recall_dataset(dataset_id)
            ended = {found: progress.status for found, (progress, _) in listed.items() if progress.status in FINISHED}
            objects.recall_documents(dataset_id, listed, {key: ended[key] for key in ended.keys() - set(new)})
            outcomes = [
                self._merge_listed(objects, (dataset_id, document_id), *reported, is_new=document_id in new, sent=sent)
                for document_id, reported in listed.items()
            ]
            absent = _find_absent(objects, dataset_id, listed, seen, sections)
            objects.unlisted |= {(dataset_id, document_id) for document_id in absent.ended}
            gone = absent.gone | absent.unfinished if beyond else absent.gone
            nowhere = gone if untraced is None else gone.intersection(untraced)
            objects.untraced |= {(dataset_id, document_id) for document_id in nowhere}
            if seen is not None:
                objects.put_lists(seen)
        finished = all(progress.status in FINISHED for progress, _ in listed.values())
        events = tuple(event for outcome in outcomes for event in outcome.events)
        return Outcome(
            moved=bool(events),
            settled=finished and not absent.unfinished,
            wanted=Wanted(
                batches=tuple(dict.fromkeys(batch for outcome in outcomes for batch in outcome.wanted.batches)),
                details=tuple(
                    dict.fromkeys((*(id_ for found in outcomes for id_ in found.wanted.details), *sorted(gone)))
                ),
                segments=tuple(found for outcome in outcomes for found in outcome.wanted.segments),
                missing=tuple(found for outcome in outcomes for found in outcome.wanted.missing),
            ),
            events=events,
            failures=tuple(failure for outcome in outcomes for failure in outcome.failures),
            stall_due=min((due for outcome in outcomes if (due := outcome.stall_due) is not None), default=None),
        )

    def _merge_listed(
        self,
        objects: Objects,
        key: tuple[str, str],
        reported: Progress,
        error: str | None,
        *,
        is_new: bool,
        sent: float,
    ) -> Outcome:
        """Merge one document of a list. The caller publishes the changes."""
        _, document_id = key
        before = objects.former(key)
        finished = reported.status in FINISHED
        if before is None and finished and not is_new:
            return Outcome()
        detail = before.detail if before else None
        missing = () if detail else (document_id,)
        if before is not None and objects.is_covered(before):
            batches = (before.batch,) if _contradicts(before.progress.status, reported.status) else ()
            return Outcome(wanted=Wanted(batches=batches, missing=missing))
        objects.relist(key)
        if before is not None and finished and reported.status == before.progress.status:
            return Outcome(wanted=Wanted(missing=missing))
        if not objects.is_configured(key):
            objects.discovered.add(key)
        is_known = before is not None and key in objects.documents
        changed = not is_known or before is None or before.progress.status != reported.status
        progress = reported if before is None else merge_listed(reported, before.progress)
        outcome = self._merge_document(
            objects, key, progress, detail, error, unreported=_UNREPORTED_BY_LISTS, sent=sent, is_new=is_new
        )
        details = (document_id,) if changed else outcome.wanted.details
        return outcome._replace(wanted=outcome.wanted._replace(details=details, missing=missing))

    def _is_new(self, objects: Objects, dataset_id: str, started: Number | None, batch: str = "") -> bool:
        """Whether an attempt of an unknown document began after the exporter first looked.

        What began before the last look at the document lists of the dataset, if these are read, was counted then.
        """
        began = attempt_began(started, batch, self._store.offset)
        if began is None:
            return False
        seen = objects.seen_lists(dataset_id)
        first = self._store.counters.start(dataset_id).since or 0.0
        now = self._store.clock.time()
        # In the future only if the clocks differ: then it is not known when the attempt began.
        return max(first, now - LONGEST_GAP, seen.read_at if seen else 0.0) < began + 1 <= now + CLOCK_TOLERANCE

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
        is_new: bool = False,
    ) -> Outcome:
        """Merge the progress of a document whose batch is unknown. The caller publishes the changes.

        ``unreported``: the statuses in which the answer does not report everything that can move. Such an answer
        cannot show a stall: what it leaves out may have moved. ``is_new``: as for ``advance``.
        """
        now = instant(self._store.clock)
        dataset_id, document_id = key
        before = objects.former(key)
        objects.relist(key)
        moved = before is None or not is_same_progress(before.progress, progress)
        if before is not None and before.last_progress_monotonic > sent and moved:
            return Outcome(wanted=Wanted(details=(document_id,)), outdated=True)
        stalled = before.stalled if before else False
        new = Document(self._store.server, dataset_id, document_id, "", progress, detail, stalled=stalled)
        document, events = advance(before, new, now, is_new=is_new)
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


def _contradicts(known: str, listed: str) -> bool:
    """Whether the status in a list shows that a batch has to be read again. A batch calls finished documents paused."""
    if known in FINISHED or listed in FINISHED:
        return known not in (listed, "paused")
    return False


class _Absent(NamedTuple):
    """The ids of known documents that are in no list. ``ended``: not unfinished any more; ``gone``: changed at all."""

    unfinished: set[str]
    ended: set[str]
    gone: set[str]


def _find_absent(
    objects: Objects,
    dataset_id: str,
    listed: Collection[str],
    seen: SeenLists | None,
    sections: Collection[str],
) -> _Absent:
    """What the lists say by leaving documents out. The arguments are those of ``apply_listed``."""
    absent = {each.document_id: each.progress.status for each in objects.discovered_except(dataset_id, listed)}
    recovered = _no_longer_failed(objects.seen_lists(dataset_id), seen)
    ended = {document_id for document_id, status in absent.items() if status in sections}
    unfinished = {document_id for document_id, status in absent.items() if status not in FINISHED}
    return _Absent(unfinished, ended, ended | (absent.keys() & recovered))


def _no_longer_failed(before: SeenLists | None, after: SeenLists | None) -> frozenset[str]:
    """The documents that had failed and have not any more."""
    if before is None or after is None or before.failed is None or after.failed is None:
        return frozenset()
    return before.failed - after.failed
