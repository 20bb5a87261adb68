"""Whether each stall that the exporter reports is one, and whether it reports those of the undisturbed server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from bench.soak.config import AFTER, QUEUED_AFTER
from bench.soak.truth import IN_PROGRESS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bench.soak.truth import History

TOLERANCE: Final = 1.5
"""Seconds by which a report may be early: the truth is recorded ten times per second, answers arrive later."""

SEEN_WITHIN: Final = {"good": 8.0, "bad": 25.0}
"""Seconds in which the exporter must see that something moved again, through faults and backoff."""

STEP: Final = 0.5

REPORTED_WITHIN: Final = 35.0
"""Seconds after the limit in which a stall of the undisturbed server must have been reported."""


class Report(NamedTuple):
    """The exporter calls a document or batch (``kind``) stalled. ``source``: ``log`` or ``page``."""

    at: float
    source: str
    server: str
    dataset: str
    kind: str
    id: str


def false_stalls(reports: Iterable[Report], histories: Mapping[str, History]) -> Iterator[tuple[float, str]]:
    """When and what: reports of what was not still for the limit at any time shortly before; one for each subject."""
    found: set[tuple[str, str, str, str]] = set()
    for report in sorted(reports):
        subject = report[1:2] + report[3:]
        if subject not in found and not _is_true(report, histories[report.server]):
            found.add(subject)
            yield report.at, f"{report.source}: {report.kind} {report.id} of {report.dataset} is called stalled"


def _is_true(report: Report, history: History) -> bool:
    within = 4.0 if report.source == "log" and report.server == "good" else SEEN_WITHIN[report.server]
    check = document_is_still if report.kind == "document" else batch_is_still
    times = [report.at - within + number * STEP for number in range(int(within / STEP) + 2)]
    return any(check(history, report.dataset, report.id, at) for at in times)


def document_is_still(history: History, dataset: str, document: str, at: float) -> bool:
    """Whether a document has not moved for the limit; one that waits in a batch that began has the shorter one."""
    last = history.before(document, at)
    if last is None or last.status not in (*IN_PROGRESS, "waiting"):
        return False
    limit = AFTER
    if last.status == "waiting":
        siblings = (history.before(other, at) for other in history.members(dataset, last.batch))
        begun = any(other and other.batch == last.batch and other.status in IN_PROGRESS for other in siblings)
        limit = AFTER if begun else QUEUED_AFTER
    return at - last.at >= limit - TOLERANCE


def batch_is_still(history: History, dataset: str, batch: str, at: float) -> bool:
    """Whether a batch has unfinished documents and all of them are still."""
    unfinished = [
        document
        for document in history.members(dataset, batch)
        if (last := history.before(document, at)) and last.batch == batch and last.status in (*IN_PROGRESS, "waiting")
    ]
    return bool(unfinished) and all(document_is_still(history, dataset, each, at) for each in unfinished)


def unreported(reports: Iterable[Report], history: History, until: float) -> Iterator[tuple[float, str]]:
    """When and what: batches in which nothing moved for long enough, and no document was called stalled.

    ``until``: the end of the run.
    """
    called = {(report.dataset, report.id): report.at for report in reports}
    for document, movements in history.movements.items():
        dataset = history.datasets[document]
        for last, following in zip(movements, (*movements[1:], None), strict=True):
            limit = {"waiting": QUEUED_AFTER}.get(last.status, AFTER if last.status in IN_PROGRESS else None)
            if limit is None:
                continue
            due = last.at + limit + REPORTED_WITHIN
            ends = until if following is None else following.at
            if ends < due or not batch_is_still(history, dataset, last.batch, due):
                continue
            if (dataset, document) not in called and (dataset, last.batch) not in called:
                yield due, f"{last.status} document {document} of {dataset} was never called stalled"
