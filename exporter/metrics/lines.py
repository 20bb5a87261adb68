"""Lines of the text format: escaping, numbers, and rendering the lines of many objects at once."""

from __future__ import annotations

import itertools
import math
import re
from typing import TYPE_CHECKING, Any

from exporter.metrics.families import IDENTITY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exporter.metrics.families import Family, LabelValues, Number
    from exporter.tracking.model import Tracked

_SURROGATE = re.compile("[\ud800-\udfff]")
_EXACT = 1 << 53


def encodable(value: str) -> str:
    """``value`` with lone surrogates, which UTF-8 cannot encode, replaced by U+FFFD."""
    return value if value.isascii() else _SURROGATE.sub("\ufffd", value)


def escape(value: str) -> str:
    """``value`` escaped for a quoted label."""
    value = encodable(value)
    if "\\" in value:
        value = value.replace("\\", "\\\\")
    if '"' in value:
        value = value.replace('"', '\\"')
    if "\n" in value:
        value = value.replace("\n", "\\n")
    return value


def number(value: Number) -> str | None:
    """``value`` as written in a line; None for values that have no series (NaN, infinities)."""
    if isinstance(value, int) and -_EXACT <= value <= _EXACT:
        return f"{value:d}"
    try:
        inexact = float(value)
    except OverflowError:
        return None
    return repr(inexact) if math.isfinite(inexact) else None


def heads(of: type[Tracked]) -> Callable[[Any], str]:
    """A function from an object of type ``of`` to the identity labels of its lines, which also serve as its key."""
    names = IDENTITY[of]
    template = ",".join(f'{name}="%s"' for name in names)

    def head(obj: Any) -> str:
        return template % tuple([escape(getattr(obj, name)) for name in names])

    return head


def lines(family: Family) -> Callable[[Sequence[str], Sequence[Any]], list[str]]:
    """A function from heads and parts (of the same objects, in the same order) to the lines of ``family``.

    Each element of the result is one line, or all the lines of a state set.
    """
    if family.states:
        return _state_lines(family)
    if family.bounds:
        return _histogram_lines(family)
    if family.labels:
        return _labelled_lines(family)
    return _plain_lines(family)


def _plain_lines(family: Family) -> Callable[[Sequence[str], Sequence[Any]], list[str]]:
    start, read = f"{family.name}{{", family.read

    def render(heads: Sequence[str], parts: Sequence[Any]) -> list[str]:
        out = []
        for head, part in zip(heads, parts, strict=True):
            if part is not None and (value := read(part)) is not None:
                # Nearly all values are small integers. They need no call, and rendering spends most of its time here.
                if type(value) is int and -_EXACT <= value <= _EXACT:
                    out.append(f"{start}{head}}} {value}\n")
                elif (text := number(value)) is not None:
                    out.append(f"{start}{head}}} {text}\n")
        return out

    return render


def _labelled_lines(family: Family) -> Callable[[Sequence[str], Sequence[Any]], list[str]]:
    name, read, tail = family.name, family.read, _tail(family)

    def render(heads: Sequence[str], parts: Sequence[Any]) -> list[str]:
        out = []
        for head, part in zip(heads, parts, strict=True):
            if part is not None:
                for values, value in read(part) or ():
                    if (text := number(value)) is not None:
                        out.append(f"{name}{{{head},{tail(values)}}} {text}\n")
        return out

    return render


def _histogram_lines(family: Family) -> Callable[[Sequence[str], Sequence[Any]], list[str]]:
    name, read, tail = family.name, family.read, _tail(family)
    # OpenMetrics requires "1.0"; the text format would also accept "1".
    bounds = [*(repr(float(bound)) for bound in family.bounds), "+Inf"]

    def render(heads: Sequence[str], parts: Sequence[Any]) -> list[str]:
        out = []
        for head, part in zip(heads, parts, strict=True):
            if part is not None:
                for values, seen in read(part):
                    if (total := number(seen.total)) is not None:
                        labels = f"{head},{tail(values)}"
                        reached = list(itertools.accumulate(seen.counts))
                        for bound, count in zip(bounds, reached, strict=True):
                            out.append(f'{name}_bucket{{{labels},le="{bound}"}} {count}\n')
                        out += (f"{name}_sum{{{labels}}} {total}\n", f"{name}_count{{{labels}}} {reached[-1]}\n")
        return out

    return render


def _tail(family: Family) -> Callable[[LabelValues], str]:
    """A function from label values to the labels that follow the identity labels."""
    template = ",".join(f'{label}="%s"' for label in family.labels)

    def tail(values: LabelValues) -> str:
        return template % tuple([escape(value) for value in values])

    return tail


def _state_lines(family: Family) -> Callable[[Sequence[str], Sequence[Any]], list[str]]:
    # The text between the heads is the same for all objects in one state, so joining it renders all the lines.
    between = {current: _between(family, current) for current in family.states}
    unknown = between["unknown"]
    read = family.read

    def render(heads: Sequence[str], parts: Sequence[Any]) -> list[str]:
        out = []
        for head, part in zip(heads, parts, strict=True):
            if part is not None and (state := read(part)) is not None:
                out.append(head.join(between.get(state, unknown)))
        return out

    return render


def _between(family: Family, current: str) -> tuple[str, ...]:
    start = f"{family.name}{{"
    (label,) = family.labels
    ends = [f',{label}="{state}"}} {int(state == current)}\n' for state in family.states]
    return (start, *[end + start for end in ends[:-1]], ends[-1])
