"""An embedded Dify in fast motion in which everything happens; it knows every document that finished."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bench.soak.chance import ERRORS, FAULTS, SPEED, draw_document
from exporter.clock import SystemClock
from exporter.simulator import Action, Api, Attempt, BatchPlan, DatasetPlan, Fault, Scenario, SimulatorServer, World

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.simulator.documents import Document
    from exporter.simulator.scenario import ActionKind

KEY: Final = "dataset-soak"
PERMANENT: Final = tuple(f"5f1d9a2e-6c0b-4d5e-9a43-0c9b7e2d1a0{number}" for number in range(3))
"""Permanent knowledge bases, in which every finished document must be counted. Others come and go."""

DISCOVERED: Final = PERMANENT[-1]
"""A knowledge base whose batches are in no list: it must be discovered, and kept through every reload."""

UPLOAD_EVERY: Final = 3.5
FAULT_EVERY: Final = (14.0, 20.0)
LONGEST_FAULT: Final = 4.0
"""Seconds. Between two faults, the exporter, whose backoff is about ten seconds, reads everything once."""

CALM: Final = 13.0
"""Seconds between the end of a fault and an outage of the server; otherwise both would add up to one long gap."""

IDLE_FOR: Final = 25.0
"""Seconds between the end of an attempt and the next event of the document: longer than the exporter sees nothing."""

SHORTEST_ATTEMPT: Final = 18.0
"""The minimum duration of a new attempt, for the same reason."""

DELETED_AFTER: Final = 240.0
"""Seconds after which a finished document is deleted, so that the server does not grow."""

_FINISHED = frozenset({"completed", "error"})


class ChaosServer:
    """A server and its events. Everything runs on one thread, ten times per second."""

    def __init__(self, folder: str, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 the same course again
        self._lists = Path(folder) / "batches"
        self._lists.mkdir()
        plans = tuple(DatasetPlan(each, name=f"kb {each[-1]}", technique="high_quality") for each in PERMANENT)
        self.world = World(Scenario(key=KEY, workers=None, datasets=plans), SystemClock(), speed=SPEED)
        self.api = Api(self.world)
        self.server = self._serve(0)
        self.port = self.server.port
        self.ends: dict[tuple[str, int], tuple[str, str]] = {}
        self.happened: Counter[str] = Counter()
        self._attempts: Counter[str] = Counter()
        self._ended: dict[str, float] = {}
        self._seen: dict[tuple[str, int], float] = {}
        self._listed: deque[tuple[float, str, str]] = deque()
        self._fallen: deque[tuple[float, Document]] = deque()
        self._batches = 0
        self._spare = 0
        self._fault_ends: float | None = None
        self._calm_from = 0.0
        self._first_faults = deque(fault for fault in FAULTS if fault["kind"] in {"huge", "gzip_bomb"})
        self._due = {"upload": 0.0, "act": 20.0, "fault": 25.0, "restart": 70.0, "spare": 30.0}
        self._begun = time.monotonic()
        self._quiet = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos", daemon=True)
        self._write_list()
        self._thread.start()

    def ends_by_kind(self) -> dict[str, int]:
        """Number of finished documents by knowledge base and status, like the exporter's counter."""
        return dict(Counter(f"{dataset} {status}" for dataset, status in self.ends.values()))

    def quiet(self) -> None:
        """Stop all events: no faults, and unfinished documents are deleted."""
        self._quiet.set()
        self._thread.join()
        self.api.faults.clear()
        with self.world.lock:
            now = self.world.advance()
            for document in self._documents():
                if document.row_at(now).status not in _FINISHED:
                    self.world.delete(document, now)
        self._observe()

    def _serve(self, port: int) -> SimulatorServer:
        server = SimulatorServer(self.api, port=port, latency=0.003, connections=None)
        server.start()
        return server

    def _run(self) -> None:
        events: dict[str, Callable[[], float]] = {
            "upload": self._upload,
            "act": self._act,
            "fault": self._fault,
            "restart": self._restart,
            "spare": self._toggle_spare_dataset,
        }
        while not self._quiet.wait(0.1):
            self._observe()
            self._complete_fallen_back()
            now = self._now()
            if self._fault_ends is not None and now >= self._fault_ends:
                self.api.faults.clear()
                self._fault_ends = None
            for name, event in events.items():
                if now >= self._due[name]:
                    self._due[name] = self._now() + event()

    def _now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begun

    def _observe(self) -> None:
        """Record finished documents; delete those that finished long ago."""
        with self.world.lock:
            now = self.world.advance()
            for document in list(self._documents()):
                status = document.row_at(now).status
                key = document.id, self._attempts[document.id]
                if status in _FINISHED and not document.paused and key not in self.ends:
                    self.ends[key] = document.dataset.plan.id, status
                    self._ended[document.id] = self._now()
                elif self._now() - self._ended.get(document.id, self._begun_at(key)) > DELETED_AFTER:
                    self.world.delete(document, now)
                    self._ended.pop(document.id, None)
                    del self._attempts[document.id]

    def _begun_at(self, attempt: tuple[str, int]) -> float:
        """When an attempt was first seen: documents that hang forever are deleted too."""
        return self._seen.setdefault(attempt, self._now())

    def _documents(self) -> list[Document]:
        return [document for dataset in PERMANENT for document in self.world.datasets[dataset].documents.values()]

    def _upload(self) -> float:
        """Upload a batch. It stays queued for a while, so that the exporter sees it before any document finishes."""
        self._batches += 1
        dataset = self._random.choice(PERMANENT)
        batch = f"20261121{self._batches:012}"
        documents = tuple(draw_document(self._random) for _ in range(self._random.choice((1, 1, 2, 3, 6))))
        queue = self._random.uniform(20.0, 28.0) * SPEED
        plan = BatchPlan(id=batch, queue=queue, lost=self._random.random() < 0.04, documents=documents)
        self.world.add_batch(dataset, plan)
        if self._random.random() < 0.7:
            self._list(dataset, batch)
        self.happened["uploads"] += 1
        self.happened["documents"] += len(documents)
        return self._random.expovariate(1 / UPLOAD_EVERY)

    def _list(self, dataset: str, batch: str) -> None:
        if dataset == DISCOVERED:
            return
        self._listed.append((self._now(), dataset, batch))
        while self._now() - self._listed[0][0] > DELETED_AFTER + 60.0:
            self._listed.popleft()
        self._write_list()

    def _write_list(self) -> None:
        content = msgspec.json.encode([{"dataset_id": dataset, "batch": batch} for _, dataset, batch in self._listed])
        new = self._lists / ".new"
        new.write_bytes(content)
        new.replace(self._lists / "uploads.json")

    def _act(self) -> float:
        """Apply an action to a document that is finished or far from finished."""
        with self.world.lock:
            now = self.world.advance()
            idle = [each for each in self._documents() if self._is_idle(each, now)]
            unfinished = [each for each in self._documents() if each.row_at(now).status in {"waiting", "parsing"}]
            paused = [each for each in self._documents() if each.paused]
            if idle and self._random.random() < 0.7:
                self._act_on_idle(self._random.choice(idle))
            elif paused and self._random.random() < 0.6:
                self._do(self._random.choice(paused), "resume")
            elif unfinished:
                self._do(self._random.choice(unfinished), self._random.choice(("pause", "delete")))
        return self._random.expovariate(1 / 1.2)

    def _is_idle(self, document: Document, now: float) -> bool:
        ended = self._ended.get(document.id)
        return (
            ended is not None
            and IDLE_FOR < self._now() - ended < DELETED_AFTER - IDLE_FOR
            and document.row_at(now).status in _FINISHED
        )

    def _act_on_idle(self, document: Document) -> None:
        kind: ActionKind = self._random.choice(
            ("retry", "update", "reupload", "fall_back", "disable", "enable", "archive", "unarchive", "delete")
        )
        if kind not in {"retry", "update", "reupload", "fall_back"}:
            self._do(document, kind)
            return
        self._attempts[document.id] += 1
        self._ended.pop(document.id)
        if kind == "fall_back":
            self._do(document, kind)
            self._fallen.append((self._now() + SHORTEST_ATTEMPT, document))
            return
        outcome: Any = self._random.choice(("completes", "completes", "fails", "dies"))
        parse = self._random.uniform(SHORTEST_ATTEMPT, 1.3 * SHORTEST_ATTEMPT) * SPEED
        attempt = Attempt(parse=parse, index=self._random.uniform(1.0, 5.0) * SPEED, outcome=outcome, error=ERRORS[0])
        into = ""
        if kind == "reupload":
            self._batches += 1
            into = f"20261122{self._batches:012}"
        self._do(document, kind, attempt=attempt, into=into)
        if into:
            self._list(document.dataset.plan.id, into)

    def _complete_fallen_back(self) -> None:
        """Complete documents that fell back long enough ago."""
        while self._fallen and self._fallen[0][0] <= self._now():
            _, document = self._fallen.popleft()
            if not document.deleted:
                self._do(document, "come_back")

    def _do(self, document: Document, kind: ActionKind, *, attempt: Attempt | None = None, into: str = "") -> None:
        self.happened[kind] += 1
        self.world.act(
            document.dataset.plan.id,
            Action(kind=kind, document=document.id, batch=document.batch, attempt=attempt, into=into),
        )

    def _fault(self) -> float:
        """A fault of all endpoints or of one, for a few seconds."""
        random = self._random
        seconds = random.uniform(0.5, LONGEST_FAULT)
        # The largest answers come first, so that their memory is part of the warm-up.
        kind = self._first_faults.popleft() if self._first_faults else random.choice(FAULTS)
        endpoint = random.choice(("*", "*", "indexing-status", "document", "documents", "datasets"))
        self.api.faults.add(Fault(**{"endpoint": endpoint, **kind}))
        self.happened[f"fault {kind['kind']}"] += 1
        self._fault_ends = self._now() + seconds
        self._calm_from = self._fault_ends + CALM
        return random.uniform(*FAULT_EVERY)

    def _restart(self) -> float:
        """Stop the server for a few seconds; no fault in that time, or shortly before and after."""
        wait = self._calm_from - self._now()
        if wait > 0:
            self._due["fault"] = max(self._due["fault"], self._now() + wait + 1.0)
            return wait
        self.server.stop()
        self._quiet.wait(self._random.uniform(0.5, LONGEST_FAULT))
        self.server = self._serve(self.port)
        self.happened["restarts of Dify"] += 1
        self._due["fault"] = self._now() + FAULT_EVERY[0]
        return self._random.uniform(60.0, 120.0)

    def _toggle_spare_dataset(self) -> float:
        """Create a knowledge base with documents, and delete it later."""
        identifier = f"6a1d9a2e-6c0b-4d5e-9a43-{self._spare:012}"
        if identifier in self.world.datasets:
            self.world.delete_dataset(identifier)
            self._spare += 1
            return self._random.uniform(10.0, 20.0)
        batch = BatchPlan(queue=5 * SPEED, documents=tuple(draw_document(self._random) for _ in range(4)))
        self.world.add_dataset(DatasetPlan(identifier, name=f"spare {self._spare}", batches=(batch,)))
        self.happened["spare knowledge bases"] += 1
        return self._random.uniform(15.0, 40.0)


def serve(folder: str, seed: int) -> Mapping[str, Callable[[], Any]]:
    """The server's commands, for a separate process."""
    os.nice(1)
    chaos = ChaosServer(folder, seed)
    return {
        "url": lambda: chaos.server.url,
        "happened": lambda: dict(chaos.happened),
        "requests": lambda: sum(chaos.api.requests.values()),
        "quiet": chaos.quiet,
        "ends": chaos.ends_by_kind,
        "elapsed": lambda: chaos.world.now() - chaos.world.start,
    }
