"""Actions on documents, as the server performs them: which fields each one writes and which it leaves stale."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from msgspec.structs import replace

from exporter.simulator.documents import UNFINISHED

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.simulator.documents import Document
    from exporter.simulator.scenario import Action
    from exporter.simulator.workers import Workers


def perform(action: Action, document: Document, workers: Workers, now: float) -> None:
    """Perform an action on a document."""
    _ACTIONS[action.kind](document, action, workers, now)


def delete(document: Document, workers: Workers, now: float) -> None:
    """Delete a document; a task without documents is canceled."""
    document.leave_batch()
    del document.dataset.documents[document.id]
    document.deleted = True
    if document.task is not None and all(other.deleted for other in document.task.documents):
        workers.cancel(document.task, now)


def _pause(document: Document, _action: Action, workers: Workers, now: float) -> None:
    """Pause the document. If it is being indexed, indexing stops at once, and the whole task with it."""
    document.paused = True
    document.row = replace(document.row, paused_at=now)
    timeline, task = document.timeline, document.task
    if timeline is None or task is None or now >= timeline.worker_free or timeline.turn == inf:
        return
    document.timeline = timeline.paused(now)
    document.outcome_at = inf
    task.abandon_after(document)
    workers.release_at(task, document.timeline.interrupted)


def _resume(document: Document, _action: Action, workers: Workers, now: float) -> None:
    """Resume the document as a task of its own. Its siblings do not move. An outcome happens only once."""
    if not document.paused:
        return
    document.end_attempt(now)
    document.paused = False
    if document.outcome_at <= now:
        document.attempt = replace(document.attempt, outcome="completes")
    document.row = replace(document.row, paused_at=None)
    if document.row.status in UNFINISHED or document.row.status == "waiting":
        document.resuming = True
        workers.submit((document,), now)


def _retry(document: Document, action: Action, workers: Workers, now: float) -> None:
    """Set the document to waiting; everything else from the last attempt stays."""
    document.end_attempt(now)
    document.row = replace(document.row, status="waiting")
    _start_attempt(document, action, workers, now)


def _reupload(document: Document, action: Action, workers: Workers, now: float) -> None:
    """Upload the same name again: the document moves to the new batch and disappears from the old one."""
    document.end_attempt(now)
    document.row = replace(document.row, status="waiting", updated=now)
    document.leave_batch()
    document.enter_batch(action.into or document.dataset.new_batch_id(now))
    _start_attempt(document, action, workers, now)


def _update(document: Document, action: Action, workers: Workers, now: float) -> None:
    """Replace the text: stage times are cleared, ``error`` and ``stopped`` stay, old segments become outdated."""
    document.end_attempt(now)
    row = document.row
    document.row = replace(
        row,
        status="waiting",
        started=None,
        parsed=None,
        split=None,
        completed_at=None,
        completed=0,
        total=0,
        outdated=row.total + row.outdated,
        updated=now,
    )
    document.created_from = "web"
    document.name = action.name or document.name
    _start_attempt(document, action, workers, now)


def _start_attempt(document: Document, action: Action, workers: Workers, now: float) -> None:
    """Start a new attempt, unless its message is lost."""
    document.attempt = action.attempt or replace(document.attempt, outcome="completes", missing=0)
    document.resuming = False
    document.task = None
    if not action.lost:
        workers.submit((document,), now)


def _fall_back(document: Document, _action: Action, _workers: Workers, now: float) -> None:
    """What a change of the embedding model does in bulk: it changes the status and no timestamp."""
    document.end_attempt(now)
    document.row = replace(document.row, status="indexing")


def _come_back(document: Document, _action: Action, _workers: Workers, now: float) -> None:
    """The end of ``fall_back``: the status is completed again; no timestamp changes."""
    document.end_attempt(now)
    document.row = replace(document.row, status="completed")


def _disable(document: Document, _action: Action, _workers: Workers, now: float) -> None:
    document.disabled_at = now
    document.row = replace(document.row, updated=now)


def _enable(document: Document, _action: Action, _workers: Workers, now: float) -> None:
    document.disabled_at = None
    document.row = replace(document.row, updated=now)


def _archive(document: Document, _action: Action, _workers: Workers, _now: float) -> None:
    document.archived = True


def _unarchive(document: Document, _action: Action, _workers: Workers, _now: float) -> None:
    document.archived = False


_ACTIONS: dict[str, Callable[[Document, Action, Workers, float], None]] = {
    "pause": _pause,
    "resume": _resume,
    "retry": _retry,
    "reupload": _reupload,
    "update": _update,
    "fall_back": _fall_back,
    "come_back": _come_back,
    "disable": _disable,
    "enable": _enable,
    "archive": _archive,
    "unarchive": _unarchive,
    "delete": lambda document, _action, workers, now: delete(document, workers, now),
}
