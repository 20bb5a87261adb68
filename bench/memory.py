"""Memory per document, compared with labelled gauges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.knowledge import BATCH_SIZE, Watched, gzipped
from bench.library import LabelledGauges
from bench.results import Row, kib, show
from bench.side import side
from exporter.daemon import allocator
from exporter.metrics import Format

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LARGEST = 4096
"""Bytes per document."""


def ours(batches: int) -> Mapping[str, Callable[[], Any]]:
    """The exporter after polling everything and one scrape; then the gauges in the same process for comparison."""
    allocator.limit_retained_memory()
    watched = Watched(batches)
    watched.poll()
    gzipped(watched.exposition.page(Format.TEXT))
    gauges = LabelledGauges()
    return {"gauges": lambda: gauges.set(watched.objects())}


def measure(batches: int = 1_000) -> list[Row]:
    """Measure one row."""
    documents = batches * BATCH_SIZE
    with side(ours, batches) as process:
        empty = process.ask("resident").value
        process.ask("make")
        full = process.ask("resident").value
        process.ask("gauges")
        both = process.ask("resident").value
    one = (full - empty) / documents
    return [
        Row(
            f"resident memory per document, at {documents:,} documents, over an empty process",
            kib(one),
            f"labelled gauges {kib((both - full) / documents)}",
            kib(one),
            f"≤ {kib(LARGEST)}",
            one <= LARGEST,
        )
    ]


if __name__ == "__main__":
    show(measure())
