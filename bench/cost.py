"""What watching costs the Dify server: requests over a day, next to the loop that asks for every batch each 15 s.

Batches come, are indexed within some 15 minutes, and drop out when they have been finished for a day: so one in a
hundred is unfinished at any time. The day begins with an exporter that knows nothing.

The *floor* is what no watcher of that sharpness can do without: every unfinished batch each 15 s
(``polling.interval``), and one detail of every document that finishes. As the exporter asks more rarely while nothing
moves, it can be below.
*At its own pace* is the harder comparison: the requests that it made about batches while they were unfinished, the one
that saw the end included, and one detail of every document that finished; all else is overhead.

Without batch ids the floor is one list a knowledge base and minute (``polling.discovery_interval``), and one detail of
every document that finishes.
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
from exporter.config import Dataset, Polling, Secret, Server
from exporter.logs import set_up_logging
from exporter.simulator import Api, BatchPlan, DatasetPlan, DocumentPlan, Scenario, World
from exporter.tracking import Target, configured_targets

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

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


class Case(NamedTuple):
    """A day to live through. ``knowledge_bases``: so many are searched; 0: the ids of the batches are known."""

    batches: int
    rate: float
    knowledge_bases: int = 0


CASES = (Case(10_000, 10.0), Case(1_000, 5.0), Case(1_000, 5.0, knowledge_bases=100))


class Cost(NamedTuple):
    """What a day cost. ``share``: of the plain loop's requests; ``floors`` and ``paces``: how many times these."""

    case: Case
    requests: Counter[str]
    share: float
    floors: float
    paces: float | None
    busiest: int

    @property
    def good(self) -> bool:
        """Whether the goals are met."""
        return self.share <= SHARE and self.floors <= OVERHEAD and self.busiest <= self.case.rate


def cost(case: Case) -> Cost:
    """Live through a day."""
    if case.knowledge_bases:
        day = discovery(case.batches, case.knowledge_bases, case.rate)
    else:
        day = batches(case.batches, case.rate)
    finished = _finished(day.uploads)
    total = day.traffic.total
    if case.knowledge_bases:
        floor, paces = case.knowledge_bases * DAY / _POLLING.discovery_interval + finished, None
    else:
        floor = _unfinished_seconds(day.uploads) / PLAIN + finished
        paces = total / (day.traffic.needed + finished)
    share = total / (case.batches * DAY / PLAIN)
    return Cost(case, day.traffic.requests, share, total / floor, paces, day.traffic.busiest)


def study(cases: Sequence[Case] = CASES, *, processes: int | None = None) -> str:
    """The table."""
    if processes == 1:
        costs = list(map(cost, cases))
    else:
        workers = processes or os.cpu_count() or 1
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_quiet) as pool:
            costs = list(pool.map(cost, cases))
    columns = (
        *("a day of", "requests", "of the plain loop's", "× the floor", "× its own pace"),
        *("in the busiest second", "by endpoint", "met"),
    )
    rows = map(_row, sorted(costs, key=lambda each: (each.case.knowledge_bases, each.case.batches)))
    explained = (
        "Next to a loop that asks for every batch each 15 s (5,760 a day and batch). One batch in a hundred is "
        "unfinished at any time. *Floor*: every unfinished batch each 15 s and one detail of every document that "
        "finishes; where knowledge bases are searched, one list of each a minute in the place of the batches. *Its own "
        "pace*: the requests about batches while these were unfinished, as the exporter made them, and the same "
        f"details. Goal: ≤ {SHARE:.1%} of the loop's, ≤ {OVERHEAD} × the floor, never more than `requests_per_second` "
        "(5; with 10,000 batches 10)."
    )
    return f"### Requests a day\n\n{explained}\n\n{grid(columns, rows)}"


def _row(found: Cost) -> tuple[str, ...]:
    case = found.case
    what = f"{case.batches:,} batches"
    if case.knowledge_bases:
        what = f"{case.knowledge_bases} knowledge bases with {what}, no ids known"
    total = found.requests.total()
    return (
        what,
        f"{total:,}",
        f"{found.share:.2%}",
        f"{found.floors:.2f}",
        "" if found.paces is None else f"{found.paces:.2f}",
        str(found.busiest),
        ", ".join(f"{name} {number / total:.1%}" for name, number in found.requests.most_common()),
        met(found.good),
    )


def _quiet() -> None:
    set_up_logging("error", "logfmt")


if __name__ == "__main__":
    _quiet()
    print(study())
