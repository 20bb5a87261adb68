"""Applies the answers of one server to its stored objects and publishes what changed."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from msgspec.structs import replace

from exporter.tracking.fold import fold_batch, refold_batch
from exporter.tracking.model import Document
from exporter.tracking.objects import ObjectStore
from exporter.tracking.outcome import Outcome
from exporter.tracking.parse import FINISHED, progress_of_detail, progress_of_list, read_detail, read_item, sum_batch
from exporter.tracking.progress import advance, gather, judge, same, verdict_at
from exporter.tracking.targets import Target

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from exporter.dify import DocumentDetail, IndexingItem
    from exporter.tracking.event_counters import Failure
    from exporter.tracking.model import Change, Detail, Number, Progress
    from exporter.tracking.progress import Event


_UNTOLD_BY_LISTS = frozenset({"splitting", "indexing"})
"""Statuses in which segments make progress that a list does not report."""

_UNTOLD_BY_DETAILS = frozenset({"indexing"})
"""Statuses in which segments are completed, which a detail does not report."""


class Store(ObjectStore):
    """Applies the answers of one server.

    Several requests run at once, and each answer describes some time after its request was sent (``asked``, monotonic
    seconds). A document with newer progress keeps it: otherwise an end would be reverted and counted again. What was
    ignored in an answer is fetched again.
    """

    def apply_batch(self, dataset_id: str, batch: str, items: list[IndexingItem], *, asked: float = inf) -> Outcome:
        """Apply an answer of indexing-status."""
        now = self._now()
        progress = {item.id: read_item(item, self.unknown) for item in items}
        with self._lock:
            newer = [known for found in progress if (known := self._known(dataset_id, found)) and known.moved > asked]
            for known in newer:
                if known.batch in (batch, ""):
                    progress[known.document_id] = known.progress
                else:
                    del progress[known.document_id]
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
            since = self._statuses.last_read(Target("batch", dataset_id, batch))
            if since is not None:
                for before, after in folded.moves:
                    self.offset.observe(before, after, since=since, now=now.wall)
            errors = {item.id: item.error for item in items}
            failures = self._counters.count(dataset_id, folded.events, errors, changes)
            self._tell(changes)
        settled = all(found.status in FINISHED for found in progress.values())
        # A restored document has a detail; while it is unfinished, fetch the detail again nevertheless.
        again = [document_id for document_id in unseen if progress[document_id].status not in FINISHED]
        wanted = [Target("detail", dataset_id, document_id) for document_id in dict.fromkeys((*folded.changed, *again))]
        wanted += self._named(dataset_id, folded.left)
        if newer:
            wanted.append(Target("batch", dataset_id, batch))
        verdict = verdict_at(folded.batch, self._stall)
        return Outcome(folded.moved, settled, tuple(wanted), (), folded.events, failures, verdict, bool(newer))

    def confirm_batch(self, dataset_id: str, batch: str) -> Outcome:
        """Apply an answer that is byte-identical to the last one."""
        with self._lock:
            old = self._batches.get((dataset_id, batch))
            if old is None:
                return Outcome()
            held = [self._documents[dataset_id, document_id] for document_id in old.documents]
            new, documents, events = refold_batch(old, held, now=self._now(), stall=self._stall)
            changes: list[Change] = []
            if new != old:
                self._batches[dataset_id, batch] = new
                changes.append((old, new))
            for document in documents:
                self._keep(document, changes)
            self._tell(changes)
        settled = all(found.progress.status in FINISHED for found in held)
        return Outcome(moved=False, settled=settled, events=events, verdict_at=verdict_at(new, self._stall))

    def apply_detail(
        self, dataset_id: str, answer: DocumentDetail, *, document_id: str, asked: float = inf, begins: bool = True
    ) -> Outcome:
        """Apply the detail of a document. Its progress counts only while no batch reports the document.

        ``begins``: an unknown document is added. Otherwise it was removed during the request.
        """
        detail = read_detail(answer, self.unknown)
        with self._lock:
            if detail.rule is not None:
                detail = replace(detail, rule=self._rules.setdefault(detail.rule, detail.rule))
            before = self._known(dataset_id, document_id)
            if before is None and not begins:
                return Outcome(settled=True)
            if before is not None and self._is_covered(before):
                if (dataset_id, document_id) not in self._documents:
                    return Outcome()
                changes: list[Change] = []
                self._keep(replace(before, detail=detail), changes)
                self._tell(changes)
                return Outcome(settled=before.progress.status in FINISHED)
            progress = progress_of_detail(answer, before.progress if before else None, self.unknown)
            if progress is None:
                return Outcome()
            return self._progress_alone(
                dataset_id, document_id, progress, detail, answer.error, untold=_UNTOLD_BY_DETAILS, asked=asked
            )

    def apply_segments(
        self, dataset_id: str, document_id: str, completed: Number | None, *, asked: float = inf
    ) -> Outcome:
        """Apply the completed segments of a document whose batch is unknown; None: the server rejected the request."""
        with self._lock:
            before = self._documents.get((dataset_id, document_id))
            if before is None or before.batch:
                return Outcome(settled=True)
            progress = before.progress
            if completed is not None:
                progress = replace(progress, completed_segments=completed)
            outcome = self._progress_alone(dataset_id, document_id, progress, before.detail, None, asked=asked)
        return outcome._replace(settled=progress.status != "indexing" and not outcome.outdated, wanted=())

    def apply_listed(
        self,
        dataset_id: str,
        listed: Mapping[str, tuple[Progress, str | None]],
        *,
        paused: bool = True,
        asked: float = inf,
    ) -> Outcome:
        """Apply a document scan: all unfinished documents that discovery found, each with its error text.

        ``paused``: paused documents are included; otherwise a missing one may still be paused. A document that a batch
        reports is skipped; its batch is polled at once if the document is believed to be finished.
        """
        wanted: list[Target] = []
        events: list[Event] = []
        failures: list[Failure] = []
        verdicts: list[float] = []
        with self._lock:
            for document_id, (told, error) in listed.items():
                before = self._known(dataset_id, document_id)
                if before is not None and self._is_covered(before):
                    if before.progress.status in FINISHED:
                        wanted.append(Target("batch", dataset_id, before.batch))
                    continue
                progress = told if before is None else progress_of_list(told, before.progress)
                if not self._pinned(dataset_id, document_id):
                    self._found.add((dataset_id, document_id))
                detail = before.detail if before else None
                recalled = (dataset_id, document_id) not in self._documents
                if recalled or detail is None or before is None or before.progress.status != told.status:
                    wanted.append(Target("detail", dataset_id, document_id))
                outcome = self._progress_alone(
                    dataset_id, document_id, progress, detail, error, untold=_UNTOLD_BY_LISTS, asked=asked
                )
                wanted += outcome.wanted
                events += outcome.events
                failures += outcome.failures
                if outcome.verdict_at is not None:
                    verdicts.append(outcome.verdict_at)
            missing = list(self._missing(dataset_id, listed))
            wanted += [
                Target("detail", dataset_id, document.document_id)
                for document in missing
                if paused or document.progress.status != "paused"
            ]
        settled = not listed and not missing
        verdict = min(verdicts, default=None)
        return Outcome(bool(events), settled, tuple(wanted), (), tuple(events), tuple(failures), verdict)

    def _missing(self, dataset_id: str, listed: Collection[str]) -> Iterator[Document]:
        """Discovered documents that are unfinished, as far as known, but not listed."""
        recalled = ((key, past) for key, past in self._past_documents.items() if key[0] == dataset_id)
        self._found |= {key for key, past in recalled if not self._is_covered(past)}
        for key in self._found:
            if key[0] == dataset_id and key[1] not in listed:
                document = self._known(*key)
                if document is None or self._is_covered(document) or document.progress.status in FINISHED:
                    continue
                yield document

    def _progress_alone(
        self,
        dataset_id: str,
        document_id: str,
        progress: Progress,
        detail: Detail | None,
        error: str | None,
        *,
        untold: frozenset[str] = frozenset(),
        asked: float = inf,
    ) -> Outcome:
        """Apply the progress of a document whose batch is unknown.

        ``untold``: the statuses in which the answer does not report everything that can make progress. It cannot prove
        a stall then.
        """
        now = self._now()
        key = (dataset_id, document_id)
        before = self._known(dataset_id, document_id)
        if before is not None and before.moved > asked and not same(before.progress, progress):
            return Outcome(wanted=(Target("detail", dataset_id, document_id),), outdated=True)
        new = Document(
            self._server, dataset_id, document_id, "", progress, detail, stalled=before.stalled if before else False
        )
        advanced, events = advance(before, new, now)
        tells = advanced.progress.status not in untold
        judged, verdicts = judge(advanced, None, now=now, stall=self._stall)
        if judged.stalled and not advanced.stalled and not tells:
            judged, verdicts = advanced, ()
        changed = before is None or key not in self._documents or before.progress.status != progress.status
        changes: list[Change] = []
        self._keep(judged, changes)
        failures = self._counters.count(dataset_id, events, {document_id: error}, changes)
        self._tell(changes)
        wanted = []
        if progress.status == "indexing" or (changed and progress.status == "completed"):
            wanted.append(Target("segments", dataset_id, document_id))
        moved = before is None or not same(before.progress, progress)
        verdict = verdict_at(judged, self._stall) if tells else None
        settled = progress.status in FINISHED
        return Outcome(moved, settled, tuple(wanted), (), (*events, *verdicts), failures, verdict)

    def confirm_document(self, dataset_id: str, document_id: str) -> Outcome:
        """Apply a detail that is byte-identical to the last one."""
        with self._lock:
            before = self._documents.get((dataset_id, document_id))
            if before is None:
                return Outcome()
            if before.batch:
                return Outcome(settled=before.progress.status in FINISHED)
            return self._progress_alone(
                dataset_id, document_id, before.progress, before.detail, None, untold=_UNTOLD_BY_DETAILS
            )

    def _resum(self, dataset_id: str, batch: str, changes: list[Change]) -> None:
        """Recompute the sums of a batch that has lost documents."""
        old = self._batches.get((dataset_id, batch))
        if old is None:
            return
        members = (self._documents.get((dataset_id, document_id)) for document_id in old.documents)
        held = [member for member in members if member and member.batch == batch]
        summed = sum_batch(self._server, dataset_id, batch, held)
        new, _ = gather(old, summed, held, moved=True, now=self._now(), stall=self._stall)
        self._batches[dataset_id, batch] = new
        changes.append((old, new))
