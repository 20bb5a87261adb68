"""Detectors that work on the exporter's metrics: its own verdict, and two rules that a user would write.

Prometheus scrapes and evaluates every 15 s. Paused documents do not count as unfinished, because a user would know
that.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

from bench.simulation import Sample, Span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SCRAPE = 15.0
WINDOW = 900.0

STATIC = "unfinished for 15 min"
PROMQL = "increase(completed[15m]) == 0"
PROMQL_CAREFUL = "increase(completed[15m]) == 0 and completed offset 15m"


def own_alarms(shown: Sequence[Sample], ends: float) -> list[Span]:
    """The periods in which the exporter itself reports a stall."""
    return _spans(((sample.at, sample.stalled) for sample in shown), ends)


def alarms_of_rules(shown: Sequence[Sample], ends: float) -> dict[str, list[Span]]:
    """The periods in which each rule fires."""
    scraped = list(_scrape(shown, ends))
    return {
        STATIC: _spans(_unfinished(scraped), ends),
        PROMQL: _spans(_without_increase(scraped, careful=False), ends),
        PROMQL_CAREFUL: _spans(_without_increase(scraped, careful=True), ends),
    }


def _scrape(shown: Sequence[Sample], ends: float) -> Iterator[Sample]:
    """The scraped samples: the latest state at each scrape. While ``completed`` is None, there is no series."""
    if not shown:
        return
    number = 0
    for tick in range(math.ceil(shown[0].at / SCRAPE), math.floor(ends / SCRAPE) + 1):
        now = tick * SCRAPE
        while number + 1 < len(shown) and shown[number + 1].at <= now:
            number += 1
        yield shown[number]._replace(at=now)


def _unfinished(scraped: Sequence[Sample]) -> Iterator[tuple[float, bool]]:
    """``dify_batch_documents{status!~"completed|error|paused"} > 0`` ``for: 15m``."""
    since: float | None = None
    for sample in scraped:
        if not sample.active:
            since = None
        elif since is None:
            since = sample.at
        yield sample.at, since is not None and sample.at - since >= WINDOW


def _without_increase(scraped: Sequence[Sample], *, careful: bool) -> Iterator[tuple[float, bool]]:
    """``increase`` needs two samples and treats a decrease as a counter reset: the increase from 0 counts."""
    limit = WINDOW - SCRAPE / 2
    window: deque[tuple[float, bool]] = deque()
    before: float | None = None
    rises, oldest = 0, -math.inf
    for sample in scraped:
        if sample.completed is not None:
            rose = before is not None and (sample.completed > before or 0 < sample.completed < before)
            before = sample.completed
            window.append((sample.at, rose))
            rises += rose
        # The increase up to the first sample of the window is outside it.
        while window and window[0][0] < sample.at - limit:
            oldest, _ = window.popleft()
            if window:
                rises -= window[0][1]
                window[0] = (window[0][0], False)
        known = len(window) >= 2 and sample.completed is not None
        old = not careful or sample.at - oldest <= WINDOW
        yield sample.at, known and old and not rises and sample.active > 0


def _spans(states: Iterator[tuple[float, bool]], ends: float) -> list[Span]:
    spans: list[Span] = []
    since: float | None = None
    for at, fires in states:
        if fires and since is None:
            since = at
        elif not fires and since is not None:
            spans.append(Span(since, at))
            since = None
    if since is not None:
        spans.append(Span(since, ends))
    return spans
