"""What a metric family is: a row of the catalog, which knows how to read its samples from an object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from exporter.tracking.model import Activity, Batch, Document, KnowledgeBase, ServerStatus, TargetStatus, Tracked

Number = int | float
LabelValues = tuple[str, ...]
Samples = Sequence[tuple[LabelValues, Any]]
Read = Callable[[Any], Any]
MetricType = Literal["gauge", "counter", "histogram"]
TrackedType = type[Tracked]

IDENTITY: dict[TrackedType, tuple[str, ...]] = {
    ServerStatus: ("server",),
    TargetStatus: ("server", "kind", "dataset_id", "target"),
    KnowledgeBase: ("server", "dataset_id"),
    Activity: ("server", "dataset_id"),
    Batch: ("server", "dataset_id", "batch"),
    Document: ("server", "dataset_id", "document_id"),
}
"""The labels that every series of an object has: attributes that tell it from all others of its type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A metric family and how its samples are read from an object of type ``of``.

    ``part`` takes from the object the piece that ``read`` looks at; while the piece stays equal, so do the samples.
    ``read`` is asked only when there is a piece, and gives

    - without ``labels``: the value, or None for no series;
    - with ``labels``: a sequence of (label values, value); of a histogram with ``bounds``, the upper bounds of its
      buckets without +Inf, the value is a ``Distribution``;
    - with ``states``: the current state, or None for no series; every state has a series, 1 or 0, and a word that is
      none of them counts as ``unknown``.
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
        """What ``obj`` has to say here: the values of ``labels``, and the value."""
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
    """The object itself, for a ``part`` that looks at all of it, or a ``read`` whose part is the value."""
    return obj


def unix_seconds(value: float) -> float | None:
    """A time of the exporter's own clock to the millisecond; None for 0, which stands for a time that is not known."""
    return round(value, 3) or None
