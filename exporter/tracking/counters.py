"""Counting events per dataset: finished and restarted documents, and how long the phases took."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from msgspec.structs import replace

from exporter.config import ERROR_REASONS
from exporter.dify.answers import LARGEST
from exporter.tracking.error_reasons import classify
from exporter.tracking.events import Failure, Finished, Queued, Restarted
from exporter.tracking.model import DatasetCounters, Distribution

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from exporter.tracking.error_reasons import Pattern
    from exporter.tracking.events import Event
    from exporter.tracking.model import Change
    from exporter.tracking.objects import Recall

PHASES = ("queued", "parsing", "splitting", "indexing", "total")

PHASE_BOUNDS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0)
"""Upper bounds of the buckets in seconds: from a note to a book behind a slow embedding model."""

_OUTCOMES = (("completed", ""), *(("error", reason) for reason in ERROR_REASONS))
_EMPTY = Distribution((0,) * (len(PHASE_BOUNDS) + 1))


class Counters:
    """The counters of the datasets of one server. They continue from restored ones. The store's lock guards them."""

    def __init__(
        self,
        server: str,
        patterns: Sequence[Pattern],
        record: Callable[[Change], None],
        *,
        now: Callable[[], float],
        recall: Recall,
    ) -> None:
        """``record`` is called with each change of the counters of a dataset; ``now`` returns Unix seconds."""
        self._server = server
        self.patterns = patterns
        self._record = record
        self._now = now
        self._recall = recall
        self._by_dataset: dict[str, DatasetCounters] = {}
        self._restored: dict[str, DatasetCounters] = {}

    def __contains__(self, dataset_id: str) -> bool:
        return dataset_id in self._by_dataset

    def all(self) -> list[DatasetCounters]:
        """The counters of every dataset that is watched."""
        return list(self._by_dataset.values())

    def restore(self, counters: Iterable[DatasetCounters]) -> None:
        """Continue from these counters, each as soon as its dataset is watched."""
        self._restored = {found.dataset_id: found for found in counters}

    def start(self, dataset_id: str) -> DatasetCounters:
        """Count the events of a dataset from now on."""
        counters = self._by_dataset.get(dataset_id)
        if counters is None:
            before = self._restored.pop(dataset_id, None)
            if before is None:
                before = next(iter(self._recall(self._server, DatasetCounters, dataset_id, ("",))), None)
            counters = restored_counters(self._server, dataset_id, before)
            if counters.since is None:
                counters = replace(counters, since=self._now())
            self._by_dataset[dataset_id] = counters
            self._record((None, counters))
        return counters

    def stop(self, dataset_id: str) -> None:
        """Remove the counters of a dataset that is no longer watched."""
        counters = self._by_dataset.pop(dataset_id, None)
        if counters is not None:
            self._record((counters, None))

    def count(self, dataset_id: str, events: Iterable[Event], errors: Mapping[str, str | None]) -> tuple[Failure, ...]:
        """Count ``events``. ``errors``: the API's error text by document id. Returns the documents that failed."""
        old = counters = self.start(dataset_id)
        failures = []
        for event in events:
            if isinstance(event, Finished):
                status, reason = event.document.progress.status, ""
                if status == "error":
                    text = errors.get(event.document.document_id) or ""
                    reason = classify(text, self.patterns)
                    failures.append(Failure(event.document, reason, text))
                counters = count_finished(counters, status, reason, event.phases)
            elif isinstance(event, Restarted):
                counters = count_restarted(counters)
            elif isinstance(event, Queued):
                counters = count_phases(counters, [("queued", event.seconds)])
        if counters is not old:
            self._by_dataset[dataset_id] = counters
            self._record((old, counters))
        return tuple(failures)


def new_counters(server: str, dataset_id: str) -> DatasetCounters:
    """Every counter at 0, so that the first event is an increase."""
    return DatasetCounters(
        server,
        dataset_id,
        finished=tuple((outcome, 0) for outcome in _OUTCOMES),
        restarted=0,
        phases=tuple((phase, _EMPTY) for phase in PHASES),
    )


def restored_counters(server: str, dataset_id: str, before: DatasetCounters | None) -> DatasetCounters:
    """The counters from ``before`` a restart; what only this version counts starts at 0.

    So does a phase with an infinite sum, which would be infinite forever: earlier versions added times of any size.
    """
    new = new_counters(server, dataset_id)
    if before is None:
        return new
    phases = {
        phase: found
        for phase, found in before.phases
        if len(found.counts) == len(PHASE_BOUNDS) + 1 and 0 <= found.total <= LARGEST
    }
    return replace(
        before,
        finished=tuple((dict(new.finished) | dict(before.finished)).items()),
        phases=tuple((dict(new.phases) | phases).items()),
    )


def count_finished(
    counters: DatasetCounters, status: str, reason: str, phases: Iterable[tuple[str, float]] = ()
) -> DatasetCounters:
    """Count one more finished document. ``phases``: seconds per phase."""
    finished = dict(counters.finished)
    finished[status, reason] = finished.get((status, reason), 0) + 1
    return count_phases(replace(counters, finished=tuple(finished.items())), phases)


def count_phases(counters: DatasetCounters, phases: Iterable[tuple[str, float]]) -> DatasetCounters:
    """Count how long a document spent in ``phases``: seconds per phase."""
    durations = dict(counters.phases)
    for phase, seconds in phases:
        durations[phase] = _observe(durations.get(phase, _EMPTY), seconds)
    return replace(counters, phases=tuple(durations.items()))


def count_restarted(counters: DatasetCounters) -> DatasetCounters:
    """Count one more document that started again."""
    return replace(counters, restarted=counters.restarted + 1)


def _observe(distribution: Distribution, seconds: float) -> Distribution:
    bucket = bisect_left(PHASE_BOUNDS, seconds)
    counts = tuple(count + (position == bucket) for position, count in enumerate(distribution.counts))
    return Distribution(counts, distribution.total + seconds)
