"""Reloads and changed keys: the limits of requests hold, and a new key is tried at once."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from exporter.clock import ManualClock
from exporter.config import Config, DatasetConfig, Polling, Secret, ServerConfig, StateConfig
from exporter.daemon import App
from exporter.dify import Unauthorized
from exporter.dify.transport.session import Session
from exporter.metrics import Format
from tests.integration.harness import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from exporter.daemon import ServerMonitor
    from exporter.dify.transport.messages import Reply, Request

DATASET = "5f1d9a2e-6c0b-4d5e-9a43-0c9b7e2d1a01"
BATCHES = tuple(f"2026112109300010000{number}" for number in range(9))


class Gate:
    """A network that answers nothing until it is opened, and then refuses the key."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = threading.Event()
        self.keys: list[str] = []
        self.under_way = 0
        self.peak = 0
        self._lock = threading.Lock()
        monkeypatch.setattr(Session, "exchange", lambda _, request: self.exchange(request))

    def exchange(self, request: Request) -> Reply:
        """Wait for the gate."""
        with self._lock:
            self.under_way += 1
            self.peak = max(self.peak, self.under_way)
            self.keys.append(request.key.reveal() if request.key else "")
        assert self.opened.wait(60)
        with self._lock:
            self.under_way -= 1
        raise Unauthorized("401", status=401)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """A network under control of the test."""
    return Gate(monkeypatch)


def configure(**server: object) -> Config:
    """A configuration of one server with nine batches."""
    given = {"concurrency": 2, "requests_per_second": 1000.0, "api_key": Secret("dataset-one"), **server}
    watched = ServerConfig(
        "main",
        "http://127.0.0.1:9/v1",
        datasets=(DatasetConfig(DATASET, batches=BATCHES),),
        **given,  # type: ignore[arg-type]
    )
    return Config(servers=(watched,), polling=Polling(), state=StateConfig(None))


def woken_until(monitor: ServerMonitor, condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` is met; meanwhile look for work as the loop does."""

    def woken() -> bool:
        monitor.wake_if_due()
        return condition()

    until(woken)


def test_polls_from_before_a_reload_count_against_the_limit(gate: Gate) -> None:
    """However often the configuration is reloaded: no more requests are open than ``concurrency`` allows."""
    app = App(configure())
    app.start_polling()
    (monitor,) = app.monitors
    until(lambda: gate.under_way == 2)
    for number in range(5):
        app._reconfigure(configure(timeout=20.0 + number))
        monitor.wake_if_due()
    until(lambda: not monitor._workers.active)
    assert (gate.under_way, gate.peak) == (2, 2)
    gate.opened.set()
    until(lambda: not gate.under_way)
    app.stop_polling()
    assert gate.peak == 2


def test_a_reload_gives_no_additional_requests(gate: Gate) -> None:
    """The budget goes on: the first request after a reload waits as if there had been none. A new rate is used."""
    gate.opened.set()
    clock = ManualClock()
    app = App(configure(requests_per_second=0.1), clock=clock)
    (monitor,) = app.monitors
    budget = monitor._budget
    assert budget.reserve() == 0.0
    app._reconfigure(configure(requests_per_second=0.1, timeout=20.0))
    assert monitor._budget is budget
    assert pytest.approx(10.0) == budget.reserve()
    app._reconfigure(configure(requests_per_second=0.5))
    assert pytest.approx(2.0) == budget.reserve()
    app.stop_polling()


def test_a_changed_key_file_is_tried_at_once(gate: Gate, tmp_path: Path) -> None:
    """While everything waits for a backoff, no request would read the file again: the loop does."""
    gate.opened.set()
    file = tmp_path / "key"
    file.write_text("dataset-one")
    app = App(configure(api_key=None, api_key_file=file))
    app.start_polling()
    (monitor,) = app.monitors
    until(lambda: app.readiness_problem() is None and monitor.is_idle)
    assert {"dataset-one"} == set(gate.keys)
    file.write_text("dataset-second")
    with capture_logs() as log:
        woken_until(monitor, lambda: "dataset-second" in gate.keys)
    assert "API key changed; polling everything now" in [line["event"] for line in log]
    app.stop_polling()


def test_a_reload_with_another_key_is_tried_at_once(gate: Gate) -> None:
    """What the former key was refused says nothing about the new one."""
    gate.opened.set()
    app = App(configure())
    app.start_polling()
    (monitor,) = app.monitors
    until(lambda: app.readiness_problem() is None and monitor.is_idle)
    app._reconfigure(configure(api_key=Secret("dataset-second")))
    until(lambda: "dataset-second" in gate.keys)
    app.stop_polling()


def test_a_thread_that_dies_is_started_again_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends it, even SystemExit: the loop replaces it, and the target is polled again."""
    deaths = [SystemExit(), ZeroDivisionError()]
    asked = []

    def exchange(_: Session, request: Request) -> Reply:
        asked.append(request.path)
        raise Unauthorized("401", status=401)

    monkeypatch.setattr(Session, "exchange", exchange)
    app = App(replace(configure(concurrency=1), polling=Polling(interval=0.01)))
    (monitor,) = app.monitors
    report = monitor.health.failed

    def failed(*args: object, **settings: object) -> None:
        if deaths:
            raise deaths.pop()
        report(*args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(monitor.health, "failed", failed)
    app.start_polling()
    line = 'dify_exporter_worker_restarts_total{server="main"} '
    assert line + "0.0" in app.self_metrics.render(Format.TEXT).decode()
    woken_until(monitor, lambda: app.readiness_problem() is None)
    app.stop_polling()
    assert line + "2.0" in app.self_metrics.render(Format.TEXT).decode()
