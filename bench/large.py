"""A hundred thousand documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.knowledge import BATCH_SIZE
from bench.results import Row, mb, middle, seconds, show
from bench.scrape import ours
from bench.side import side

if TYPE_CHECKING:
    from bench.side import Cost

LONGEST = 0.1
"""Seconds."""

LARGEST = 400e6
"""Bytes."""


def measure(batches: int = 10_000, rounds: int = 15) -> list[Row]:
    """Measure one row."""
    unchanged: list[Cost] = []
    changed: list[Cost] = []
    with side(ours, batches) as process:
        process.ask("make")
        process.ask("scrape")
        memory = process.ask("resident").value
        series = process.ask("series").value
        for _ in range(rounds):
            unchanged.append(process.ask("scrape"))
            process.ask("prepare")
            process.ask("change")
            changed.append(process.ask("scrape"))
    still = middle([cost.wall for cost in unchanged])
    moving = middle([cost.wall for cost in changed])
    return [
        Row(
            f"{batches * BATCH_SIZE:,} documents = {series:,} series",
            f"scrape {seconds(still)}, with 1 % changed {seconds(moving)}; {mb(memory)} resident",
            "",
            f"{seconds(max(still, moving))}, {mb(memory)}",
            f"scrape ≤ {seconds(LONGEST)}, ≤ {mb(LARGEST)} resident",
            max(still, moving) <= LONGEST and memory <= LARGEST,
        )
    ]


if __name__ == "__main__":
    show(measure())
