"""Event counters of a dataset: finished documents, restarts, and histograms of phase durations. Pure."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from msgspec.structs import replace

from exporter.tracking.error_reasons import REASONS
from exporter.tracking.model import DatasetCounters, Distribution

if TYPE_CHECKING:
    from collections.abc import Iterable

PHASES = ("queued", "parsing", "splitting", "indexing", "total")

PHASE_BOUNDS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0)
"""Upper bounds of the histogram buckets in seconds: from a short note to a book behind a slow embedding model."""

_OUTCOMES = (("completed", ""), *(("error", reason) for reason in REASONS))
_EMPTY = Distribution((0,) * (len(PHASE_BOUNDS) + 1))


def new_counters(server: str, dataset_id: str) -> DatasetCounters:
    """The counters of a dataset at 0, with every label value present, so that the first event is an increase."""
    return DatasetCounters(
        server,
        dataset_id,
        tuple((outcome, 0) for outcome in _OUTCOMES),
        0,
        tuple((phase, _EMPTY) for phase in PHASES),
    )


def restored_counters(server: str, dataset_id: str, before: DatasetCounters | None) -> DatasetCounters:
    """Continue the counters saved ``before`` a restart. Counters that are new in this version start at 0."""
    nothing = new_counters(server, dataset_id)
    if before is None:
        return nothing
    phases = {phase: found for phase, found in before.phases if len(found.counts) == len(PHASE_BOUNDS) + 1}
    return replace(
        before,
        finished=tuple((dict(nothing.finished) | dict(before.finished)).items()),
        phases=tuple((dict(nothing.phases) | phases).items()),
    )


def count_finished(
    activity: DatasetCounters, status: str, reason: str, phases: Iterable[tuple[str, float]] = ()
) -> DatasetCounters:
    """Count one more finished document. ``phases``: names and durations in seconds."""
    finished = dict(activity.finished)
    finished[status, reason] = finished.get((status, reason), 0) + 1
    spent = dict(activity.phases)
    for phase, seconds in phases:
        spent[phase] = _observe(spent.get(phase, _EMPTY), seconds)
    return replace(activity, finished=tuple(finished.items()), phases=tuple(spent.items()))


def count_restarted(activity: DatasetCounters) -> DatasetCounters:
    """Count one more document that restarted indexing."""
    return replace(activity, restarted=activity.restarted + 1)


def _observe(distribution: Distribution, seconds: float) -> Distribution:
    bucket = bisect_left(PHASE_BOUNDS, seconds)
    counts = tuple(count + (position == bucket) for position, count in enumerate(distribution.counts))
    return Distribution(counts, distribution.total + seconds)
