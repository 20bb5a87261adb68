"""The order in which locks are acquired: no two threads can ever wait for each other."""

from __future__ import annotations

import linecache
import re
import sys
import threading
from collections import defaultdict
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from exporter import daemon
from exporter.clock import ManualClock
from exporter.config import Config, Limits, Polling, StateConfig
from exporter.daemon import App, ConfigSource
from exporter.metrics import Format
from exporter.simulator import Api, Fault, SimulatorServer, World, demo_scenario, server_config
from tests.integration.harness import until

if TYPE_CHECKING:
    from types import FrameType

PACKAGE = Path(daemon.__file__).parents[1]
ARCHITECTURE = PACKAGE.parent / "docs" / "architecture.md"
RELOAD = "ConfigReloader.lock"
"""Held during a whole reload: before all others."""

_create_lock = threading.Lock


class LockRecorder:
    """Which locks were held when a lock was acquired, by its name. Names are those of classes and attributes."""

    def __init__(self) -> None:
        self.held: defaultdict[str, set[str]] = defaultdict(set)
        self._of_thread = threading.local()

    def holding(self) -> list[str]:
        """The locks that the current thread holds."""
        if not hasattr(self._of_thread, "names"):
            self._of_thread.names = []
        return self._of_thread.names  # type: ignore[no-any-return]

    def create_for(self, frame: FrameType) -> Any:
        """A lock that reports to this recorder, if the code in ``frame`` assigns it to an attribute of the exporter."""
        path = Path(frame.f_code.co_filename)
        assigned = re.match(r"\s*self\.(\w+) = ", linecache.getline(str(path), frame.f_lineno))
        if assigned is None or not path.is_relative_to(PACKAGE):
            return _create_lock()
        name = f"{type(frame.f_locals['self']).__name__}.{assigned[1]}"
        return RecordedLock(name.removesuffix("._lock"), self)


class RecordedLock:
    """A lock that reports to a recorder. An attempt that does not wait is not reported: it cannot cause a deadlock."""

    def __init__(self, name: str, recorder: LockRecorder) -> None:
        self._name = name
        self._recorder = recorder
        self._lock = _create_lock()

    def acquire(self, *, blocking: bool = True) -> bool:
        """Report what is held, and acquire the lock."""
        if blocking:
            self._recorder.held[self._name].update(self._recorder.holding())
        acquired = self._lock.acquire(blocking)
        if acquired:
            self._recorder.holding().append(self._name)
        return acquired

    def release(self) -> None:
        """Release the lock."""
        self._recorder.holding().remove(self._name)
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> LockRecorder:
    """Records all locks that objects of the exporter create from now on."""
    recorder = LockRecorder()
    monkeypatch.setattr(threading, "Lock", lambda: recorder.create_for(sys._getframe(1)))
    return recorder


@pytest.fixture
def observed(recorder: LockRecorder, tmp_path: Path) -> dict[str, set[str]]:
    """What an exporter acquires that polls, is scraped, saves, exceeds its limit of documents, fails and reloads."""
    clock = ManualClock()
    with SimulatorServer(Api(World(demo_scenario(), clock)), connections=None) as dify:
        server = replace(server_config(dify.api.world.scenario, dify.url), discover=True, requests_per_second=1000.0)
        config = Config(
            servers=(server,),
            polling=Polling(interval=1.0, max_interval=2.0, discovery_interval=1.0),
            state=StateConfig(tmp_path / "state.db"),
            limits=Limits(documents=3),
        )
        read = [config]
        app = App(config, clock=clock, use_state_file=True, source=ConfigSource(lambda: read[0]))
        app.start_polling()

        def is_idle() -> bool:
            for monitor in app.monitors:
                monitor.wake_if_due()
            return all(monitor.is_idle for monitor in app.monitors)

        def pass_time(seconds: float) -> None:
            clock.advance(seconds)
            app._tick()
            until(is_idle)
            app.exposition.page(Format.TEXT)

        for _ in range(20):
            pass_time(5.0)
        assert app.state is not None
        app.state.save()
        for job in (app._claim, app._expire, app._read_batch_files):
            job()
        dify.api.faults.add(Fault(kind="status", status=502))
        pass_time(5.0)
        fewer = replace(server, concurrency=3, datasets=server.datasets[:1])
        for servers in ((fewer,), (replace(server, name="other"),)):
            read[0] = replace(config, servers=servers)
            assert app.reloader.reload() is None
            pass_time(5.0)
        app.stop_polling()
        app.state.save()
    return recorder.held


def cycle(held: dict[str, set[str]]) -> list[str]:
    """Locks that are acquired in a circle; empty if there are none."""
    try:
        TopologicalSorter(held).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def documented() -> dict[str, set[str]]:
    """The table of locks in docs/architecture.md: what may be held when a lock is acquired."""
    text = ARCHITECTURE.read_text(encoding="utf-8").partition("acquired while holding |\n|---|---|---|\n")[2]
    rows = [row.strip("|").split("|") for row in text.partition("\n\n")[0].splitlines()]
    return {
        lock: {*re.findall(r"`([\w.]+)`", holding)}
        for locks, _, holding in rows
        for lock in re.findall(r"`([\w.]+)`", locks)
    }


def test_locks_are_acquired_in_one_order(observed: dict[str, set[str]]) -> None:
    """Locks are never acquired in a circle, which would include a lock of one server and the same of another."""
    assert [] == cycle(observed)


def test_the_table_of_locks_is_true(observed: dict[str, set[str]]) -> None:
    """The architecture lists every lock that takes part in the order, with all locks under which it is acquired."""
    nested = {lock: holding - {RELOAD} for lock, holding in observed.items()}
    held = {lock for holding in nested.values() for lock in holding}

    assert documented() == {lock: holding for lock, holding in nested.items() if holding or lock in held}


def test_cycles_are_detected() -> None:
    """The check finds two locks that are acquired in both orders, but not an attempt that does not wait."""
    recorder = LockRecorder()
    one, two = RecordedLock("one", recorder), RecordedLock("two", recorder)
    with one, two:
        assert {"two": {"one"}, "one": set()} == recorder.held
    with two:
        assert one.acquire(blocking=False)
        one.release()
    assert [] == cycle(recorder.held)
    with two, one:
        assert {"one", "two"} == {*cycle(recorder.held)}
