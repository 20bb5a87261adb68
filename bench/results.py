"""Benchmark results, and the table of all results."""

from __future__ import annotations

import re
import statistics
import sys
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

BEGIN = "<!-- bench:begin -->"
END = "<!-- bench:end -->"

_COLUMNS = ("benchmark", "this exporter", "against", "result", "goal", "met")


class Row(Struct, frozen=True):
    """A result. ``ours`` and ``other`` are the measurements, ``result`` is the value that the goal refers to."""

    benchmark: str
    ours: str
    other: str
    result: str
    goal: str
    met: bool


def middle(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def seconds(value: float) -> str:
    """A duration as text."""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.3g} ms"


def kib(value: float) -> str:
    """Bytes as text in KiB."""
    return f"{value / 1024:.2f} KiB"


def mb(value: float) -> str:
    """Bytes as text in MB."""
    return f"{value / 1e6:.0f} MB"


def times(value: float) -> str:
    """A ratio as text."""
    return f"{value:.0f} ×" if value >= 10 else f"{value:.2f} ×"


def table(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [" | ".join(_COLUMNS), "|".join("---" for _ in _COLUMNS)]
    lines += [
        " | ".join((row.benchmark, row.ours, row.other, row.result, row.goal, "yes" if row.met else "**no**"))
        for row in rows
    ]
    return "\n".join(f"| {line} |" if " | " in line else f"|{line}|" for line in lines)


def show(rows: Iterable[Row]) -> None:
    """Print the rows as a table, or as JSON for the program that runs all benchmarks."""
    if "--json" in sys.argv:
        sys.stdout.buffer.write(msgspec.json.encode(list(rows)))
    else:
        print(table(rows))


def insert(path: Path, text: str) -> bool:
    """Replace the text between the markers of a page. False if the page is missing or has no markers."""
    if not path.exists():
        return False
    page = path.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    changed, found = pattern.subn(lambda _: f"{BEGIN}\n{text}\n{END}", page)
    if found:
        path.write_text(changed, encoding="utf-8")
    return bool(found)
