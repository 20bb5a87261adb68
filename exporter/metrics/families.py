"""Defines a metric family: a row of the catalog that knows how to read its samples from an object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from exporter.tracking.model import Batch, Dataset, DatasetCounters, Document, ServerStatus, TargetStatus, Tracked

Number = int | float
LabelValues = tuple[str, ...]
Samples = Sequence[tuple[LabelValues, Any]]
Read = Callable[[Any], Any]
MetricType = Literal["gauge", "counter", "histogram"]
TrackedType = type[Tracked]

IDENTITY: dict[TrackedType, tuple[str, ...]] = {
    ServerStatus: ("server",),
    TargetStatus: ("server", "kind", "dataset_id", "target"),
    Dataset: ("server", "dataset_id"),
    DatasetCounters: ("server", "dataset_id"),
    Batch: ("server", "dataset_id", "batch"),
    Document: ("server", "dataset_id", "document_id"),
}
"""The labels of every series of an object: the attributes that identify it among the objects of its type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A metric family and how its samples are read from an object of type ``of``.

    ``part`` returns the piece of the object that ``read`` needs; as long as the piece is equal, the samples are equal.
    ``read`` is called only when the piece is not None. It returns

    - without ``labels``: the value, or None for no series;
    - with ``labels``: a sequence of (label values, value); for a histogram with ``bounds``, the upper bounds of its
      buckets without +Inf, the value is a ``Distribution``;
    - with ``states``: the current state, or None for no series; every state has a series, 1 or 0, and a word that is
      not a known state counts as ``unknown``.
    """

    name: str
    type: MetricType = "gauge"
    help: str
    of: TrackedType
    part: Read
    read: Read
    labels: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()

    def samples(self, obj: Tracked) -> Samples:
        """The samples of ``obj``: the values of ``labels``, and the value."""
        part = self.part(obj)
        seen = None if part is None else self.read(part)
        if seen is None:
            return ()
        if self.states:
            current = seen if seen in self.states else "unknown"
            return [((state,), int(state == current)) for state in self.states]
        if self.labels:
            return list(seen)
        return [((), seen)]


def whole(obj: Any) -> Any:
    """The object itself, for a ``part`` that needs all of it, or a ``read`` whose part is the value."""
    return obj


def unix_seconds(value: float) -> float | None:
    """A time of the exporter's clock, rounded to milliseconds; None for 0, which stands for an unknown time."""
    return round(value, 3) or None
