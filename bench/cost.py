"""The load on the Dify server in requests per day, compared with a loop that polls every batch every 15 s.

Batches are uploaded, are indexed within about 15 minutes, and are dropped one day after they finished: at any time, one
in a hundred is unfinished. The day starts with an exporter without any state.

The *floor* is the minimum for any watcher with the same resolution: every unfinished batch every 15 s
(``polling.interval``), and one detail of every document that finishes. The exporter can be below the floor, because it
polls less often while nothing changes. The comparison with *its own intervals* is stricter: the requests that the
exporter made for batches while they were unfinished, including the one that observed the end, and one detail of every
document that finished; all other requests are overhead.

Without batch ids, the floor is one document list per knowledge base and minute (``polling.discovery_interval``), and
one detail of every document that finishes.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from random import Random
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from bench.markdown import grid, met
from bench.virtual import Course, Exporter, Since, Traffic
from exporter.clock import ManualClock
from exporter.config import DatasetConfig, Polling, Secret, ServerConfig
from exporter.daemon.logs import set_up_logging
from exporter.polling import BATCH_STATUS, Target, configured_targets
from exporter.simulator import Api, BatchPlan, DatasetPlan, DocumentPlan, Scenario, World

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from exporter.tracking import Change

DAY = 86_400.0
RETENTION = DAY
"""Seconds for which a finished batch is watched: ``retention.finished``."""

UNFINISHED = 0.01
INDEXING = RETENTION * UNFINISHED / (1 - UNFINISHED)
"""Mean seconds from upload to finish; it makes one batch in a hundred unfinished."""

PLAIN = 15.0
SHARE, OVERHEAD = 0.016, 1.3
EXPIRE_EVERY = 60
KEY = "dataset-bench"

_POLLING = Polling()


class Upload(NamedTuple):
    """A batch: its knowledge base, its upload time and the time at which it finishes."""

    dataset_id: str
    batch: str
    begins: float
    ends: float
    documents: int


class Day(NamedTuple):
    """The simulated day."""

    traffic: Watching
    uploads: tuple[Upload, ...]
    rate: float


class Watching(Traffic):
    """Also counts requests for unfinished batches, including those that observe the end."""

    def __init__(self, uploads: Sequence[Upload]) -> None:
        super().__init__()
        self.needed = 0
        self._ends = {upload.batch: upload.ends for upload in uploads}

    def sent(self, endpoint: str, path: str, now: float) -> None:
        """Record a request."""
        super().sent(endpoint, path, now)
        if endpoint == "indexing_status":
            batch = path.rsplit("/", 2)[1]
            ends = self._ends[batch]
            self.needed += ends > 0
            if now >= ends:
                self._ends[batch] = 0.0


def batches(count: int, rate: float) -> Day:
    """A day with ``count`` batches watched by their ids."""
    plans, uploads = _draw(count, dataset_ids=max(count // 100, 1))
    server = _server(rate, datasets=tuple(DatasetConfig(plan.id) for plan in plans))
    return _live(server, plans, uploads)


def discovery(count: int, dataset_ids: int, rate: float) -> Day:
    """A day with discovery in all knowledge bases; the same batches are found without their ids."""
    plans, uploads = _draw(count, dataset_ids=dataset_ids)
    return _live(_server(rate, discover=True), plans, uploads)


def _server(rate: float, *, datasets: tuple[DatasetConfig, ...] = (), discover: bool = False) -> ServerConfig:
    return ServerConfig(
        "main",
        "http://127.0.0.1:5001/v1",
        api_key=Secret(KEY),
        requests_per_second=rate,
        discover=discover,
        datasets=datasets,
    )


def _draw(count: int, dataset_ids: int) -> tuple[tuple[DatasetPlan, ...], tuple[Upload, ...]]:
    """Evenly spread uploads for two days; the exporter runs on the second day."""
    random = Random(count)  # noqa: S311 no secret
    spacing = (RETENTION + INDEXING) / count
    planned: dict[str, list[BatchPlan]] = {_dataset_id(number): [] for number in range(dataset_ids)}
    uploads = []
    for number in range(int(2 * DAY / spacing)):
        begins = number * spacing
        duration = INDEXING * random.uniform(0.5, 1.5)
        documents = random.randint(1, 3)
        share = 0.9 * duration / documents
        document = DocumentPlan(parse=0.1 * share, split=0.2 * share, index=0.7 * share)
        dataset_id = _dataset_id(random.randrange(dataset_ids))
        plan = BatchPlan(id=f"b{number}", at=begins, queue=0.1 * duration, documents=(document,) * documents)
        planned[dataset_id].append(plan)
        uploads.append(Upload(dataset_id, plan.id, begins, begins + duration, documents))
    plans = tuple(
        DatasetPlan(id=dataset_id, name=dataset_id[-4:], technique="high_quality", batches=tuple(some))
        for dataset_id, some in planned.items()
    )
    return plans, tuple(uploads)


def _dataset_id(number: int) -> str:
    return str(UUID(int=(0xDA7A << 112) + number))


def _live(server: ServerConfig, plans: tuple[DatasetPlan, ...], uploads: tuple[Upload, ...]) -> Day:
    clock = ManualClock()
    course = Course(clock)
    api = Api(World(Scenario(key=KEY, workers=None, datasets=plans), clock))
    course.run(DAY)
    traffic = Watching(uploads)
    exporter = Exporter(server, api, Since(clock), listener=_Deaf(), traffic=traffic)
    watch, forget = exporter.poller.watch, partial(_forget, exporter)
    watch(configured_targets(server))
    for upload in () if server.discover else uploads:
        target = Target(BATCH_STATUS, upload.dataset_id, upload.batch)
        if upload.ends + RETENTION > DAY:
            course.enter(max(upload.begins, DAY), partial(watch, [target]))
            course.enter(upload.ends + RETENTION, partial(forget, target))
    for second in range(int(DAY), int(2 * DAY), EXPIRE_EVERY):
        course.enter(second, partial(exporter.store.expire, RETENTION))
    course.exporter = exporter
    course.run(2 * DAY)
    return Day(traffic, uploads, server.requests_per_second)


def _forget(exporter: Exporter, target: Target) -> None:
    exporter.poller.unwatch([target])
    exporter.store.remove_batch(target.dataset_id, target.id)


class _Deaf:
    """A listener that ignores all events."""

    def changed(self, changes: Sequence[Change], *, durable: bool = False) -> None:
        """Let it pass."""


def _unfinished_seconds(uploads: Sequence[Upload]) -> float:
    """Total seconds for which batches were unfinished on the watched day."""
    return sum(max(0.0, min(upload.ends, 2 * DAY) - max(upload.begins, DAY)) for upload in uploads)


def _finished(uploads: Sequence[Upload]) -> int:
    """Documents of the batches that finished on the watched day."""
    return sum(upload.documents for upload in uploads if DAY <= upload.ends < 2 * DAY)


class Case(NamedTuple):
    """A day to simulate. ``dataset_ids``: number with discovery; 0: batch ids are known."""

    batches: int
    rate: float
    dataset_ids: int = 0


CASES = (Case(10_000, 10.0), Case(1_000, 5.0), Case(1_000, 5.0, dataset_ids=100))


class Cost(NamedTuple):
    """The requests of a day, as ratios: ``share`` to the plain loop, ``floors`` and ``intervals`` as above."""

    case: Case
    requests: Counter[str]
    share: float
    floors: float
    intervals: float | None
    busiest: int

    @property
    def good(self) -> bool:
        """Whether the goals are met."""
        return self.share <= SHARE and self.floors <= OVERHEAD and self.busiest <= self.case.rate


def cost(case: Case) -> Cost:
    """Simulate a day."""
    day = discovery(case.batches, case.dataset_ids, case.rate) if case.dataset_ids else batches(case.batches, case.rate)
    finished = _finished(day.uploads)
    total = day.traffic.total
    if case.dataset_ids:
        floor, intervals = case.dataset_ids * DAY / _POLLING.discovery_interval + finished, None
    else:
        floor = _unfinished_seconds(day.uploads) / PLAIN + finished
        intervals = total / (day.traffic.needed + finished)
    share = total / (case.batches * DAY / PLAIN)
    return Cost(case, day.traffic.requests, share, total / floor, intervals, day.traffic.busiest)


def study(cases: Sequence[Case] = CASES, *, processes: int | None = None) -> str:
    """Simulate all cases; return a Markdown table."""
    if processes == 1:
        costs = list(map(cost, cases))
    else:
        workers = processes or os.cpu_count() or 1
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_quiet) as pool:
            costs = list(pool.map(cost, cases))
    columns = (
        *("a day with", "requests", "share of the plain loop", "× the floor", "× its own intervals"),
        *("busiest second", "by endpoint", "met"),
    )
    rows = map(_row, sorted(costs, key=lambda each: (each.case.dataset_ids, each.case.batches)))
    explained = (
        "Compared with a loop that polls every batch every 15 s (5,760 requests per batch and day). One batch in a "
        "hundred is unfinished at any time. *Floor*: every unfinished batch every 15 s, and one detail of every "
        "document that finishes; with discovery, one document list per knowledge base and minute instead of the "
        "batches. *Its own intervals*: the requests that the exporter made for batches while they were unfinished, and "
        f"the same details. Goal: ≤ {SHARE:.1%} of the plain loop's requests, ≤ {OVERHEAD} × the floor, never more "
        "than `requests_per_second` (5; with 10,000 batches 10)."
    )
    return f"### Requests per day\n\n{explained}\n\n{grid(columns, rows)}"


def _row(found: Cost) -> tuple[str, ...]:
    case = found.case
    what = f"{case.batches:,} batches"
    if case.dataset_ids:
        what = f"{case.dataset_ids} knowledge bases with {what}, no ids known"
    total = found.requests.total()
    return (
        what,
        f"{total:,}",
        f"{found.share:.2%}",
        f"{found.floors:.2f}",
        "" if found.intervals is None else f"{found.intervals:.2f}",
        str(found.busiest),
        ", ".join(f"{name} {number / total:.1%}" for name, number in found.requests.most_common()),
        met(found.good),
    )


def _quiet() -> None:
    set_up_logging("error", "logfmt")


if __name__ == "__main__":
    _quiet()
    print(study())
