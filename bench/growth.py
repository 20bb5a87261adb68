"""Memory growth while documents change, appear and disappear."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any

from bench.knowledge import BATCH_SIZE, Watched, gzipped
from bench.results import Row, mb, middle, show
from bench.side import resident, side
from exporter.clock import ManualClock
from exporter.config import Polling
from exporter.daemon.logs import set_up_logging
from exporter.metrics import Format

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WARM_UP = 60
"""Cycles until the details of the first documents are due again and pools have reached their size."""

TOLERANCE = 0.01
GONE = 5
"""In each cycle, one batch in this many is missing, a different one each time."""


def ours(batches: int) -> Mapping[str, Callable[[], Any]]:
    """The exporter, with a cycle in which batches change, disappear or return; reports live blocks and memory."""
    set_up_logging("error", "logfmt")
    clock = ManualClock()
    watched = Watched(batches, clock=clock, polling=Polling())
    watched.poll()
    turns = 0

    def cycle() -> tuple[int, int]:
        nonlocal turns
        turns += 1
        clock.advance(Polling().interval)
        watched.upstream.gone = set(range(turns % GONE, batches, GONE))
        watched.move(range(batches))
        gzipped(watched.exposition.page(Format.TEXT))
        gc.collect()
        return sys.getallocatedblocks(), resident()

    return {"cycle": cycle}


def measure(batches: int = 100, cycles: int = 100, warm_up: int = WARM_UP) -> list[Row]:
    """Measure one row."""
    with side(ours, batches) as process:
        process.ask("make")
        for _ in range(warm_up):
            process.ask("cycle")
        found = [process.ask("cycle").value for _ in range(cycles)]
    share = max(cycles // 5, 1)
    blocks, memory = (
        [middle([one[kind] for one in part]) for part in (found[:share], found[-share:])] for kind in (0, 1)
    )
    growth = blocks[1] / blocks[0] - 1
    swelling = memory[1] / memory[0] - 1
    return [
        Row(
            f"memory over {cycles} cycles in which all of {batches * BATCH_SIZE:,} documents change, appear or vanish",
            f"live objects {blocks[0]:,.0f} → {blocks[1]:,.0f}, resident {mb(memory[0])} → {mb(memory[1])}",
            "",
            f"{growth:+.1%} objects, {swelling:+.1%} resident",
            f"≤ {TOLERANCE:+.0%}",
            max(growth, swelling) <= TOLERANCE,
        )
    ]


if __name__ == "__main__":
    show(measure())
