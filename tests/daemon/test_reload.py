"""Reloading the configuration without a restart."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from exporter.clock import ManualClock
from exporter.config import Config, DatasetConfig, Labels, Limits, Polling, ServerConfig, StateConfig, Web
from exporter.daemon import App, ConfigSource
from exporter.metrics import Format
from exporter.simulator import (
    Api,
    BatchPlan,
    DatasetPlan,
    DocumentPlan,
    Scenario,
    SimulatorServer,
    World,
    server_config,
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


class ReloadHarness:
    """An exporter whose configuration a test changes while the exporter runs."""

    def __init__(self, dify: SimulatorServer, folder: Path, **changes: Any) -> None:
        server = server_config(SCENARIO, dify.url, name="main")
        self.server = replace(server, requests_per_second=1000.0, **changes)
        self.folder = folder
        self.config: Config | ConfigError = self.configure(self.server)
        assert isinstance(self.config, Config)
        self.app = App(self.config, source=ConfigSource(self.read))

    def configure(self, *servers: ServerConfig, **sections: object) -> Config:
        """A configuration without state."""
        return Config(servers=servers, polling=POLLING, state=StateConfig(None), **sections)  # type: ignore[arg-type]

    def read(self) -> Config:
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

    def start(self) -> None:
        """Poll in the background until everything has been polled once."""
        self.app.start_polling()
        self.poll_until(lambda: self.app.readiness_problem() is None)
        self.poll_until(lambda: len(self.lines("dify_document_created_timestamp_seconds")) == 3)

    def settle(self) -> None:
        """Poll until the new targets have been polled."""
        self.poll_until(lambda: self.app.readiness_problem() is None)

    def poll_until(self, condition: Callable[[], bool]) -> None:
        """Wake the workers, as the loop does every second, until ``condition`` is met.

        Without the loop nobody else does: a poll that a reload stops is put back after the reload has woken them.
        """

        def woken() -> bool:
            for monitor in self.app.monitors:
                monitor.wake_if_due()
            return condition()

        until(woken)

    def reload(self) -> str | None:
        """Reload the configuration; returns the error."""
        return self.app.reloader.reload()

    def stop(self) -> None:
        """Wait for running polls."""
        self.app.stop_polling()


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ReloadHarness]:
    """An exporter on an embedded Dify whose clock does not advance."""
    with SimulatorServer(Api(World(SCENARIO, ManualClock())), connections=None) as dify:
        running = ReloadHarness(dify, tmp_path)
        running.start()
        yield running
        running.stop()


def test_remaining_targets_keep_their_objects_and_clocks(harness: ReloadHarness) -> None:
    """A batch named in both configurations is on every page, and its last progress is kept."""
    before = harness.lines("dify_batch_last_progress_timestamp_seconds")
    fewer = replace(harness.server, datasets=(DatasetConfig(ONE, batches=("20261121093000100001",)),), concurrency=3)
    harness.config = harness.configure(fewer)
    assert harness.reload() is None
    after = harness.lines("dify_batch_last_progress_timestamp_seconds")
    assert after == [line for line in before if "20261121093000100001" in line]
    harness.settle()
    assert harness.lines("dify_batch_last_progress_timestamp_seconds") == after


def test_removed_targets_disappear_with_the_next_scrape(harness: ReloadHarness) -> None:
    """Batches, documents, names, counters and targets that are no longer configured disappear."""
    assert TWO in harness.page()
    harness.config = harness.configure(replace(harness.server, datasets=harness.server.datasets[:1]))
    assert harness.reload() is None
    assert TWO not in harness.page()


def test_servers_are_removed_and_added(harness: ReloadHarness) -> None:
    """Servers are added and removed by name."""
    harness.config = harness.configure(replace(harness.server, name="other"))
    assert harness.reload() is None
    assert 'server="main"' not in harness.page()
    harness.settle()
    assert len(harness.lines("dify_batch_stalled")) == 3
    assert harness.lines("dify_up") == ['dify_up{server="other"} 1']


def test_an_invalid_configuration_changes_nothing_and_is_reported(harness: ReloadHarness) -> None:
    """An invalid configuration is reported in the answer and in the metric, and polling continues."""
    before = harness.lines("dify_batch_stalled")
    harness.config = ConfigError([Problem("config.yaml", 3, "servers[0].url", "is wrong")])
    assert "config.yaml:3: servers[0].url: is wrong" in (harness.reload() or "")
    assert harness.lines("dify_batch_stalled") == before
    assert "dify_exporter_config_last_reload_successful 0.0" in harness.page()
    harness.config = harness.configure(harness.server)
    assert harness.reload() is None
    assert "dify_exporter_config_last_reload_successful 1.0" in harness.page()


def test_new_targets_of_a_server_are_polled_at_once(harness: ReloadHarness) -> None:
    """A new batch has its series after one poll; a rejected key is retried at once, without waiting for backoff."""
    harness.config = harness.configure(replace(harness.server, datasets=()))
    harness.reload()
    assert harness.lines("dify_batch_stalled") == []
    harness.config = harness.configure(harness.server)
    harness.reload()
    harness.settle()
    assert len(harness.lines("dify_batch_stalled")) == 3


def test_batches_in_a_batch_file_outlive_their_removal_from_the_configuration(harness: ReloadHarness) -> None:
    """The batch keeps its objects and clocks, and its knowledge base its name; everything else is removed."""
    (harness.folder / "a.yaml").write_text(f"[{{dataset_id: {TWO}, batch: '20261121093000100003'}}]")
    both = replace(harness.server, batch_files=(str(harness.folder / "*.yaml"),))
    harness.config = harness.configure(both)
    assert harness.reload() is None
    before = [line for line in harness.lines("dify_batch_last_progress_timestamp_seconds") if TWO in line]
    harness.config = harness.configure(replace(both, datasets=()))
    assert harness.reload() is None
    assert harness.lines("dify_batch_last_progress_timestamp_seconds") == before != []
    assert {target.dataset_id for target in harness.app.monitors[0].poller.watched} == {TWO}
    assert [TWO in line for line in harness.lines("dify_dataset_info")] == [True]


def test_sections_that_require_a_restart_are_named(harness: ReloadHarness, capsys: pytest.CaptureFixture[str]) -> None:
    """Every reload names the sections that require a restart until the configuration matches the one at startup."""
    changed = harness.configure(harness.server, labels=Labels(document_name=False), limits=Limits(documents=1))
    for harness.config in (changed, replace(changed, polling=Polling())):
        assert harness.reload() is None
        log = capsys.readouterr().out
        assert "section=labels" in log
        assert "section=limits" in log
        assert harness.app.reloader.requires_restart() == ["limits", "labels"]
        assert harness.app.status()["Requires a restart"] == "limits, labels"
    harness.config = harness.configure(harness.server)
    assert harness.reload() is None
    assert "section=" not in capsys.readouterr().out
    assert harness.app.reloader.requires_restart() == []
    assert "Requires a restart" not in harness.app.status()


def test_concurrent_reloads_end_with_the_last_configuration(harness: ReloadHarness) -> None:
    """Fifty reloads from several threads: no exception, no target lost, none duplicated."""
    configs = [
        harness.configure(harness.server),
        harness.configure(replace(harness.server, concurrency=4)),
        harness.configure(replace(harness.server, datasets=harness.server.datasets[:1])),
    ]

    def storm(first: int) -> None:
        for number in range(12):
            harness.config = configs[(first + number) % 3]
            harness.reload()

    threads = [threading.Thread(target=storm, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    harness.config = configs[0]
    assert harness.reload() is None
    harness.settle()
    harness.poll_until(lambda: len(harness.lines("dify_batch_stalled")) == 3)
    assert len(harness.lines("dify_exporter_target_success")) == 5


def test_without_a_file_a_reload_is_refused() -> None:
    """A configuration from the environment cannot be reloaded."""
    assert "no configuration file" in (App(Config(state=StateConfig(None))).reloader.reload() or "")


def test_warnings_are_logged_again(harness: ReloadHarness, capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings about the new file are logged as at startup."""
    warning = Problem("config.yaml", 3, "servers[0].datasets", "names nothing")
    harness.config = harness.configure(harness.server, warnings=(warning,))
    harness.reload()
    assert "names nothing" in capsys.readouterr().out


def test_a_file_that_is_being_written_is_not_applied(harness: ReloadHarness) -> None:
    """A change is applied, or refused, only after two consecutive reads agree."""
    whole, half = harness.config, harness.configure(replace(harness.server, datasets=()))
    broken = ConfigError([Problem("config.yaml", 3, "servers[0].url", "is wrong")])
    check = harness.app.reloader.reload_if_changed
    before = harness.lines("dify_batch_last_progress_timestamp_seconds")
    for found in (half, whole, broken, half, whole, whole):
        harness.config = found
        check()
        assert before == harness.lines("dify_batch_last_progress_timestamp_seconds")
        assert "dify_exporter_config_last_reload_successful 1.0" in harness.page()
    harness.config = broken
    check()
    check()
    assert "dify_exporter_config_last_reload_successful 0.0" in harness.page()
    harness.config = half
    check()
    check()
    assert [] == harness.lines("dify_batch_stalled")
    assert "dify_exporter_config_last_reload_successful 1.0" in harness.page()


def test_a_reload_before_polling_has_started(harness: ReloadHarness) -> None:
    """A reload requested as soon as the port answers waits until polling has started."""
    app = App(harness.configure(harness.server, web=Web(("127.0.0.1:0",))), source=ConfigSource(harness.read))
    stop, answers = threading.Event(), []
    harness.config = harness.configure(replace(harness.server, timeout=3.0))
    asking = threading.Thread(target=lambda: answers.append(app.reloader.reload()))

    def on_listening(_addresses: object) -> None:
        asking.start()
        asking.join(0.2)
        assert [] == answers

    running = threading.Thread(target=app.run, args=(stop,), kwargs={"on_listening": on_listening})
    running.start()
    until(lambda: answers == [None])
    until(lambda: app.readiness_problem() is None)
    stop.set()
    running.join(20)
    assert not running.is_alive()


def test_a_reload_waits_while_batch_files_are_read(harness: ReloadHarness) -> None:
    """Batch files are read by one thread at a time; otherwise a batch that is no longer named could stay watched."""
    (monitor,) = harness.app.monitors
    reading, proceed = threading.Event(), threading.Event()

    def read() -> None:
        if not reading.is_set():
            reading.set()
            assert proceed.wait(60)

    with mock.patch.object(monitor, "read_batch_files", read):
        reader = threading.Thread(target=harness.app._read_batch_files)
        reader.start()
        assert reading.wait(60)
        reload = threading.Thread(target=harness.reload)
        reload.start()
        reload.join(0.2)
        assert reload.is_alive()
        proceed.set()
        reader.join(60)
        reload.join(60)
    assert not reload.is_alive()
