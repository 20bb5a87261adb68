"""What can be done to a document, as the server does it: which fields it touches and which it leaves stale."""

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
    """Do to a document what an action says."""
    _DEEDS[action.do](world, document, action, now)


def _pause(world: World, document: Document, _action: Action, now: float) -> None:
    """Hold it. Its run, when one goes on, stops where it is, and with it the whole task."""
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
    """Let it go on, as a task of its own. Its siblings stay where they are. A mishap strikes only once."""
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
    """Set it waiting, with everything of the last attempt still there."""
    document.fold(now)
    document.row = replace(document.row, status="waiting")
    _attempt(world, document, action, now)


def _reupload(world: World, document: Document, action: Action, now: float) -> None:
    """The same name uploaded again: it moves to the new batch, and the old one loses it."""
    document.fold(now)
    document.row = replace(document.row, status="waiting", updated=now)
    document.leave_batch()
    document.enter_batch(action.into or world.new_batch_id(now))
    _attempt(world, document, action, now)


def _update(world: World, document: Document, action: Action, now: float) -> None:
    """New text: the stage times go, ``error`` and ``stopped`` stay, the old segments wait to be replaced."""
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
    """Begin a new attempt, unless its message is lost."""
    document.life = action.life or replace(document.life, fate="completes", missing=0)
    document.goes_on = False
    document.task = None
    if not action.lost:
        world.submit((document,), now)


def _fall_back(_world: World, document: Document, _action: Action, now: float) -> None:
    """What a change of the embedding model does, in bulk: the status, and no time."""
    document.fold(now)
    document.row = replace(document.row, status="indexing")


def _come_back(_world: World, document: Document, _action: Action, now: float) -> None:
    """The end of a fall back: completed again, and no time either."""
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
