"""Event counters of all datasets of one server. Not thread-safe: used under the store's lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from exporter.tracking.counters import count_finished, count_restarted, restored_counters
from exporter.tracking.error_reasons import classify
from exporter.tracking.progress import Finished, Restarted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from exporter.tracking.error_reasons import Pattern
    from exporter.tracking.model import Change, DatasetCounters, Document
    from exporter.tracking.progress import Event


class Failure(NamedTuple):
    """A document whose indexing just failed. ``text``: Dify's error text, which may contain paths and prompts."""

    document: Document
    reason: str
    text: str


class Counters:
    """The counters by dataset. They continue from the values saved before a restart."""

    def __init__(self, server: str, patterns: Sequence[Pattern]) -> None:
        self._server = server
        self.patterns = patterns
        self._open: dict[str, DatasetCounters] = {}
        self._recalled: dict[str, DatasetCounters] = {}

    @property
    def counters(self) -> list[DatasetCounters]:
        """The counters of every watched dataset."""
        return list(self._open.values())

    def recall(self, counters: Iterable[DatasetCounters]) -> None:
        """Continue from saved counters, each as soon as its dataset is watched."""
        self._recalled = {activity.dataset_id: activity for activity in counters}

    def open(self, dataset_id: str, changes: list[Change]) -> DatasetCounters:
        """Return the counters of a dataset, created when its first target is watched."""
        activity = self._open.get(dataset_id)
        if activity is None:
            activity = restored_counters(self._server, dataset_id, self._recalled.pop(dataset_id, None))
            self._open[dataset_id] = activity
            changes.append((None, activity))
        return activity

    def close(self, dataset_id: str, changes: list[Change]) -> None:
        """Remove the counters of a dataset that is no longer watched."""
        activity = self._open.pop(dataset_id, None)
        if activity is not None:
            changes.append((activity, None))

    def count(
        self, dataset_id: str, events: Iterable[Event], errors: Mapping[str, str | None], changes: list[Change]
    ) -> tuple[Failure, ...]:
        """Count events. ``errors``: Dify's error texts by document id. Returns the documents that failed."""
        old = activity = self.open(dataset_id, changes)
        failures = []
        for event in events:
            if isinstance(event, Finished):
                status, reason = event.document.progress.status, ""
                if status == "error":
                    text = errors.get(event.document.document_id) or ""
                    reason = classify(text, self.patterns)
                    failures.append(Failure(event.document, reason, text))
                activity = count_finished(activity, status, reason, event.phases)
            elif isinstance(event, Restarted):
                activity = count_restarted(activity)
        if activity is not old:
            self._open[dataset_id] = activity
            changes.append((old, activity))
        return tuple(failures)
