"""How the polls of each target went, for the series about targets."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from msgspec.structs import replace

from exporter.polling.targets import BATCH_STATUS, CONFIGURED_DOCUMENT, Target
from exporter.tracking import Watched
from exporter.tracking.model import TargetStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.tracking.model import Change, ChangeListener


class TargetStatuses:
    """The status of every target of one server, except follow-ups. Thread-safe."""

    def __init__(self, server: str, *, listener: ChangeListener) -> None:
        self._server = server
        self._listener: ChangeListener | None = listener
        self._lock = threading.Lock()
        self._statuses: dict[Target, TargetStatus] = {}

    def __contains__(self, target: Target) -> bool:
        return target in self._statuses

    def get(self, target: Target) -> TargetStatus | None:
        """The status of a target."""
        return self._statuses.get(target)

    def all(self) -> dict[Target, TargetStatus]:
        """The status of every target."""
        with self._lock:
            return dict(self._statuses)

    @property
    def watched(self) -> Watched:
        """Which batches and documents are polled for their own sake, for the store."""
        return Watched(
            batch=lambda dataset_id, batch: Target(BATCH_STATUS, dataset_id, batch) in self._statuses,
            document=lambda dataset_id, id_: Target(CONFIGURED_DOCUMENT, dataset_id, id_) in self._statuses,
        )

    def last_success(self, dataset_id: str, batch: str) -> float | None:
        """When a batch was last read (Unix seconds); None when its last poll failed."""
        status = self._statuses.get(Target(BATCH_STATUS, dataset_id, batch))
        return status.last_success if status and status.success else None

    def add(self, targets: Iterable[Target]) -> None:
        """Add targets before their first poll, so that a target that never answers is visible."""
        with self._lock:
            changes: list[Change] = []
            for target in targets:
                if not target.type.is_follow_up and target not in self._statuses:
                    status = TargetStatus(self._server, target.type.label, target.dataset_id, target.id)
                    self._statuses[target] = status
                    changes.append((None, status))
            self._publish(changes)

    def remove(self, targets: Iterable[Target]) -> None:
        """Remove targets that are no longer polled."""
        with self._lock:
            self._publish([(old, None) for target in targets if (old := self._statuses.pop(target, None))])

    def polled(self, target: Target, *, success: bool, now: float, interval: float) -> None:
        """Store the result of a poll at ``now`` (Unix seconds) and the seconds to the next one."""
        with self._lock:
            old = self._statuses.get(target)
            if old is not None:
                last_success = now if success else old.last_success
                new = replace(old, success=success, last_success=last_success, interval=interval)
                self._statuses[target] = new
                self._publish([(old, new)])

    def mark_unread(self, target: Target) -> None:
        """A poll was due and could not be sent: the last values stay, marked as not fresh."""
        with self._lock:
            old = self._statuses.get(target)
            if old is not None and old.success is not False:
                self._statuses[target] = new = replace(old, success=False)
                self._publish([(old, new)])

    def close(self) -> None:
        """The server is no longer watched: late reports reach nobody."""
        with self._lock:
            self._publish([(old, None) for old in self._statuses.values()])
            self._statuses.clear()
            self._listener = None

    def _publish(self, changes: list[Change]) -> None:
        if changes and self._listener is not None:
            self._listener.changed(changes)
