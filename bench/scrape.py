"""The cost of a scrape in the web applications: with gzip, unchanged, or with one document in a hundred changed."""

from __future__ import annotations

import asyncio
import itertools
import zlib
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from bench.knowledge import BATCH_SIZE, Watched
from bench.library import CustomCollector, LabelledGauges
from bench.results import Row, middle, seconds, show, times
from bench.side import side
from exporter.daemon import allocator
from exporter.web import ExporterStatus, create_app

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import ASGIApp

    from bench.side import Cost, Side
    from exporter.metrics import Exposition
    from exporter.tracking import Progress

OURS, GAUGES, COLLECTOR = "exporter", "labelled gauges", "custom collector"
FASTER, CHEAPER = 500.0, 300.0
CHANGED = 100
"""One batch in this many changes between two scrapes: 1 %."""


class Fetcher:
    """Requests the metrics of an ASGI application as Prometheus does, without a socket."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._loop = asyncio.new_event_loop()

    def scrape(self) -> int:
        """The size of the compressed page in bytes. Parts are discarded at once, as a socket would do."""
        size = 0

        def count(part: bytes) -> None:
            nonlocal size
            size += len(part)

        self._loop.run_until_complete(self._ask(count))
        return size

    def lines(self) -> list[bytes]:
        """The number of series in the page."""
        parts: list[bytes] = []
        self._loop.run_until_complete(self._ask(parts.append))
        text = zlib.decompress(b"".join(parts), wbits=16 + zlib.MAX_WBITS)
        return [line for line in text.splitlines() if not line.startswith(b"#")]

    def close(self) -> None:
        """Stop the application."""
        self._loop.close()

    async def _ask(self, take: Callable[[bytes], None]) -> None:
        headers = [(b"accept", b"text/plain;version=0.0.4"), (b"accept-encoding", b"gzip")]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "path": "/metrics",
            "raw_path": b"/metrics",
            "query_string": b"",
            "root_path": "",
            "headers": headers,
        }
        requests = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> Any:
            message = next(requests, None)
            if message is None:
                await asyncio.Event().wait()
            return message

        async def send(message: Any) -> None:
            take(message.get("body", b""))

        await self._app(scope, receive, send)


def metrics_app(exposition: Exposition) -> ASGIApp:
    """The exporter's application on an exposition."""
    return create_app(exposition.page, ExporterStatus(), telemetry_path="/metrics")


def ours(batches: int) -> Mapping[str, Callable[[], Any]]:
    """The exporter."""
    allocator.limit_retained_memory()
    watched = Watched(batches)
    watched.poll()
    fetcher = Fetcher(metrics_app(watched.exposition))
    moving = Moving(watched)
    return {
        "scrape": fetcher.scrape,
        "series": lambda: len(fetcher.lines()),
        "prepare": moving.prepare,
        "change": lambda: watched.exposition.changed(moving.changes),
    }


def gauges(batches: int) -> Mapping[str, Callable[[], Any]]:
    """The library, with one child per series."""
    return _library(LabelledGauges(), batches)


def collector(batches: int) -> Mapping[str, Callable[[], Any]]:
    """The library, with stored values that are converted to families at each scrape."""
    return _library(CustomCollector(), batches)


def measure(batches: int = 1_000, rounds: int = 3) -> list[Row]:
    """Two rows: unchanged, and one document in a hundred changed. The sides alternate."""
    costs: dict[tuple[str, bool], list[Cost]] = {}
    with side(ours, batches) as one, side(gauges, batches) as two, side(collector, batches) as three:
        sides = {OURS: one, GAUGES: two, COLLECTOR: three}
        for each in sides.values():
            each.ask("make")
            each.ask("scrape")
        series = one.ask("series").value
        for _ in range(rounds):
            for name, each in sides.items():
                for changed in (False, True):
                    # One scrape of ours is too short to measure.
                    for _ in range(5 if name == OURS else 1):
                        costs.setdefault((name, changed), []).append(_scrape(each, changed=changed))
    return [_row(costs, batches, series, changed=changed) for changed in (False, True)]


def _scrape(each: Side, *, changed: bool) -> Cost:
    """Wall time is that of the scrape; CPU time includes ingesting the change."""
    before = 0.0
    if changed:
        each.ask("prepare")
        before = each.ask("change").cpu
    cost = each.ask("scrape")
    return cost._replace(cpu=cost.cpu + before)


def _row(costs: dict[tuple[str, bool], list[Cost]], batches: int, series: int, *, changed: bool) -> Row:
    wall = {name: middle([cost.wall for cost in costs[name, changed]]) for name in (OURS, GAUGES, COLLECTOR)}
    cpu = {name: middle([cost.cpu for cost in costs[name, changed]]) for name in (OURS, GAUGES, COLLECTOR)}
    faster = [wall[name] / wall[OURS] for name in (GAUGES, COLLECTOR)]
    cheaper = [cpu[name] / cpu[OURS] for name in (GAUGES, COLLECTOR)]
    what = "1 % changed" if changed else "unchanged"
    return Row(
        f"scrape, gzip, {batches * BATCH_SIZE:,} documents = {series:,} series, {what}",
        f"{seconds(wall[OURS])}, CPU {seconds(cpu[OURS])}",
        f"labelled gauges {seconds(wall[GAUGES])}, CPU {seconds(cpu[GAUGES])}; "
        f"custom collector {seconds(wall[COLLECTOR])}, CPU {seconds(cpu[COLLECTOR])}",
        f"{times(faster[0])} and {times(faster[1])} faster, {times(cheaper[0])} and {times(cheaper[1])} less CPU",
        f"≥ {FASTER:g} × faster, ≥ {CHEAPER:g} × less CPU",
        min(faster) >= FASTER and min(cheaper) >= CHEAPER,
    )


def _library(metrics: LabelledGauges | CustomCollector, batches: int) -> Mapping[str, Callable[[], Any]]:
    watched = Watched(batches)
    watched.poll()
    metrics.set(watched.objects())
    moving = Moving(watched)
    return {
        "scrape": Fetcher(metrics.app).scrape,
        "prepare": moving.prepare,
        "change": lambda: metrics.set(new for _, new in moving.changes),
    }


class Moving:
    """Batches whose documents get one more segment each time; a different, evenly spread set each time."""

    def __init__(self, watched: Watched) -> None:
        self.changes: list[Any] = []
        self._watched = watched
        self._objects: dict[int, list[Any]] = {}
        self._turns = itertools.count()

    def prepare(self) -> None:
        """Prepare the next ``changes``."""
        self.changes = []
        count = len(self._watched.upstream.targets)
        for number in range(next(self._turns) % min(CHANGED, count), count, CHANGED):
            batch, *documents = before = self._objects.get(number) or self._watched.objects_of(number)
            after = [
                replace(
                    batch,
                    completed_segments=batch.completed_segments + len(documents),
                    last_progress_monotonic=batch.last_progress_monotonic + 1,
                ),
                *[replace(document, progress=_one_more(document.progress)) for document in documents],
            ]
            self._objects[number] = after
            self.changes += zip(before, after, strict=True)


def _one_more(progress: Progress) -> Progress:
    return replace(progress, completed_segments=(progress.completed_segments or 0) + 1)


if __name__ == "__main__":
    show(measure())
