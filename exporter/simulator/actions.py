"""Actions on documents, as the server performs them: which fields each one writes and which it leaves stale."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from msgspec.structs import replace

from exporter.simulator.documents import UNFINISHED
from exporter.simulator.lives import interrupted

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.simulator.documents import Document
    from exporter.simulator.scenario import Action
    from exporter.simulator.world import World

    Deed = Callable[[World, Document, Action, float], None]


def do(world: World, document: Document, action: Action, now: float) -> None:
    """Perform an action on a document."""
    _DEEDS[action.do](world, document, action, now)


def _pause(world: World, document: Document, _action: Action, now: float) -> None:
    """Pause the document. If its run is in progress, the run stops where it is, and the whole task with it."""
    document.held = True
    document.row = replace(document.row, paused_at=now)
    run, task = document.run, document.task
    if run is None or task is None or now >= run.free or run.turn == inf:
        return
    document.run = interrupted(run, now)
    document.fate_at = inf
    task.interrupt(document)
    world.cut_task(task, document.run.frozen)


def _resume(world: World, document: Document, _action: Action, now: float) -> None:
    """Resume the document as a task of its own. Its siblings do not move. The fate of its life strikes only once."""
    if not document.held:
        return
    document.fold(now)
    document.held = False
    if document.fate_at <= now:
        document.life = replace(document.life, fate="completes")
    document.row = replace(document.row, paused_at=None)
    if document.row.status in UNFINISHED or document.row.status == "waiting":
        document.goes_on = True
        world.submit((document,), now)


def _retry(world: World, document: Document, action: Action, now: float) -> None:
    """Set the document to waiting; everything else from the last attempt stays."""
    document.fold(now)
    document.row = replace(document.row, status="waiting")
    _attempt(world, document, action, now)


def _reupload(world: World, document: Document, action: Action, now: float) -> None:
    """Upload the same name again: the document moves to the new batch and disappears from the old one."""
    document.fold(now)
    document.row = replace(document.row, status="waiting", updated=now)
    document.leave_batch()
    document.enter_batch(action.into or world.new_batch_id(now))
    _attempt(world, document, action, now)


def _update(world: World, document: Document, action: Action, now: float) -> None:
    """Replace the text: stage times are cleared, ``error`` and ``stopped`` stay, old segments become outdated."""
    document.fold(now)
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
    _attempt(world, document, action, now)


def _attempt(world: World, document: Document, action: Action, now: float) -> None:
    """Start a new attempt, unless its message is lost."""
    document.life = action.life or replace(document.life, fate="completes", missing=0)
    document.goes_on = False
    document.task = None
    if not action.lost:
        world.submit((document,), now)


def _fall_back(_world: World, document: Document, _action: Action, now: float) -> None:
    """What a change of the embedding model does in bulk: it changes the status and no timestamp."""
    document.fold(now)
    document.row = replace(document.row, status="indexing")


def _come_back(_world: World, document: Document, _action: Action, now: float) -> None:
    """The end of ``fall_back``: the status is completed again; no timestamp changes."""
    document.fold(now)
    document.row = replace(document.row, status="completed")


def _disable(_world: World, document: Document, _action: Action, now: float) -> None:
    document.disabled_at = now
    document.row = replace(document.row, updated=now)


def _enable(_world: World, document: Document, _action: Action, now: float) -> None:
    document.disabled_at = None
    document.row = replace(document.row, updated=now)


def _archive(_world: World, document: Document, _action: Action, _now: float) -> None:
    document.archived = True


def _unarchive(_world: World, document: Document, _action: Action, _now: float) -> None:
    document.archived = False


def _delete(world: World, document: Document, _action: Action, now: float) -> None:
    world.remove(document, now)


_DEEDS: dict[str, Deed] = {
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
    "delete": _delete,
}
