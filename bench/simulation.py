"""A server with several lifecycles, watched by an exporter that may be killed, through an API that may fail."""

from __future__ import annotations

import shutil
from functools import partial
from math import inf
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from bench.lifecycles import ECONOMY, HIGH, PIPELINE, Batch
from bench.modes import draw
from bench.virtual import Course, Exporter, Since, Traffic
from exporter.clock import ManualClock
from exporter.config import DatasetConfig, Secret, ServerConfig
from exporter.polling import BATCH_STATUS, Target, configured_targets
from exporter.simulator import Api, DatasetPlan, Fault, Scenario, World, document_id
from exporter.state import StateFile
from exporter.tracking import FINISHED, STATUSES, Document
from exporter.tracking import Batch as ScannedDocuments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.lifecycles import Lifecycle, Standstill
    from exporter.tracking import Change

LIFECYCLES = 24
"""Lifecycles per server."""

SEED = 20_261_121
"""Seed of the random lifecycles: the same in each run."""

OUTAGES_AT = (2, 3)
"""Of every eight servers, those whose API is unreadable for an hour."""

START_WITHIN = 1_800.0
OUTAGE = 3_600.0
SAVE_EVERY = 30.0
KEY = "dataset-bench"
NAME = "main"

_DATASETS = {kind: str(UUID(int=(0xDA7A << 112) + number)) for number, kind in enumerate((HIGH, ECONOMY, PIPELINE))}
_OUTAGES = (
    {"kind": "html", "status": 502},
    {"kind": "postgres_down"},
    {"kind": "delay", "seconds": 60.0},
    {"kind": "cut"},
)
_IDLE = FINISHED | {"paused"}
_ACTIVE = [status not in _IDLE for status in STATUSES]


class Sample(NamedTuple):
    """What the exporter shows of a batch, or of a document without a batch, from an instant on.

    ``active``: number of documents that are neither finished nor paused. ``completed``: segments; None when not shown.
    """

    at: float
    stalled: bool = False
    active: int = 0
    completed: float | None = None


class Span(NamedTuple):
    """A period of time."""

    begins: float
    ends: float


class Subject(NamedTuple):
    """A batch or document that can stall: the ground truth, and what the exporter showed.

    ``began``: start of its lifecycle; all times are seconds of the shared clock. ``discovered``: without a known batch
    id.
    """

    mode: str
    began: float
    truth: tuple[Standstill, ...]
    shown: tuple[Sample, ...]
    discovered: bool


class Record(NamedTuple):
    """The record of all events on a server.

    ``deaf``: progress in this period becomes known only after it; ``down``: no verdict is possible; ``outage``: of the
    API.
    """

    subjects: tuple[Subject, ...]
    deaf: tuple[Span, ...]
    down: tuple[Span, ...]
    outage: Span | None
    ends: float


class Recorder:
    """A listener that records how the objects change."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.shown: dict[str, list[Sample]] = {}

    def changed(self, changes: Sequence[Change], *, durable: bool = False) -> None:  # noqa: ARG002 of the protocol
        """Record the changes of one answer."""
        now = self._clock.monotonic()
        for old, new in changes:
            if isinstance(new, ScannedDocuments):
                active = sum(count for count, counts in zip(new.counts, _ACTIVE, strict=True) if counts)
                self._add(new.batch, Sample(now, new.stalled, active, new.completed_segments))
            elif isinstance(new, Document):
                active = new.progress.status not in _IDLE
                self._add(new.document_id, Sample(now, new.stalled, int(active), new.progress.completed_segments))
            elif isinstance(old, (ScannedDocuments, Document)):
                self._add(old.batch if isinstance(old, ScannedDocuments) else old.document_id, Sample(now))

    def clear(self) -> None:
        """Record that nothing is shown any more."""
        for shown in self.shown.values():
            shown.append(Sample(self._clock.monotonic()))

    def _add(self, key: str, sample: Sample) -> None:
        shown = self.shown.setdefault(key, [])
        if not shown or shown[-1][1:] != sample[1:]:
            shown.append(sample)


class Simulation:
    """A server. With an odd number, the exporter is restarted; every fifth server is watched without batch ids."""

    def __init__(self, number: int, folder: Path) -> None:
        self._random = random = Random(SEED + number)  # noqa: S311 no secret
        self._folder = folder
        self._discovered = number % 5 == 0
        self._clock = ManualClock()
        self._recorder = Recorder(self._clock)
        self._course = Course(self._clock)
        self._began: dict[str, float] = {}
        self._watched: list[Target] = []
        self._processes = 0
        self._state: StateFile | None = None
        self._lifecycles = [(random.uniform(0, START_WITHIN), self._draw(number)) for number in range(LIFECYCLES)]
        self._ends = max(start + lifecycle.ends for start, lifecycle in self._lifecycles)
        self._outage = self._draw_outage() if number % 8 in OUTAGES_AT else None
        scenario = Scenario(
            key=KEY,
            workers=None,
            zone_offset=random.choice((0.0, 0.0, 8.0, -5.0)),
            datasets=tuple(_plan(kind, dataset_id) for kind, dataset_id in _DATASETS.items()),
            faults=(self._fault(),) if self._outage else (),
        )
        self._world = World(scenario, self._clock)
        self._api = Api(self._world)
        self._server = ServerConfig(
            NAME,
            "http://127.0.0.1:5001/v1",
            api_key=Secret(KEY),
            discover=self._discovered,
            datasets=() if self._discovered else tuple(DatasetConfig(each) for each in _DATASETS.values()),
        )
        self._restarts = self._draw_restarts() if number % 2 else []

    def run(self) -> Record:
        """Run the whole simulation."""
        deaf = [self._outage] if self._outage else []
        down = list(deaf)
        begins = 0.0
        for kill, again, graceful in self._restarts:
            self._course.enter(kill, partial(self._end, graceful=graceful))
            self._course.enter(again, self._begin)
            saved = kill
            if not graceful:
                # Only the last save counts: it contains everything that earlier ones wrote.
                saved = begins + (kill - begins) // SAVE_EVERY * SAVE_EVERY
                self._course.enter(saved, self._save)
            down.append(Span(kill, again))
            deaf.append(Span(saved, again))
            begins = again
        for start, lifecycle in self._lifecycles:
            self._course.enter(start, partial(self._open, lifecycle))
        self._begin()
        self._course.run(self._ends)
        if self._state is not None:
            self._state.close()
        return Record(
            tuple(subject for _, lifecycle in self._lifecycles for subject in self._subjects(lifecycle)),
            tuple(sorted(deaf)),
            tuple(sorted(down)),
            self._outage,
            self._ends,
        )

    def _draw(self, number: int) -> Lifecycle:
        return draw(self._random, f"20261121{number:012d}", single=self._discovered)

    def _draw_outage(self) -> Span:
        begins = self._random.uniform(600, 5_400)
        return Span(begins, begins + OUTAGE)

    def _fault(self) -> Fault:
        begins, ends = self._outage or Span(inf, inf)
        return Fault(begins=begins, ends=ends, **self._random.choice(_OUTAGES))

    def _draw_restarts(self) -> list[tuple[float, float, bool]]:
        """When the exporter stops, when it is back, and whether it could save."""
        restarts = []
        instant = 0.0
        for _ in range(self._random.randint(2, 4)):
            instant += self._random.uniform(300, 3_000)
            again = instant + self._random.choice((2.0, 30.0, 300.0))
            restarts.append((instant, again, self._random.random() < 0.3))
            instant = again
        return restarts

    def _begin(self) -> None:
        """Start a process with the state file of the previous one."""
        clock = Since(self._clock)
        memory = None
        if self._restarts:
            folder = self._folder / str(self._processes)
            self._processes += 1
            if self._processes > 1:
                shutil.copytree(self._folder / str(self._processes - 2), folder)
            else:
                folder.mkdir(parents=True)
            self._state = StateFile(folder / "state.db", clock)
            self._state.open()
            memory = self._state.restore(NAME)
        exporter = Exporter(
            self._server,
            self._api,
            clock,
            listener=self._recorder,
            traffic=Traffic(),
            state=self._state,
            saved=memory,
        )
        self._course.exporter = exporter
        exporter.poller.watch([*configured_targets(self._server), *self._watched])

    def _end(self, *, graceful: bool) -> None:
        """End the process by stopping or killing it."""
        if self._state is not None and graceful:
            self._state.save()
        self._course.exporter = None
        self._recorder.clear()

    def _save(self) -> None:
        if self._state is not None:
            self._state.save()

    def _open(self, lifecycle: Lifecycle) -> None:
        """Start a lifecycle: upload something and tell the exporter."""
        now = self._began[lifecycle.plan.id] = self._clock.monotonic()
        self._world.add_batch(_DATASETS[lifecycle.dataset], lifecycle.plan)
        if self._discovered:
            return
        for batch in lifecycle.batches:
            self._course.enter(now + batch.steps[0].at, partial(self._watch, lifecycle, batch))

    def _watch(self, lifecycle: Lifecycle, batch: Batch) -> None:
        target = Target(BATCH_STATUS, _DATASETS[lifecycle.dataset], batch.id)
        self._watched.append(target)
        if self._course.exporter is not None:
            self._course.exporter.poller.watch([target])

    def _subjects(self, lifecycle: Lifecycle) -> list[Subject]:
        batches = {batch.id: batch for batch in lifecycle.batches}
        if self._discovered:
            # A document keeps its identity when it moves to another batch.
            steps = [
                step
                for batch in lifecycle.batches
                for step in batch.steps
                if step.state != "deleted" or len(batches) == 1
            ]
            document = document_id(_DATASETS[lifecycle.dataset], lifecycle.plan.id, 0, lifecycle.plan.documents[0])
            batches = {document: Batch(document, tuple(steps))}
        return [
            Subject(
                lifecycle.mode,
                self._began[lifecycle.plan.id],
                tuple(batch.standstills()),
                tuple(self._recorder.shown.get(name, ())),
                self._discovered,
            )
            for name, batch in batches.items()
        ]


def simulate(number: int, folder: str) -> Record:
    """Simulate the server with that number. ``folder``: for the state file of its exporter."""
    return Simulation(number, Path(folder) / str(number)).run()


def _plan(kind: str, dataset_id: str) -> DatasetPlan:
    pipeline = kind == PIPELINE
    technique = "economy" if kind == ECONOMY else "high_quality"
    return DatasetPlan(id=dataset_id, name=kind, technique=technique, pipeline=pipeline)  # type: ignore[arg-type]
