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
from tests.daemon.test_reload import ONE, SCENARIO, TWO, ConfigReloader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from exporter.dify import DatasetPage


@pytest.fixture
def reloader(tmp_path: Path) -> Iterator[ConfigReloader]:
    """An exporter with no configured targets that has discovered two knowledge bases with three documents."""
    with SimulatorServer(Api(World(SCENARIO, ManualClock())), connections=None) as dify:
        running = ConfigReloader(dify, tmp_path, datasets=(), discover=True)
        running.begin()
        yield running
        running.end()


def test_what_was_found_outlives_reloads(reloader: ConfigReloader) -> None:
    """Every discovered knowledge base stays watched, with its name, documents and counters."""
    names = ("dify_dataset_info", "dify_document_info", "dify_documents_finished_total")
    before = [sorted(reloader.lines(name)) for name in names]
    watched = reloader.app.monitors[0].poller.watched
    assert len(before[0]) == 2
    for concurrency in (3, 4):
        reloader.config = reloader.configure(replace(reloader.server, concurrency=concurrency))
        assert reloader.app.reloader.reload() is None
        assert [sorted(reloader.lines(name)) for name in names] == before
        assert reloader.app.monitors[0].poller.watched == watched


def test_what_the_patterns_choose_no_longer_is_gone_from_the_next_scrape(reloader: ConfigReloader) -> None:
    """A knowledge base that the patterns no longer select is removed completely; the other one stays complete."""
    reloader.config = reloader.configure(replace(reloader.server, discover_exclude=("KB 2",)))
    assert TWO in reloader.page()
    assert reloader.app.reloader.reload() is None
    assert (ONE in reloader.page(), TWO in reloader.page()) == (True, False)


def test_discovery_that_is_switched_off_takes_along_what_it_found(reloader: ConfigReloader) -> None:
    """When discovery is switched off, everything that only discovery found is removed."""
    reloader.config = reloader.configure(replace(reloader.server, discover=False))
    assert reloader.app.reloader.reload() is None
    assert (ONE in reloader.page(), TWO in reloader.page()) == (False, False)


def test_a_server_that_leaves_takes_along_what_was_found_on_it(reloader: ConfigReloader) -> None:
    """When a server is removed, everything discovered on it is removed at once."""
    reloader.config = reloader.configure(replace(reloader.server, name="other", discover=False))
    assert reloader.app.reloader.reload() is None
    assert (ONE in reloader.page(), TWO in reloader.page()) == (False, False)


def test_a_list_under_way_brings_nothing_of_a_server_that_left(reloader: ConfigReloader) -> None:
    """An answer that arrives after the server was removed adds nothing: nothing would ever remove it."""
    (served,) = reloader.app.monitors
    ask, asked, go = served.client.datasets, threading.Event(), threading.Event()

    def slowly(page: int) -> DatasetPage:
        answer = ask(page)
        asked.set()
        assert go.wait(60)
        return answer

    with mock.patch.object(served.client, "datasets", slowly):
        served.poller.schedule.bring_forward(Target(DATASET_LIST, "", ""), 0.0)
        served.workers.wake()
        assert asked.wait(60)
        reloader.config = reloader.configure(replace(reloader.server, name="other", discover=False))
        assert reloader.app.reloader.reload() is None
        go.set()
        assert served.workers.join(60)
    assert 'server="main"' not in reloader.page()
