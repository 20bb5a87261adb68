"""Every target of one server: its present interval, and how its polls went."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from msgspec.structs import replace

from exporter.polling.intervals import PollInterval
from exporter.polling.targets import BATCH_STATUS, CONFIGURED_DOCUMENT, Target
from exporter.tracking import TargetStatus, Watched

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.polling.targets import TargetType
    from exporter.tracking import Change, ChangeListener, Kind, TargetState


class TargetStatuses:
    """The statuses and intervals of targets. Thread-safe. Follow-ups have an interval, but no status."""

    def __init__(self, server: str, *, listener: ChangeListener) -> None:
        self._server = server
        self._listener: ChangeListener | None = listener
        self._lock = threading.Lock()
        self._statuses: dict[Target, TargetStatus] = {}
        self._intervals: dict[Target, PollInterval] = {}
        self._unpolled: set[Target] = set()
        self._counts: Counter[tuple[Kind, TargetState]] = Counter()

    def __contains__(self, target: Target) -> bool:
        return target in self._statuses

    def __len__(self) -> int:
        return len(self._statuses)

    def get(self, target: Target) -> TargetStatus | None:
        """The status of a target."""
        return self._statuses.get(target)

    def all(self) -> dict[Target, TargetStatus]:
        """The status of every target."""
        with self._lock:
            return dict(self._statuses)

    def interval(self, target: Target) -> PollInterval:
        """The interval of a target; the first one when it has none."""
        return self._intervals.get(target) or PollInterval()

    def intervals(self) -> dict[Target, PollInterval]:
        """Every target with its interval, including follow-ups."""
        with self._lock:
            return dict(self._intervals)

    @property
    def unpolled(self) -> int:
        """How many targets have not been polled yet."""
        return len(self._unpolled)

    def counts(self) -> dict[tuple[Kind, TargetState], int]:
        """How many targets are in each state, by the label ``kind`` and the state; only numbers above 0."""
        with self._lock:
            return dict(+self._counts)

    def count(self, target_type: TargetType) -> int:
        """How many targets of a type there are, which must not be one of follow-ups."""
        with self._lock:
            return sum(count for (label, _), count in self._counts.items() if label == target_type.label)

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

    def add(self, targets: Iterable[Target]) -> list[Target]:
        """Add targets before their first poll, so that a target that never answers is visible. Returns the new ones."""
        with self._lock:
            named = [target for target in dict.fromkeys(targets) if not target.type.is_follow_up]
            new = [target for target in named if target not in self._statuses]
            changes: list[Change] = []
            for target in new:
                status = TargetStatus(self._server, target.type.label, target.dataset_id, target.id)
                self._statuses[target] = status
                changes.append((None, status))
                self._put_interval(target, PollInterval())
            self._unpolled.update(new)
            self._publish(changes)
        return new

    def remove(self, targets: Iterable[Target]) -> None:
        """Remove targets that are no longer polled."""
        with self._lock:
            changes: list[Change] = []
            for target in targets:
                self._unpolled.discard(target)
                interval = self._intervals.pop(target, None)
                status = self._statuses.pop(target, None)
                if status is not None:
                    changes.append((status, None))
                    if interval is not None:
                        self._counts[target.type.label, interval.state] -= 1
            self._publish(changes)

    def put_interval(self, target: Target, interval: PollInterval) -> None:
        """Store the interval of a target whose turn has come."""
        with self._lock:
            self._unpolled.discard(target)
            self._put_interval(target, interval)

    def polled(self, target: Target, *, success: bool, now: float, interval: float) -> None:
        """Store the result of a poll at ``now`` (Unix seconds) and the seconds to the next one."""
        with self._lock:
            old = self._statuses.get(target)
            if old is not None:
                last_success = now if success else old.last_success
                self._replace(target, old, replace(old, success=success, last_success=last_success, interval=interval))

    def mark_unread(self, target: Target) -> None:
        """A poll was due and could not be sent: the last values stay, marked as not fresh."""
        with self._lock:
            old = self._statuses.get(target)
            if old is not None and old.success is not False:
                self._replace(target, old, replace(old, success=False))

    def close(self) -> None:
        """The server is no longer watched: late reports reach nobody."""
        self.remove(self.all())
        with self._lock:
            self._listener = None

    def _put_interval(self, target: Target, interval: PollInterval) -> None:
        old = self._intervals.get(target)
        self._intervals[target] = interval
        if not target.type.is_follow_up:
            self._counts[target.type.label, interval.state] += 1
            if old is not None:
                self._counts[target.type.label, old.state] -= 1

    def _replace(self, target: Target, old: TargetStatus, new: TargetStatus) -> None:
        self._statuses[target] = new
        self._publish([(old, new)])

    def _publish(self, changes: list[Change]) -> None:
        if changes and self._listener is not None:
            self._listener.changed(changes)
