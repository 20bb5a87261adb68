"""Simultaneous scrapes and polls: how much they delay each other."""

from __future__ import annotations

import http.client
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

from bench.dify import BURST, export, serve
from bench.knowledge import BATCH_SIZE
from bench.polling import CONCURRENCY
from bench.results import Row, middle, seconds, show
from bench.side import side

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.side import Side

LONGEST_SCRAPE = 0.1
LONGEST_DELAY = 0.02
PAUSE = 0.2
"""Seconds between two scrapes."""


def measure(batches: int = 1_000) -> list[Row]:
    """Two rows: scrapes during a burst of polls, and polls during scrapes."""
    with side(serve, batches) as dify:
        dify.ask("make")
        url = dify.ask("url").value
        with side(export, url, batches, CONCURRENCY) as ours:
            ours.ask("make")
            ours.ask("first")
            port = ours.ask("port").value
            alone = _scrapes(port, lambda: _rest(BURST / 3))
            busy = _scrapes(port, lambda: _burst(dify, ours))
            undisturbed: list[float] = []
            disturbed: list[float] = []
            for _ in range(2):
                dify.ask("move")
                undisturbed += ours.ask("spans").value
                dify.ask("move")
                _scrapes(port, lambda: disturbed.extend(ours.ask("spans").value))
    return [_scrape_row(batches, alone, busy), _poll_row(undisturbed, disturbed)]


def _burst(dify: Side, ours: Side) -> None:
    """Run poll cycles in which all batches have changed."""
    end = time.monotonic() + BURST
    while time.monotonic() < end:
        dify.ask("move")
        ours.ask("again")


def _scrape_row(batches: int, alone: Sequence[float], busy: Sequence[float]) -> Row:
    return Row(
        f"scrape during a burst of polls, {batches * BATCH_SIZE:,} documents, concurrency {CONCURRENCY}",
        f"median {seconds(middle(busy))}, 95 % within {seconds(_most(busy))}, longest {seconds(max(busy))}",
        f"without polls {seconds(middle(alone))}",
        seconds(_most(busy)),
        f"95 % ≤ {seconds(LONGEST_SCRAPE)}",
        _most(busy) <= LONGEST_SCRAPE,
    )


def _poll_row(undisturbed: Sequence[float], disturbed: Sequence[float]) -> Row:
    delay = middle(disturbed) - middle(undisturbed)
    most = _most(disturbed) - middle(undisturbed)
    return Row(
        f"poll while the page is scraped every {seconds(PAUSE)}",
        f"{seconds(middle(disturbed))}, 95 % within {seconds(_most(disturbed))}",
        f"without scrapes {seconds(middle(undisturbed))}, 95 % within {seconds(_most(undisturbed))}",
        f"delayed {seconds(max(delay, 0.0))}, 95 % by at most {seconds(max(most, 0.0))}",
        f"≤ {seconds(LONGEST_DELAY)}",
        most <= LONGEST_DELAY,
    )


def _scrapes(port: int, meanwhile: Callable[[], object]) -> list[float]:
    """The durations in seconds of the scrapes made until ``meanwhile`` returned."""
    found: list[float] = []
    done = threading.Event()

    def scrape() -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            while not done.wait(PAUSE):
                started = time.perf_counter()
                connection.request("GET", "/metrics", headers={"Accept-Encoding": "gzip"})
                connection.getresponse().read()
                found.append(time.perf_counter() - started)

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        meanwhile()
    finally:
        done.set()
        thread.join()
    return found


def _rest(span: float) -> None:
    threading.Event().wait(span)


def _most(values: Sequence[float]) -> float:
    """The 95th percentile."""
    return sorted(values)[int(0.95 * (len(values) - 1))]


if __name__ == "__main__":
    show(measure())
