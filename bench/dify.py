"""An embedded Dify in a separate process, and the exporter in another one."""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING, Any
from unittest import mock

from bench.knowledge import BATCH_SIZE, MAIN, STILL, dataset_id, datasets, document_id
from bench.scrape import metrics_app
from exporter.clock import ManualClock
from exporter.config import Config, Limits, Secret, ServerConfig
from exporter.daemon import allocator
from exporter.daemon.app import App
from exporter.daemon.logs import set_up_logging
from exporter.polling import BATCH_STATUS, Target, configured_targets
from exporter.simulator import Api, BatchPlan, DatasetPlan, DocumentPlan, Scenario, SimulatorServer, World
from exporter.simulator.timeline import COMPLETION_DELAY
from exporter.web import WebServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LATENCY = 0.05
"""Seconds that the server takes to answer."""

KEY = "dataset-bench"
_LOOK = 0.002
_LONGEST = 100.0


JUMPS = 10
"""How many times a batch can progress: Dify completes the segments of a document in at most ten steps."""

_JUMP = 100
"""Segments."""

_STEP = 10.0
"""Seconds on Dify's clock between two steps."""


def serve(batches: int) -> Mapping[str, Callable[[], Any]]:
    """Dify with a stopped clock. In every batch, one document is in indexing and the others wait for it.

    ``move`` advances every batch by one step and returns the total number of completed segments.
    """
    plans = []
    number = 0
    for dataset in datasets(batches):
        uploads = []
        for batch in dataset.batches:
            uploads.append(BatchPlan(id=batch, queue=0.0, documents=_documents(number)))
            number += 1
        plans.append(DatasetPlan(id=dataset.id, technique="high_quality", batches=tuple(uploads)))
    clock = ManualClock(time.time())
    api = Api(World(Scenario(key=KEY, workers=None, datasets=tuple(plans)), clock))
    clock.advance(_STEP / 100)
    jumps = itertools.count(1)

    def move() -> int:
        clock.advance(_STEP)
        jump = next(jumps)
        if jump > JUMPS:
            raise RuntimeError(f"documents move {JUMPS} times")
        return jump * _JUMP * batches

    server = SimulatorServer(api, latency=LATENCY, connections=None)
    server.start()
    return {"url": lambda: server.url, "requests": lambda: sum(api.requests.values()), "move": move}


def _documents(number: int) -> tuple[DocumentPlan, ...]:
    index = JUMPS * _STEP + COMPLETION_DELAY
    long = {"parse": 0.001, "split": 0.001, "index": index, "jumps": JUMPS, "segments": JUMPS * _JUMP}
    return tuple(
        DocumentPlan(name=f"Report {number}-{member}.pdf", id=document_id(number, member), **long)  # type: ignore[arg-type]
        for member in range(BATCH_SIZE)
    )


class Exporter:
    """The whole exporter on ``url``. Nothing is due until it is made due."""

    def __init__(self, url: str, batches: int, concurrency: int) -> None:
        allocator.limit_retained_memory()
        set_up_logging("error", "logfmt")
        server = ServerConfig(
            MAIN,
            url,
            api_key=Secret(KEY),
            requests_per_second=1e6,
            concurrency=concurrency,
            datasets=datasets(batches),
        )
        app = App(Config(servers=(server,), polling=STILL, limits=Limits(documents=batches * BATCH_SIZE)))
        self.exposition = app.exposition
        self._monitor = app.monitors[0]
        self._poller = self._monitor.poller
        self._targets = [target for target in configured_targets(server) if target.type is BATCH_STATUS]
        self._ends: list[float] = []
        self._self_metrics = app.self_metrics
        self._web = WebServer(metrics_app(app.exposition), "127.0.0.1:0")
        self._web.start()

    def port(self) -> int:
        """The port of the metrics endpoint."""
        return self._web.port

    def first(self) -> None:
        """Run the first cycle: every batch, and the detail of every document."""
        self._monitor.start()
        self._drain()

    def again(self) -> None:
        """Run another cycle: every batch."""
        self.due(self._targets)
        self._drain()

    def due(self, targets: list[Target]) -> None:
        """Make ``targets`` due now."""
        for target in targets:
            self._poller.schedule.put(target, 0.0)

    def completed(self) -> int:
        """Number of completed segments in the exporter's store."""
        store = self._poller.store
        known = (store.document(dataset_id(number), document_id(number, 0)) for number in range(len(self._targets)))
        return sum(int(document.progress.completed_segments or 0) for document in known if document is not None)

    def spans(self, polls: int) -> list[float]:
        """Durations in seconds of polls made one after another, from due to finished."""
        polled = threading.Event()
        original = self._self_metrics.polled

        def note(server: str, kind: Any) -> None:
            original(server, kind)
            polled.set()

        found = []
        with mock.patch.object(self._self_metrics, "polled", note):
            for target in self._targets[:polls]:
                polled.clear()
                started = time.monotonic()
                self.due([target])
                self._monitor.wake_if_due()
                polled.wait(_LONGEST)
                found.append(time.monotonic() - started)
        return found

    def _drain(self) -> None:
        waiting = threading.Event()
        end = time.monotonic() + _LONGEST
        self._monitor.wake_if_due()
        while not self._monitor.is_idle:
            waiting.wait(_LOOK)
            if time.monotonic() > end:
                raise TimeoutError("the polls do not end")


def export(url: str, batches: int, concurrency: int) -> Mapping[str, Callable[[], Any]]:
    """The exporter's commands."""
    exporter = Exporter(url, batches, concurrency)
    return {
        "port": exporter.port,
        "first": exporter.first,
        "again": exporter.again,
        "completed": exporter.completed,
        "spans": lambda: exporter.spans(POLLS),
    }


BURST = 6.0
"""Duration of a burst in seconds."""

POLLS = 60
"""Number of polls that are timed."""
