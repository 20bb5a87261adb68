"""An embedded Dify in which everything happens and, if it is the misbehaving one, everything fails."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

from bench.soak.faults import LONGEST_FAULT, describe, name_of, rounds
from bench.soak.knowledge import KEYS, OTHER_KEY
from bench.soak.truth import Recorder
from bench.soak.usage import Usage
from exporter.clock import SystemClock
from exporter.simulator import Api, BatchPlan, DatasetPlan, DocumentPlan, Scenario, SimulatorServer, World

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.soak.knowledge import ServerName
    from exporter.simulator.faults import Response

TICK: Final = 0.1
FAULT_EVERY: Final = (10.5, 13.0)
CALM: Final = 13.0
"""Seconds between the end of a fault and an outage of the server; otherwise both would add up to one long gap."""

WRONG_KEY_FOR: Final = 5.0


class TwoWorkspaces(Api):
    """A server with two workspaces. The key decides which one answers; each denies what is in the other."""

    def __init__(self, world: World, other: Api) -> None:
        super().__init__(world)
        self._other = other

    def handle(self, method: str, path: str, query: str = "", headers: Mapping[str, str] | None = None) -> Response:
        """The response of the workspace to which the key belongs."""
        if OTHER_KEY in ((headers or {}).get("authorization") or ""):
            return self._other.handle(method, path, query, headers)
        return super().handle(method, path, query, headers)


class SoakServer:
    """A server and its events. Everything runs on one thread, ten times per second."""

    def __init__(self, name: ServerName, folder: str, seed: int) -> None:
        self._name = name
        self._folder = Path(folder)
        self._random = Random(f"{seed} {name}")  # noqa: S311 the same course again
        self.recorder = Recorder()
        self.world = World(Scenario(key=KEYS[name], workers=None), SystemClock())
        self.usage = Usage(name, self.world, self.recorder, self._folder / "batches", self._random)
        self.api = TwoWorkspaces(self.world, _another_workspace()) if name == "bad" else Api(self.world)
        self.server = self._serve(0)
        self.port = self.server.port
        self.happened: Counter[str] = Counter()
        self._answers: Counter[str] = Counter()
        self._rounds = rounds(self._random)
        self._fault_ends: float | None = None
        self._blind_until = 0.0
        self._events = self.usage.events()
        if name == "bad":
            self._write_key(KEYS[name])
            self._events |= {
                "bulk": (35.0, self._fall_back),
                "fault": (16.0, self._fault),
                "key": (75.0, self._change_key),
                "restart": (110.0, self._restart),
            }
        self._begun = time.monotonic()
        self._due = {event: self._begun + first for event, (first, _) in self._events.items()}
        self._quiet = threading.Event()
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def quiet(self) -> None:
        """Stop all events: no faults, and unfinished documents are deleted."""
        self._quiet.set()
        self._thread.join()
        self._end_faults()
        self.usage.end()

    def hold(self) -> bool:
        """Whether nothing disturbs the server and nothing will, for some seconds."""
        if not self._is_calm():
            return False
        self._blind(8.0)
        return True

    def report(self) -> dict[str, int]:
        """How often everything happened."""
        return dict(self.usage.happened + self.happened)

    def fault_answers(self) -> dict[str, int]:
        """How many answers each fault changed."""
        return dict(self._answers)

    def _serve(self, port: int) -> SimulatorServer:
        server = SimulatorServer(self.api, port=port, latency=0.003, connections=None)
        server.start()
        return server

    def _run(self) -> None:
        while not self._quiet.wait(TICK):
            self.usage.observe()
            if self._fault_ends is not None and time.monotonic() >= self._fault_ends:
                self._end_faults()
            for name, (_, event) in self._events.items():
                if time.monotonic() >= self._due[name]:
                    self._due[name] = time.monotonic() + event()

    def _is_calm(self) -> bool:
        """Whether the exporter can read everything, and has had the time to do so."""
        return self._fault_ends is None and time.monotonic() >= self._blind_until + CALM

    def _blind(self, seconds: float) -> None:
        """For so long the exporter may read nothing; afterwards it gets the time to read everything."""
        self._blind_until = time.monotonic() + seconds
        for event in ("fault", "restart", "key", "bulk"):
            if event in self._due:
                self._due[event] = max(self._due[event], self._blind_until + CALM)

    def _calm_in(self) -> float:
        """Seconds until the server is calm, during which no fault begins."""
        end = time.monotonic() if self._fault_ends is None else self._fault_ends
        wait = max(end, self._blind_until) + CALM - time.monotonic()
        self._due["fault"] = max(self._due["fault"], time.monotonic() + wait + 1.0)
        return wait + 0.1

    def _fault(self) -> float:
        """Faults of one or several endpoints, for a few seconds."""
        seconds = self._random.uniform(1.5, LONGEST_FAULT)
        for fault in next(self._rounds):
            self.api.faults.add(fault)
            self.happened[f"fault {fault.kind}"] += 1
            self.recorder.note(f"fault for {seconds:.1f} s: {describe(fault)}")
        self._fault_ends = time.monotonic() + seconds
        self._blind_until = self._fault_ends
        return self._random.uniform(*FAULT_EVERY)

    def _end_faults(self) -> None:
        for fault, used in self.api.faults.used():
            self._answers[name_of(fault)] += used
            self.recorder.note(f"fault ends after {used} answers: {describe(fault)}")
        self.api.faults.clear()
        self._fault_ends = None

    def _restart(self) -> float:
        """Stop the server for a few seconds; no fault in that time, or shortly before and after."""
        if not self._is_calm():
            return self._calm_in()
        seconds = self._random.uniform(0.5, LONGEST_FAULT)
        self.recorder.note(f"Dify stopped for {seconds:.1f} s")
        self._blind(seconds)
        self.server.stop()
        self._observe_for(seconds)
        self.server = self._serve(self.port)
        self.recorder.note("Dify started")
        self.happened["restarts of Dify"] += 1
        return self._random.uniform(60.0, 120.0)

    def _change_key(self) -> float:
        """Replace the key by that of another workspace for a few seconds."""
        if not self._is_calm():
            return self._calm_in()
        self.recorder.note("key of another workspace")
        self._blind(WRONG_KEY_FOR)
        self._write_key(OTHER_KEY)
        self._observe_for(WRONG_KEY_FOR)
        self._write_key(KEYS[self._name])
        self.recorder.note("right key again")
        self.happened["key of another workspace"] += 1
        return self._random.uniform(90.0, 150.0)

    def _fall_back(self) -> float:
        """Change the embedding model; no fault until all documents are completed again."""
        if not self._is_calm():
            return self._calm_in()
        self._blind(18.0)
        self.usage.fall_back_in_bulk()
        self.happened["changes of the embedding model"] += 1
        return self._random.uniform(150.0, 200.0)

    def _observe_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._quiet.wait(TICK):
            self.usage.observe()

    def _write_key(self, key: str) -> None:
        new = self._folder / "bad.key.new"
        new.write_text(key, encoding="utf-8")
        new.chmod(0o600)
        new.replace(self._folder / "bad.key")


def _another_workspace() -> Api:
    """The API of a workspace with other knowledge bases."""
    plan = DatasetPlan(
        "77777777-6c0b-4d5e-9a43-0c9b7e2d1a00", name="of others", batches=(BatchPlan(documents=(DocumentPlan(),)),)
    )
    return Api(World(Scenario(key=OTHER_KEY, workers=None, datasets=(plan,)), SystemClock()))


def serve(name: ServerName, folder: str, seed: int) -> Mapping[str, Callable[[], Any]]:
    """The server's commands, for a separate process."""
    os.nice(1)
    soak = SoakServer(name, folder, seed)
    return {
        "url": lambda: soak.server.url,
        "happened": soak.report,
        "faults": soak.fault_answers,
        "requests": lambda: sum(soak.api.requests.values()),
        "hold": soak.hold,
        "quiet": soak.quiet,
        "history": soak.recorder.history,
    }
