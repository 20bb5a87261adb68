"""Whether every end was counted once; otherwise which document it was, and what happened then."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from bench.soak.knowledge import BY_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bench.soak.truth import End, Event, History

COUNTED: Final = {"document completed": "completed", "document failed": "error"}
AROUND: Final = 30.0
"""Seconds before a finding whose events explain it."""

MOST_EVENTS: Final = 8

_FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)')


class Line(NamedTuple):
    """A line of the exporter's log. ``at``: the monotonic second at which it was read, within a second."""

    at: float
    message: str
    fields: Mapping[str, str]


def parse_line(at: float, text: str) -> Line:
    """A line in logfmt."""
    fields = {name: value.strip('"') for name, value in _FIELD.findall(text)}
    return Line(at, fields.get("msg", ""), fields)


def differences(
    histories: Mapping[str, History], counted: Mapping[tuple[str, str, str], int]
) -> dict[tuple[str, str, str], tuple[int, int]]:
    """Expected and counted ends by server, knowledge base and status, where they differ."""
    expected = {
        (server, dataset, status): number
        for server, history in histories.items()
        for (dataset, status), number in history.counts().items()
    }
    keys = {*expected, *(key for key, value in counted.items() if value and key[1] in BY_ID)}
    return {
        key: (expected.get(key, 0), counted.get(key, 0))
        for key in sorted(keys)
        if expected.get(key, 0) != counted.get(key, 0)
    }


def traces(
    key: tuple[str, str, str], histories: Mapping[str, History], lines: Iterable[Line], begun: float
) -> Iterator[tuple[float, str]]:
    """When and what: the documents whose ends were not logged, or logged more often than they happened.

    The text has seconds from ``begun``.
    """
    server, dataset, status = key
    logged: dict[str, list[float]] = {}
    for line in lines:
        fields = line.fields
        if COUNTED.get(line.message) == status and (fields.get("server"), fields.get("dataset_id")) == key[:2]:
            logged.setdefault(fields.get("document_id", ""), []).append(line.at)
    happened: dict[str, list[End]] = {}
    for end in histories[server].ends:
        if (end.dataset, end.status) == (dataset, status):
            happened.setdefault(end.document, []).append(end)
    for document in sorted({*logged, *happened}):
        ends, times = happened.get(document, []), logged.get(document, [])
        if len(ends) == len(times):
            continue
        at = _unmatched(ends, times)
        said = ", ".join(f"{end.attempt} in batch {end.batch} at {end.at - begun:.1f}" for end in ends) or "never"
        counted = ", ".join(f"{time - begun:.1f}" for time in times) or "never"
        yield at, f"document {document} of {dataset} ({BY_ID[dataset].mode}): {status} by {said}; counted {counted}"


def _unmatched(ends: list[End], times: list[float]) -> float:
    """The time of the end without a line, or of the line without an end."""
    rest = sorted(times)
    for end in ends:
        line = next((time for time in rest if time >= end.at - 1.0), None)
        if line is None:
            return end.at
        rest.remove(line)
    return rest[0] if rest else ends[-1].at


def explain(at: float, events: Iterable[Event], begun: float) -> str:
    """The last events before a finding, with seconds from the start."""
    around = [event for event in events if at - AROUND <= event.at <= at + 5.0]
    return "; ".join(f"{event.at - begun:.1f} {event.what}" for event in around[-MOST_EVENTS:])


def summary(histories: Mapping[str, History], counted: Mapping[tuple[str, str, str], int]) -> str:
    """Counted of expected ends, by server and mode."""
    expected: Counter[tuple[str, str]] = Counter()
    found: Counter[tuple[str, str]] = Counter()
    for server, history in histories.items():
        for end in history.ends:
            expected[server, BY_ID[end.dataset].mode] += 1
    for (server, dataset, _), number in counted.items():
        if dataset in BY_ID:
            found[server, BY_ID[dataset].mode] += number
    return ", ".join(
        f"{server} {mode} {found[server, mode]} of {number}" for (server, mode), number in expected.items()
    )
