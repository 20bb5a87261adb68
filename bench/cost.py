"""What watching costs the Dify server: requests over a day, next to the loop that asks for every batch each 15 s.

Batches come, are indexed within some 15 minutes, and drop out when they have been finished for a day: so one in a
hundred is unfinished at any time. The day begins with an exporter that knows nothing.

The *floor* is what no watcher of that sharpness can do without: every unfinished batch each 15 s (``polling.interval``),
and one detail of every document that finishes. As the exporter asks more rarely while nothing moves, it can be below.
*At its own pace* is the harder comparison: the requests that it made about batches while they were unfinished, the one
that saw the end included, and one detail of every document that finished; all else is overhead.

Without batch ids the floor is one list a knowledge base and minute (``polling.discovery_interval``), and one detail of
every document that finishes.
"""

from __future__ import annotations

import sys
from functools import partial
from random import Random
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from bench.results import Row, show
from bench.virtual import Course, Exporter, Since, Traffic
from exporter.clock import ManualClock
from exporter.config import Dataset, Polling, Secret, Server
from exporter.logs import set_up_logging
from exporter.simulator import Api, BatchPlan, DatasetPlan, DocumentPlan, Scenario, World
from exporter.tracking import Target, configured_targets

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from exporter.tracking import Change

DAY = 86_400.0
KEPT = DAY
"""Seconds that a finished batch is watched for: ``retention.finished``."""

UNFINISHED = 0.01
LIFE = KEPT * UNFINISHED / (1 - UNFINISHED)
"""Seconds from upload to end, on average: with it one batch in a hundred is unfinished."""

PLAIN = 15.0
SHARE, OVERHEAD = 0.016, 1.3
EXPIRE_EVERY = 60
KEY = "dataset-bench"

_POLLING = Polling()


class Upload(NamedTuple):
    """A batch: where, from when, until when it is unfinished."""

    dataset_id: str
    batch: str
    begins: float
    ends: float
    documents: int


class Day(NamedTuple):
    """What a day was made of."""

    traffic: Watching
    uploads: tuple[Upload, ...]
    rate: float


class Watching(Traffic):
    """Also counts the requests about batches that were unfinished, and the ones that saw their end."""

    def __init__(self, uploads: Sequence[Upload]) -> None:
        super().__init__()
        self.needed = 0
        self._ends = {upload.batch: upload.ends for upload in uploads}

    def sent(self, endpoint: str, path: str, now: float) -> None:
        """A request begins."""
        super().sent(endpoint, path, now)
        if endpoint == "indexing_status":
            batch = path.rsplit("/", 2)[1]
            ends = self._ends[batch]
            self.needed += ends > 0
            if now >= ends:
                self._ends[batch] = 0.0


def batches(count: int, rate: float) -> Day:
    """A day with so many batches watched by their ids."""
    plans, uploads = _draw(count, knowledge_bases=max(count // 100, 1))
    server = _server(rate, datasets=tuple(Dataset(plan.id) for plan in plans))
    return _live(server, plans, uploads)


def discovery(count: int, knowledge_bases: int, rate: float) -> Day:
    """A day in which knowledge bases are searched, and the same batches found without their ids."""
    plans, uploads = _draw(count, knowledge_bases=knowledge_bases)
    return _live(_server(rate, discover=True), plans, uploads)


def _server(rate: float, *, datasets: tuple[Dataset, ...] = (), discover: bool = False) -> Server:
    return Server(
        "main",
        "http://127.0.0.1:5001/v1",
        api_key=Secret(KEY),
        requests_per_second=rate,
        discover=discover,
        datasets=datasets,
    )


def _draw(count: int, knowledge_bases: int) -> tuple[tuple[DatasetPlan, ...], tuple[Upload, ...]]:
    """Two days of uploads, evenly; on the second one the exporter watches."""
    random = Random(count)  # noqa: S311 no secret
    spacing = (KEPT + LIFE) / count
    planned: dict[str, list[BatchPlan]] = {_dataset_id(number): [] for number in range(knowledge_bases)}
    uploads = []
    for number in range(int(2 * DAY / spacing)):
        begins = number * spacing
        life = LIFE * random.uniform(0.5, 1.5)
        documents = random.randint(1, 3)
        share = 0.9 * life / documents
        document = DocumentPlan(parse=0.1 * share, split=0.2 * share, index=0.7 * share)
        dataset_id = _dataset_id(random.randrange(knowledge_bases))
        plan = BatchPlan(id=f"b{number}", at=begins, queue=0.1 * life, documents=(document,) * documents)
        planned[dataset_id].append(plan)
        uploads.append(Upload(dataset_id, plan.id, begins, begins + life, documents))
    plans = tuple(
        DatasetPlan(id=dataset_id, name=dataset_id[-4:], technique="high_quality", batches=tuple(some))
        for dataset_id, some in planned.items()
    )
    return plans, tuple(uploads)


def _dataset_id(number: int) -> str:
    return str(UUID(int=(0xDA7A << 112) + number))


def _live(server: Server, plans: tuple[DatasetPlan, ...], uploads: tuple[Upload, ...]) -> Day:
    clock = ManualClock()
    course = Course(clock)
    api = Api(World(Scenario(key=KEY, workers=None, datasets=plans), clock))
    course.run(DAY)
    traffic = Watching(uploads)
    exporter = Exporter(server, api, Since(clock), listener=_Deaf(), traffic=traffic)
    watch, forget = exporter.poller.watch, partial(_forget, exporter)
    watch(configured_targets(server))
    for upload in () if server.discover else uploads:
        target = Target("batch", upload.dataset_id, upload.batch)
        if upload.ends + KEPT > DAY:
            course.enter(max(upload.begins, DAY), partial(watch, [target]))
            course.enter(upload.ends + KEPT, partial(forget, target))
    for second in range(int(DAY), int(2 * DAY), EXPIRE_EVERY):
        course.enter(second, partial(exporter.store.expire, KEPT))
    course.exporter = exporter
    course.run(2 * DAY)
    return Day(traffic, uploads, server.requests_per_second)


def _forget(exporter: Exporter, target: Target) -> None:
    exporter.poller.unwatch([target])
    exporter.store.forget_batch(target.dataset_id, target.id)


class _Deaf:
    """Listens to nothing."""

    def changed(self, changes: Sequence[Change]) -> None:
        """Let it pass."""


def _unfinished_seconds(uploads: Sequence[Upload]) -> float:
    """Seconds that batches were unfinished on the watched day, all together."""
    return sum(max(0.0, min(upload.ends, 2 * DAY) - max(upload.begins, DAY)) for upload in uploads)


def _finished(uploads: Sequence[Upload]) -> int:
    """Documents of the batches that came to their end on the watched day."""
    return sum(upload.documents for upload in uploads if DAY <= upload.ends < 2 * DAY)


def measure(sizes: Sequence[tuple[int, float]] = ((1_000, 5.0), (10_000, 10.0)), knowledge_bases: int = 100) -> list[Row]:
    """A row for each number of batches (with its ``requests_per_second``), and one for discovery."""
    rows = []
    for count, rate in sizes:
        day = batches(count, rate)
        finished = _finished(day.uploads)
        floor = _unfinished_seconds(day.uploads) / PLAIN + finished
        pace = f"{day.traffic.total / (day.traffic.needed + finished):.2f} × its own pace"
        rows.append(_row(f"{count:,} batches, 1 % unfinished", day, count, floor, pace))
    count, rate = sizes[0]
    day = discovery(count, knowledge_bases, rate)
    floor = knowledge_bases * DAY / _POLLING.discovery_interval + _finished(day.uploads)
    what = f"{knowledge_bases} knowledge bases, {count:,} batches whose ids nobody knows"
    return [*rows, _row(what, day, count, floor, "")]


def _row(what: str, day: Day, count: int, floor: float, pace: str) -> Row:
    plain = count * DAY / PLAIN
    total = day.traffic.total
    shares = (f"{name} {found / total:.1%}" for name, found in day.traffic.requests.most_common())
    result = [f"{total / plain:.2%} of the loop's", f"{total / floor:.2f} × the floor of {floor:,.0f}", pace]
    busiest = f"{day.traffic.busiest} requests in the busiest second"
    return Row(
        f"requests a day: {what}",
        f"{total:,} ({', '.join(shares)}), {busiest}",
        f"each batch every 15 s: {plain:,.0f}",
        ", ".join(filter(None, result)),
        f"≤ {SHARE:.1%}, ≤ {OVERHEAD} × the floor, ≤ {day.rate:g} requests a second",
        total <= SHARE * plain and total <= OVERHEAD * floor and day.traffic.busiest <= day.rate,
    )


if __name__ == "__main__":
    set_up_logging("error", "logfmt")
    show(measure(((1_000, 5.0),) if "--small" in sys.argv else ((1_000, 5.0), (10_000, 10.0))))
