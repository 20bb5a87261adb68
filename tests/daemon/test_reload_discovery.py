"""Reloading the configuration of a server whose targets come from discovery."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from exporter.clock import ManualClock
from exporter.polling import DATASET_LIST, Target
from exporter.simulator import Api, SimulatorServer, World
from tests.daemon.test_reload import ONE, SCENARIO, TWO, ReloadHarness
from tests.integration.harness import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from exporter.dify import DatasetPage


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ReloadHarness]:
    """An exporter with no configured targets that has discovered two knowledge bases with three documents."""
    with SimulatorServer(Api(World(SCENARIO, ManualClock())), connections=None) as dify:
        running = ReloadHarness(dify, tmp_path, datasets=(), discover=True)
        running.start()
        yield running
        running.stop()


def test_discovered_objects_survive_reloads(harness: ReloadHarness) -> None:
    """Every discovered knowledge base stays watched, with its name, documents and counters."""
    names = ("dify_dataset_info", "dify_document_info", "dify_documents_finished_total")
    before = [sorted(harness.lines(name)) for name in names]
    watched = harness.app.monitors[0].poller.watched
    assert len(before[0]) == 2
    for concurrency in (3, 4):
        harness.config = harness.configure(replace(harness.server, concurrency=concurrency))
        assert harness.reload() is None
        assert [sorted(harness.lines(name)) for name in names] == before
        assert harness.app.monitors[0].poller.watched == watched


def test_deselected_datasets_disappear_with_the_next_scrape(harness: ReloadHarness) -> None:
    """A knowledge base that the patterns no longer select is removed completely; the other one stays complete."""
    harness.config = harness.configure(replace(harness.server, discover_exclude=("KB 2",)))
    assert TWO in harness.page()
    assert harness.reload() is None
    assert (ONE in harness.page(), TWO in harness.page()) == (True, False)


def test_switching_off_discovery_removes_what_it_found(harness: ReloadHarness) -> None:
    """When discovery is switched off, everything that only discovery found is removed."""
    harness.config = harness.configure(replace(harness.server, discover=False))
    assert harness.reload() is None
    assert (ONE in harness.page(), TWO in harness.page()) == (False, False)


def test_removing_a_server_removes_what_was_discovered_on_it(harness: ReloadHarness) -> None:
    """When a server is removed, everything discovered on it is removed at once."""
    harness.config = harness.configure(replace(harness.server, name="other", discover=False))
    assert harness.reload() is None
    assert (ONE in harness.page(), TWO in harness.page()) == (False, False)


def test_an_answer_of_a_removed_server_adds_nothing(harness: ReloadHarness) -> None:
    """An answer that arrives after the server was removed adds nothing: nothing would ever remove it."""
    (monitor,) = harness.app.monitors
    fetch, fetched, proceed = monitor.client.datasets, threading.Event(), threading.Event()

    def fetch_slowly(page: int, **options: bool) -> DatasetPage:
        answer = fetch(page, **options)
        fetched.set()
        assert proceed.wait(60)
        return answer

    with mock.patch.object(monitor.client, "datasets", fetch_slowly):
        monitor.poller.schedule.bring_forward(Target(DATASET_LIST, "", ""), 0.0)
        monitor.wake_if_due()
        assert fetched.wait(60)
        harness.config = harness.configure(replace(harness.server, name="other", discover=False))
        assert harness.reload() is None
        proceed.set()
        until(lambda: monitor.is_idle)
    assert 'server="main"' not in harness.page()
