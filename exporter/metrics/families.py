"""A metric family: how its samples are read from an object, and how they are written as lines of the text format."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from exporter.tracking.model import Batch, Dataset, DatasetCounters, Document, ServerStatus, TargetStatus, Tracked

LabelValues = tuple[str, ...]
Samples = Sequence[tuple[LabelValues, Any]]
Read = Callable[[Any], Any]
MetricType = Literal["gauge", "counter", "histogram"]
Render = Callable[[Sequence[str], Sequence[Any]], list[str]]
TrackedType = type[Tracked]

_SURROGATE = re.compile("[\ud800-\udfff]")
_EXACT = 1 << 53

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
        value = None if part is None else self.read(part)
        if value is None:
            return ()
        if self.states:
            current = value if value in self.states else "unknown"
            return [((state,), int(state == current)) for state in self.states]
        return list(value) if self.labels else [((), value)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfFamily:
    """A metric family about the exporter itself."""

    name: str
    type: MetricType
    help: str
    labels: tuple[str, ...]


def whole(obj: Any) -> Any:
    """The object itself, for a ``part`` that needs all of it, or a ``read`` whose part is the value."""
    return obj


def unix_seconds(value: float) -> float | None:
    """A time of the exporter's clock, rounded to milliseconds; None for 0, which stands for an unknown time."""
    return round(value, 3) or None


def encodable(value: str) -> str:
    """``value`` with lone surrogates, which UTF-8 cannot encode, replaced by U+FFFD."""
    return value if value.isascii() else _SURROGATE.sub("\ufffd", value)


def escape(value: str) -> str:
    """``value`` escaped for a quoted label."""
    return encodable(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def number(value: float) -> str | None:
    """``value`` as written in a line; None for values that have no series (NaN, infinities)."""
    if isinstance(value, int) and -_EXACT <= value <= _EXACT:
        return f"{value:d}"
    try:
        inexact = float(value)
    except OverflowError:
        return None
    return repr(inexact) if math.isfinite(inexact) else None


def identity_labels(of: TrackedType) -> Callable[[Any], str]:
    """A function from an object of type ``of`` to the labels that identify it, as written in its lines."""
    names = IDENTITY[of]
    template = ",".join(f'{name}="%s"' for name in names)

    def render(obj: Any) -> str:
        return template % tuple([escape(getattr(obj, name)) for name in names])

    return render


def line_renderer(family: Family) -> Render:
    """A function from identity labels and parts (of the same objects, in the same order) to the lines of ``family``.

    Each element of the result is one line, or all the lines of a state set.
    """
    if family.states:
        return _state_lines(family)
    if family.bounds:
        return _histogram_lines(family)
    return _labelled_lines(family) if family.labels else _plain_lines(family)


def _plain_lines(family: Family) -> Render:
    start, read = f"{family.name}{{", family.read

    def render(identities: Sequence[str], parts: Sequence[Any]) -> list[str]:
        out = []
        for identity, part in zip(identities, parts, strict=True):
            if part is not None and (value := read(part)) is not None:
                # Nearly all values are small integers. They need no call, and rendering spends most of its time here.
                if type(value) is int and -_EXACT <= value <= _EXACT:
                    out.append(f"{start}{identity}}} {value}\n")
                elif (text := number(value)) is not None:
                    out.append(f"{start}{identity}}} {text}\n")
        return out

    return render


def _labelled_lines(family: Family) -> Render:
    name, read, extra = family.name, family.read, _extra_labels(family)

    def render(identities: Sequence[str], parts: Sequence[Any]) -> list[str]:
        out = []
        for identity, part in zip(identities, parts, strict=True):
            if part is not None:
                for values, value in read(part) or ():
                    if (text := number(value)) is not None:
                        out.append(f"{name}{{{identity},{extra(values)}}} {text}\n")
        return out

    return render


def _histogram_lines(family: Family) -> Render:
    name, read, extra = family.name, family.read, _extra_labels(family)
    # OpenMetrics requires "1.0"; the text format would also accept "1".
    bounds = [*(repr(float(bound)) for bound in family.bounds), "+Inf"]

    def render(identities: Sequence[str], parts: Sequence[Any]) -> list[str]:
        out = []
        for identity, part in zip(identities, parts, strict=True):
            if part is not None:
                for values, distribution in read(part):
                    if (total := number(distribution.total)) is not None:
                        labels = f"{identity},{extra(values)}"
                        cumulative = list(itertools.accumulate(distribution.counts))
                        for bound, count in zip(bounds, cumulative, strict=True):
                            out.append(f'{name}_bucket{{{labels},le="{bound}"}} {count}\n')
                        out += (f"{name}_sum{{{labels}}} {total}\n", f"{name}_count{{{labels}}} {cumulative[-1]}\n")
        return out

    return render


def _extra_labels(family: Family) -> Callable[[LabelValues], str]:
    """A function from label values to the labels that follow the identity labels."""
    template = ",".join(f'{label}="%s"' for label in family.labels)

    def render(values: LabelValues) -> str:
        return template % tuple([escape(value) for value in values])

    return render


def _state_lines(family: Family) -> Render:
    # The text between identity labels is the same for all objects in one state, so joining it renders all the lines.
    start, read, (label,) = f"{family.name}{{", family.read, family.labels

    def text_between(current: str) -> tuple[str, ...]:
        ends = [f',{label}="{state}"}} {int(state == current)}\n' for state in family.states]
        return (start, *[end + start for end in ends[:-1]], ends[-1])

    between = {current: text_between(current) for current in family.states}
    unknown = between["unknown"]

    def render(identities: Sequence[str], parts: Sequence[Any]) -> list[str]:
        out = []
        for identity, part in zip(identities, parts, strict=True):
            if part is not None and (state := read(part)) is not None:
                out.append(identity.join(between.get(state, unknown)))
        return out

    return render
