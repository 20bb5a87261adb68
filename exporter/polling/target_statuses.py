"""Poll status: whether a server is up, and when each of its targets was last polled successfully."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from msgspec.structs import replace

from exporter.tracking.model import NullListener, ServerStatus, TargetStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.tracking.model import Change, ChangeListener
    from exporter.tracking.targets import Target


class TargetStatuses:
    """The status of a server and of each target that has series. Thread-safe."""

    def __init__(self, server: str, url: str, *, listener: ChangeListener) -> None:
        self._server = server
        self._listener = listener
        self._lock = threading.Lock()
        self._status = ServerStatus(server, url)
        self._targets: dict[Target, TargetStatus] = {}
        listener.changed([(None, self._status)])

    @property
    def status(self) -> ServerStatus:
        """The current status of the server."""
        return self._status

    @property
    def targets(self) -> list[TargetStatus]:
        """The poll status of every target."""
        with self._lock:
            return list(self._targets.values())

    def target(self, target: Target) -> TargetStatus | None:
        """The poll status of a target."""
        return self._targets.get(target)

    def __contains__(self, target: Target) -> bool:
        return target in self._targets

    def last_read(self, target: Target) -> float | None:
        """Unix seconds of the last successful poll of ``target``; None if its last poll failed."""
        status = self._targets.get(target)
        return status.last_success if status and status.success else None

    def add(self, targets: Iterable[Target]) -> None:
        """Add targets. They have series from the start, so that a target that never answers is visible."""
        with self._lock:
            changes: list[Change] = []
            for target in targets:
                kind = target.series_kind
                if kind is not None and target not in self._targets:
                    self._targets[target] = status = TargetStatus(self._server, kind, target.dataset_id, target.id)
                    changes.append((None, status))
            self._tell(changes)

    def drop(self, targets: Iterable[Target]) -> None:
        """Remove targets and with them their series."""
        with self._lock:
            self._tell([(old, None) for target in targets if (old := self._targets.pop(target, None))])

    def note(self, target: Target, *, success: bool, now: float, interval: float) -> None:
        """Record a poll of ``target`` at ``now`` (Unix seconds). Targets without series are ignored."""
        with self._lock:
            old = self._targets.get(target)
            if old is not None:
                last_success = now if success else old.last_success
                new = replace(old, success=success, last_success=last_success, interval=interval)
                self._targets[target] = new
                self._tell([(old, new)])

    def mark_unread(self, target: Target) -> None:
        """Record that a due poll was skipped: the last values stay, marked as not current."""
        with self._lock:
            old = self._targets.get(target)
            if old is not None and old.success is not False:
                self._targets[target] = new = replace(old, success=False)
                self._tell([(old, new)])

    def move(self, url: str) -> None:
        """Change the URL of the server."""
        with self._lock:
            old = self._status
            if old.url != url:
                self._status = new = replace(old, url=url)
                self._tell([(old, new)])

    def close(self) -> None:
        """Remove the server and its targets. Later changes are published to nobody."""
        with self._lock:
            self._tell([(self._status, None), *((old, None) for old in self._targets.values())])
            self._targets.clear()
            self._listener = NullListener()

    def note_server(self, *, up: bool | None, version: str) -> None:
        """Record what the last request showed about the server. ``up`` None, ``version`` "": nothing."""
        with self._lock:
            old = self._status
            new = ServerStatus(self._server, old.url, version or old.version, old.up if up is None else up)
            if new != old:
                self._status = new
                self._tell([(old, new)])

    def _tell(self, changes: list[Change]) -> None:
        if changes:
            self._listener.changed(changes)
