"""One server and its targets: how their polls go."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from msgspec.structs import replace

from exporter.tracking.model import NoListener, ServerStatus, TargetStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.tracking.model import Change, Listener
    from exporter.tracking.targets import Target


class Roster:
    """The status of a server and of each target that has series. Thread-safe."""

    def __init__(self, server: str, url: str, *, listener: Listener) -> None:
        self._server = server
        self._listener = listener
        self._lock = threading.Lock()
        self._status = ServerStatus(server, url)
        self._targets: dict[Target, TargetStatus] = {}
        listener.changed([(None, self._status)])

    @property
    def status(self) -> ServerStatus:
        """The server as it was last seen."""
        return self._status

    @property
    def targets(self) -> list[TargetStatus]:
        """How the polls of every target go."""
        with self._lock:
            return list(self._targets.values())

    def target(self, target: Target) -> TargetStatus | None:
        """How the polls of a target go."""
        return self._targets.get(target)

    def __contains__(self, target: Target) -> bool:
        return target in self._targets

    def last_read(self, target: Target) -> float | None:
        """When ``target`` was read last (Unix seconds); None when its last poll failed."""
        status = self._targets.get(target)
        return status.last_success if status and status.success else None

    def add(self, targets: Iterable[Target]) -> None:
        """Targets have series from the start, so that one that never answers is seen."""
        with self._lock:
            changes: list[Change] = []
            for target in targets:
                kind = target.series_kind
                if kind is not None and target not in self._targets:
                    self._targets[target] = status = TargetStatus(self._server, kind, target.dataset_id, target.id)
                    changes.append((None, status))
            self._tell(changes)

    def drop(self, targets: Iterable[Target]) -> None:
        """Targets that are watched no longer have no series."""
        with self._lock:
            self._tell([(old, None) for target in targets if (old := self._targets.pop(target, None))])

    def note(self, target: Target, *, success: bool, now: float, interval: float) -> None:
        """Note how a poll of ``target`` went, at ``now`` (Unix seconds). Targets without series are passed over."""
        with self._lock:
            old = self._targets.get(target)
            if old is not None:
                last_success = now if success else old.last_success
                new = replace(old, success=success, last_success=last_success, interval=interval)
                self._targets[target] = new
                self._tell([(old, new)])

    def mark_unread(self, target: Target) -> None:
        """A poll that was due could not be made: the last values stand, marked as not fresh."""
        with self._lock:
            old = self._targets.get(target)
            if old is not None and old.success is not False:
                self._targets[target] = new = replace(old, success=False)
                self._tell([(old, new)])

    def move(self, url: str) -> None:
        """The server answers at another URL from now on."""
        with self._lock:
            old = self._status
            if old.url != url:
                self._status = new = replace(old, url=url)
                self._tell([(old, new)])

    def close(self) -> None:
        """The server is watched no longer: what comes too late is told to nobody."""
        with self._lock:
            self._tell([(self._status, None), *((old, None) for old in self._targets.values())])
            self._targets.clear()
            self._listener = NoListener()

    def note_server(self, *, up: bool | None, version: str) -> None:
        """Note what the last request said of the server. ``up`` None, ``version`` "": it said nothing."""
        with self._lock:
            old = self._status
            new = ServerStatus(self._server, old.url, version or old.version, old.up if up is None else up)
            if new != old:
                self._status = new
                self._tell([(old, new)])

    def _tell(self, changes: list[Change]) -> None:
        if changes:
            self._listener.changed(changes)
