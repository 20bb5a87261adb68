"""The polling threads."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from exporter.clock import SystemClock
from exporter.config import Polling, ServerConfig
from exporter.dify import Stopped
from exporter.polling import BATCH_STATUS, Poller, ServerHealth, Target, TargetStatuses, Workers
from exporter.tracking import Store
from tests.integration.harness import until
from tests.polling.fake_server import DATASET, CountingObserver, FakeClient, RecordingListener, item

if TYPE_CHECKING:
    import pytest

PATIENCE = 60.0
"""Seconds after which a test gives up waiting for a thread; never reached when all is well."""


class GatedClient(FakeClient):
    """Answers only when permitted; counts the running requests."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.arrived = threading.Semaphore(0)
        self.under_way = 0
        self.peak = 0
        self.burst_over = threading.Event()
        self._lock = threading.Lock()
        self.before_answer = self._wait

    def _wait(self, _key: str) -> None:
        with self._lock:
            self.under_way += 1
            self.peak = max(self.peak, self.under_way)
        self.arrived.release()
        assert self.gate.wait(PATIENCE)
        with self._lock:
            self.under_way -= 1

    def close_connections(self) -> None:
        """Count the end of a burst."""
        super().close_connections()
        self.burst_over.set()


def pool(client: FakeClient, *, targets: int, size: int) -> tuple[Workers, Poller, threading.Event]:
    """A thread pool on a poller with this number of unfinished batches, all due."""
    listener = RecordingListener()
    statuses = TargetStatuses("main", listener=listener)
    store = Store("main", statuses.watched, listeners=(listener,), unknown=lambda _: None, clock=SystemClock())
    server = ServerConfig("main", "http://x/v1", concurrency=size)
    polling = Polling()
    health = ServerHealth("main", server.url, listener=listener, polling=polling, random=lambda: 0.5)
    observer = CountingObserver()
    poller = Poller(server, client, store, statuses, health, polling=polling, observer=observer, clock=SystemClock())
    for number in range(targets):
        client.batches[str(number)] = [item(str(number), "completed", 1, 1)]
    poller.watch(Target(BATCH_STATUS, DATASET, str(number)) for number in range(targets))
    stop = threading.Event()
    workers = Workers(poller, size, stop)
    workers.start()
    return workers, poller, stop


def test_one_call_uses_every_thread_and_no_more() -> None:
    """One wake-up spreads to as many threads as there is work for, up to the pool size."""
    client = GatedClient()
    workers, poller, _ = pool(client, targets=9, size=3)
    workers.wake()
    for _ in range(3):
        assert client.arrived.acquire(timeout=PATIENCE)
    assert workers.active >= 3
    client.gate.set()
    assert client.burst_over.wait(PATIENCE)
    assert (client.peak, poller.unpolled) == (3, 0)
    workers.stop()
    assert workers.join(PATIENCE)


def test_connections_are_closed_when_the_burst_ends() -> None:
    """Idle connections are closed: Dify's default server has ten in all."""
    client = GatedClient()
    client.gate.set()
    workers, _, _ = pool(client, targets=1, size=2)
    workers.wake()
    assert client.burst_over.wait(PATIENCE)
    workers.stop()
    assert workers.join(PATIENCE)


def test_a_hung_server_delays_nobody_else() -> None:
    """Each server has its own threads: while one hangs, the other is polled completely."""
    hung, alive = GatedClient(), GatedClient()
    alive.gate.set()
    slow, slow_poller, _ = pool(hung, targets=5, size=2)
    fast, fast_poller, _ = pool(alive, targets=50, size=2)
    slow.wake()
    assert hung.arrived.acquire(timeout=PATIENCE)
    fast.wake()
    assert alive.burst_over.wait(PATIENCE)
    assert (fast_poller.unpolled, slow_poller.unpolled) == (0, 5)
    slow.stop()
    assert not slow.join(0.0)
    hung.gate.set()
    assert slow.join(PATIENCE)
    fast.stop()
    assert fast.join(PATIENCE)


def test_no_poll_begins_after_the_stop() -> None:
    """Running polls finish; queued polls are not started."""
    client = GatedClient()
    workers, poller, _ = pool(client, targets=20, size=1)
    workers.wake()
    assert client.arrived.acquire(timeout=PATIENCE)
    workers.stop()
    client.gate.set()
    assert workers.join(PATIENCE)
    assert len(client.asked) == 1
    workers.wake()
    assert poller.has_due()


def test_a_client_that_stops_ends_its_thread_quietly() -> None:
    """``Stopped`` is not a failure."""
    client = GatedClient()
    client.gate.set()
    workers, poller, _ = pool(client, targets=1, size=1)
    client.batches["0"] = Stopped()
    workers.wake()
    assert client.burst_over.wait(PATIENCE)
    assert poller.has_due()
    workers.stop()
    assert workers.join(PATIENCE)


def test_a_bug_between_polls_ends_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that fails between two polls, while it renders for example, is started again."""
    client = GatedClient()
    client.gate.set()
    workers, poller, stop = pool(client, targets=2, size=1)
    failures = [ZeroDivisionError()]

    def render() -> None:
        if failures:
            raise failures.pop()

    monkeypatch.setattr(poller, "_after_poll", render)
    with capture_logs() as log:
        workers.wake()
        assert client.burst_over.wait(PATIENCE)
    assert ["main"] == [line["server"] for line in log if "because of a bug" in line["event"]]
    client.burst_over.clear()
    until(lambda: not workers._threads[0].is_alive())
    workers.restart_dead()
    workers.wake()
    assert client.burst_over.wait(PATIENCE)
    assert client.count("batch") == 2
    stop.set()
    workers.stop()
