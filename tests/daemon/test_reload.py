"""Reloading the configuration without a restart."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from exporter.clock import ManualClock
from exporter.config import Config, DatasetConfig, Labels, Limits, Polling, ServerConfig, StateConfig, Web
from exporter.daemon.app import App
from exporter.metrics import Format
from exporter.simulator import (
    Api,
    BatchPlan,
    DatasetPlan,
    DocumentPlan,
    Scenario,
    SimulatorServer,
    World,
    simulated_server,
)
from exporter.yamlconf import ConfigError, Problem
from tests.integration.harness import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ONE, TWO = "5f1d9a2e-6c0b-4d5e-9a43-0c9b7e2d1a01", "5f1d9a2e-6c0b-4d5e-9a43-0c9b7e2d1a02"
SCENARIO = Scenario(
    datasets=tuple(
        DatasetPlan(
            dataset,
            name=f"kb {dataset[-1]}",
            batches=tuple(
                BatchPlan(id=f"2026112109300010000{number}", lost=True, documents=(DocumentPlan(name=f"{number}.txt"),))
                for number in numbers
            ),
        )
        for dataset, numbers in ((ONE, (1, 2)), (TWO, (3,)))
    )
)
POLLING = Polling(interval=1.0, max_interval=1.0)


class ConfigReloader:
    """An exporter whose configuration a test changes while the exporter runs."""

    def __init__(self, dify: SimulatorServer, folder: Path, **changes: Any) -> None:
        server = simulated_server(SCENARIO, dify.url, name="main")
        self.server = replace(server, requests_per_second=1000.0, **changes)
        self.folder = folder
        self.config: Config | ConfigError = self.configure(self.server)
        assert isinstance(self.config, Config)
        self.app = App(self.config, reread=self.reread)

    def configure(self, *servers: ServerConfig, **sections: object) -> Config:
        """A configuration without state."""
        return Config(servers=servers, polling=POLLING, state=StateConfig(None), **sections)  # type: ignore[arg-type]

    def reread(self) -> Config:
        """The current content of the file."""
        if isinstance(self.config, ConfigError):
            raise self.config
        return self.config

    def page(self) -> str:
        """The current scrape."""
        return b"".join(self.app.exposition.page(Format.TEXT).plain_chunks()).decode()

    def lines(self, name: str) -> list[str]:
        """The lines of one metric."""
        return [line for line in self.page().splitlines() if line.startswith(name + "{")]

    def begin(self) -> None:
        """Poll in the background until everything has been polled once."""
        for served in self.app.monitors:
            served.start()
        self.poll_until(lambda: self.app.what_is_awaited() is None)
        self.poll_until(lambda: len(self.lines("dify_document_created_timestamp_seconds")) == 3)

    def settle(self) -> None:
        """Poll until the new targets have been polled."""
        self.poll_until(lambda: self.app.what_is_awaited() is None)

    def poll_until(self, condition: Callable[[], bool]) -> None:
        """Wake the workers, as the loop does every second, until ``condition`` is met.

        Without the loop nobody else does: a poll that a reload stops is put back after the reload has woken them.
        """

        def woken() -> bool:
            for monitor in self.app.monitors:
                monitor.workers.wake()
            return condition()

        until(woken)

    def end(self) -> None:
        """Wait for running polls."""
        for served in self.app.monitors:
            served.stop()
            served.cut(10.0)


@pytest.fixture
def reloader(tmp_path: Path) -> Iterator[ConfigReloader]:
    """An exporter on an embedded Dify whose clock does not advance."""
    with SimulatorServer(Api(World(SCENARIO, ManualClock())), connections=None) as dify:
        running = ConfigReloader(dify, tmp_path)
        running.begin()
        yield running
        running.end()


def test_what_stays_keeps_its_objects_and_clocks(reloader: ConfigReloader) -> None:
    """A batch named in both configurations is on every page, and its last progress is kept."""
    before = reloader.lines("dify_batch_last_progress_timestamp_seconds")
    fewer = replace(reloader.server, datasets=(DatasetConfig(ONE, batches=("20261121093000100001",)),), concurrency=3)
    reloader.config = reloader.configure(fewer)
    assert reloader.app.reloader.reload() is None
    after = reloader.lines("dify_batch_last_progress_timestamp_seconds")
    assert after == [line for line in before if "20261121093000100001" in line]
    reloader.settle()
    assert reloader.lines("dify_batch_last_progress_timestamp_seconds") == after


def test_what_left_is_gone_from_the_next_scrape(reloader: ConfigReloader) -> None:
    """Batches, documents, names, counters and targets that are no longer configured disappear."""
    assert TWO in reloader.page()
    reloader.config = reloader.configure(replace(reloader.server, datasets=reloader.server.datasets[:1]))
    assert reloader.app.reloader.reload() is None
    assert TWO not in reloader.page()


def test_a_server_that_left_is_gone_and_a_new_one_is_polled(reloader: ConfigReloader) -> None:
    """Servers are added and removed by name."""
    reloader.config = reloader.configure(replace(reloader.server, name="other"))
    assert reloader.app.reloader.reload() is None
    assert 'server="main"' not in reloader.page()
    reloader.settle()
    assert len(reloader.lines("dify_batch_stalled")) == 3
    assert reloader.lines("dify_up") == ['dify_up{server="other"} 1']


def test_a_bad_configuration_changes_nothing_and_shows(reloader: ConfigReloader) -> None:
    """An invalid configuration is reported in the answer and in the metric, and polling continues."""
    before = reloader.lines("dify_batch_stalled")
    reloader.config = ConfigError([Problem("config.yaml", 3, "servers[0].url", "is wrong")])
    assert "config.yaml:3: servers[0].url: is wrong" in (reloader.app.reloader.reload() or "")
    assert reloader.lines("dify_batch_stalled") == before
    assert "dify_exporter_config_last_reload_successful 0.0" in reloader.page()
    reloader.config = reloader.configure(reloader.server)
    assert reloader.app.reloader.reload() is None
    assert "dify_exporter_config_last_reload_successful 1.0" in reloader.page()


def test_new_targets_of_a_server_are_polled_at_once(reloader: ConfigReloader) -> None:
    """A new batch has its series after one poll; a rejected key is retried at once, without waiting for backoff."""
    reloader.config = reloader.configure(replace(reloader.server, datasets=()))
    reloader.app.reloader.reload()
    assert reloader.lines("dify_batch_stalled") == []
    reloader.config = reloader.configure(reloader.server)
    reloader.app.reloader.reload()
    reloader.settle()
    assert len(reloader.lines("dify_batch_stalled")) == 3


def test_what_a_file_names_too_stays_when_it_leaves_the_configuration(reloader: ConfigReloader) -> None:
    """The batch keeps its objects and clocks, and its knowledge base its name; everything else is removed."""
    (reloader.folder / "a.yaml").write_text(f"[{{dataset_id: {TWO}, batch: '20261121093000100003'}}]")
    both = replace(reloader.server, batch_files=(str(reloader.folder / "*.yaml"),))
    reloader.config = reloader.configure(both)
    assert reloader.app.reloader.reload() is None
    before = [line for line in reloader.lines("dify_batch_last_progress_timestamp_seconds") if TWO in line]
    reloader.config = reloader.configure(replace(both, datasets=()))
    assert reloader.app.reloader.reload() is None
    assert reloader.lines("dify_batch_last_progress_timestamp_seconds") == before != []
    assert {target.dataset_id for target in reloader.app.monitors[0].poller.watched} == {TWO}
    assert [TWO in line for line in reloader.lines("dify_dataset_info")] == [True]


def test_sections_that_need_a_restart_are_named(reloader: ConfigReloader, capsys: pytest.CaptureFixture[str]) -> None:
    """Every reload names the sections that require a restart until the configuration matches the one at startup."""
    changed = reloader.configure(reloader.server, labels=Labels(document_name=False), limits=Limits(documents=1))
    for reloader.config in (changed, replace(changed, polling=Polling())):
        assert reloader.app.reloader.reload() is None
        log = capsys.readouterr().out
        assert "section=labels" in log
        assert "section=limits" in log
        assert reloader.app.reloader.what_needs_restart() == ["limits", "labels"]
        assert reloader.app._facts()["Requires a restart"] == "limits, labels"
    reloader.config = reloader.configure(reloader.server)
    assert reloader.app.reloader.reload() is None
    assert "section=" not in capsys.readouterr().out
    assert reloader.app.reloader.what_needs_restart() == []
    assert "Requires a restart" not in reloader.app._facts()


def test_a_storm_of_reloads_ends_in_the_last_configuration(reloader: ConfigReloader) -> None:
    """Fifty reloads from several threads: no exception, no target lost, none duplicated."""
    configs = [
        reloader.configure(reloader.server),
        reloader.configure(replace(reloader.server, concurrency=4)),
        reloader.configure(replace(reloader.server, datasets=reloader.server.datasets[:1])),
    ]

    def storm(first: int) -> None:
        for number in range(12):
            reloader.config = configs[(first + number) % 3]
            reloader.app.reloader.reload()

    threads = [threading.Thread(target=storm, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    reloader.config = configs[0]
    assert reloader.app.reloader.reload() is None
    reloader.settle()
    reloader.poll_until(lambda: len(reloader.lines("dify_batch_stalled")) == 3)
    assert len(reloader.lines("dify_exporter_target_success")) == 5


def test_an_exporter_without_a_file_says_so() -> None:
    """A configuration from the environment cannot be reloaded."""
    assert "no configuration file" in (App(Config(state=StateConfig(None))).reloader.reload() or "")


def test_warnings_are_told_again(reloader: ConfigReloader, capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings about the new file are logged as at startup."""
    warning = Problem("config.yaml", 3, "servers[0].datasets", "names nothing")
    reloader.config = reloader.configure(reloader.server, warnings=(warning,))
    reloader.app.reloader.reload()
    assert "names nothing" in capsys.readouterr().out


def test_a_file_that_is_being_written_is_not_taken(reloader: ConfigReloader) -> None:
    """A change is applied, or refused, only after two consecutive reads agree."""
    whole, half = reloader.config, reloader.configure(replace(reloader.server, datasets=()))
    broken = ConfigError([Problem("config.yaml", 3, "servers[0].url", "is wrong")])
    look = reloader.app.reloader.look
    before = reloader.lines("dify_batch_last_progress_timestamp_seconds")
    for found in (half, whole, broken, half, whole, whole):
        reloader.config = found
        look()
        assert before == reloader.lines("dify_batch_last_progress_timestamp_seconds")
        assert "dify_exporter_config_last_reload_successful 1.0" in reloader.page()
    reloader.config = broken
    look()
    look()
    assert "dify_exporter_config_last_reload_successful 0.0" in reloader.page()
    reloader.config = half
    look()
    look()
    assert [] == reloader.lines("dify_batch_stalled")
    assert "dify_exporter_config_last_reload_successful 1.0" in reloader.page()


def test_a_reload_before_the_polls_have_begun(reloader: ConfigReloader) -> None:
    """A reload requested as soon as the port answers waits until polling has started."""
    app = App(reloader.configure(reloader.server, web=Web("127.0.0.1:0")), reread=reloader.reread)
    stop, answers = threading.Event(), []
    reloader.config = reloader.configure(replace(reloader.server, timeout=3.0))
    asking = threading.Thread(target=lambda: answers.append(app.reloader.reload()))

    def on_listening(_port: int) -> None:
        asking.start()
        asking.join(0.2)
        assert [] == answers

    running = threading.Thread(target=app.run, args=(stop,), kwargs={"on_listening": on_listening})
    running.start()
    until(lambda: answers == [None])
    until(lambda: app.what_is_awaited() is None)
    stop.set()
    running.join(20)
    assert not running.is_alive()


def test_a_reload_waits_for_a_look_at_the_batch_files(reloader: ConfigReloader) -> None:
    """Batch files are read by one thread at a time; otherwise a batch that is no longer named could stay watched."""
    (served,) = reloader.app.monitors
    looking, go = threading.Event(), threading.Event()

    def look() -> None:
        if not looking.is_set():
            looking.set()
            assert go.wait(60)

    with mock.patch.object(served.batch_file_targets, "look", look):
        looker = threading.Thread(target=reloader.app._look_at_files)
        looker.start()
        assert looking.wait(60)
        reload = threading.Thread(target=reloader.app.reloader.reload)
        reload.start()
        reload.join(0.2)
        assert reload.is_alive()
        go.set()
        looker.join(60)
        reload.join(60)
    assert not reload.is_alive()
