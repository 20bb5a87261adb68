"""All parts together, in one process: isolation of servers, readiness, health and shutdown."""

from __future__ import annotations

import http.client
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from exporter.clock import ManualClock
from exporter.config import Config, DatasetConfig, Labels, Polling, ServerConfig, StateConfig, Web
from exporter.daemon import App, ConfigSource, Progress
from exporter.daemon.app import STUCK_AFTER
from exporter.metrics import Format
from exporter.polling import configured_targets
from exporter.simulator import (
    Action,
    Api,
    BatchPlan,
    DatasetPlan,
    DocumentPlan,
    Fault,
    Scenario,
    SimulatorServer,
    World,
    server_config,
)
from exporter.web import ListenError, WebConfigFile
from tests.integration.harness import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from exporter.config import ListenAddress

DATASET = "5f1d9a2e-6c0b-4d5e-9a43-0c9b7e2d1a01"
BATCH = "20261121093000100001"
NOTES = DocumentPlan(name="notes.md", id="5f1d9a2e-6c0b-4d5e-9a43-000000000001", segments=10)
SCENARIO = Scenario(datasets=(DatasetPlan(id=DATASET, batches=(BatchPlan(id=BATCH, documents=(NOTES,)),)),))


class Running:
    """An exporter that runs in its own thread."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.port = 0
        self._stop = threading.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=app.run, args=(self._stop,), kwargs={"on_listening": self._set_port})

    def _set_port(self, addresses: Sequence[ListenAddress]) -> None:
        self.port = addresses[0].port
        self._listening.set()

    def start(self) -> None:
        """Return once the exporter listens."""
        self._thread.start()
        assert self._listening.wait(60)

    def stop(self) -> bool:
        """Stop the exporter. True if it ended in time."""
        self._stop.set()
        self._thread.join(20)
        return not self._thread.is_alive()

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        """Status and text of a response."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode()


@pytest.fixture
def clock() -> ManualClock:
    """The clock of the embedded Dify."""
    return ManualClock()


@pytest.fixture
def dify(clock: ManualClock) -> Iterator[SimulatorServer]:
    """An embedded Dify with one batch of one document."""
    with SimulatorServer(Api(World(SCENARIO, clock))) as server:
        yield server


def _config(*servers: SimulatorServer, **settings: object) -> Config:
    """A configuration for these servers, named first, second, …, without state and on any free loopback port."""
    watched = tuple(
        server_config(server.api.world.scenario, server.url, name=name)
        for name, server in zip(("first", "second"), servers, strict=False)
    )
    given = {"state": StateConfig(None), "web": Web(("127.0.0.1:0",)), **settings}
    return Config(servers=watched, **given)  # type: ignore[arg-type]


@contextmanager
def _running(config: Config, source: ConfigSource | None = None) -> Iterator[Running]:
    running = Running(App(config, source=source))
    running.start()
    try:
        yield running
    finally:
        assert running.stop()


def _page(app: App) -> str:
    return b"".join(app.exposition.page(Format.TEXT).plain_chunks()).decode()


def test_poll_once(dify: SimulatorServer) -> None:
    """``poll_once`` polls every target and the detail of every document found, and returns True if all succeeded."""
    app = App(_config(dify))

    assert app.poll_once(threading.Event())
    assert f'document_id="{NOTES.id}",batch="{BATCH}",name="notes.md"' in _page(app)
    assert {"indexing-status": 1, "document": 1, "dataset": 1} == {**dify.api.requests}


def test_poll_once_with_a_failed_poll(dify: SimulatorServer) -> None:
    """``poll_once`` returns False if a poll failed, and the target's series shows the failure."""
    dify.api.faults.add(Fault(kind="status", status=502, endpoint="indexing-status"))
    app = App(_config(dify))

    assert not app.poll_once(threading.Event())
    assert f'kind="batch",dataset_id="{DATASET}",target="{BATCH}"}} 0\n' in _page(app)


def test_poll_once_with_unreadable_details(dify: SimulatorServer) -> None:
    """``poll_once`` returns False if a document is known and its detail cannot be read."""
    dify.api.faults.add(Fault(kind="status", status=500, endpoint="document"))
    assert not App(_config(dify)).poll_once(threading.Event())


@pytest.mark.parametrize("broken", [2, 3, 5])
def test_poll_once_requests_every_detail_although_some_fail(clock: ManualClock, broken: int) -> None:
    """Failing details end the run only when the first probe after a backoff fails, too; batches are all read."""
    ids = [f"5f1d9a2e-6c0b-4d5e-9a43-00000000000{number}" for number in range(5)]
    documents = tuple(DocumentPlan(name="a", id=id_, segments=1) for id_ in ids)
    scenario = Scenario(datasets=(DatasetPlan(id=DATASET, batches=(BatchPlan(id=BATCH, documents=documents),)),))
    with SimulatorServer(Api(World(scenario, clock))) as dify:
        for id_ in ids[:broken]:
            dify.api.faults.add(Fault(kind="status", status=500, endpoint="document", id=id_))
        app = App(_config(dify, polling=Polling(interval=1.0)))
        assert not app.poll_once(threading.Event())
    (monitor,) = app.monitors
    assert all(status.success for status in monitor.statuses.all().values())
    assert [document for document in monitor.store.documents if document.detail] == monitor.store.documents[broken:]
    assert len(monitor.health.failures_of_details(monitor.store.documents)) == broken
    assert None not in monitor.health.failures_of_details(monitor.store.documents)
    assert monitor.health.status.up is True


def test_poll_once_reports_progress(dify: SimulatorServer) -> None:
    """``on_progress`` receives the number of targets polled and the total."""
    reported: list[Progress] = []
    App(_config(dify)).poll_once(threading.Event(), on_progress=reported.append)

    assert reported
    assert {2} == {progress.targets for progress in reported}
    assert sorted(reported) == reported


def test_poll_once_does_not_start_after_stop(dify: SimulatorServer) -> None:
    """No poll starts once the event is set."""
    stop = threading.Event()
    stop.set()

    assert not App(_config(dify)).poll_once(stop)
    assert 0 == dify.api.requests.total()


def test_ready_after_the_first_cycle(dify: SimulatorServer) -> None:
    """While a first poll hangs, the exporter serves and reports its progress; it is ready once all of them ended."""
    dify.api.faults.add(Fault(kind="delay", seconds=4, endpoint="indexing-status"))
    with _running(_config(dify)) as running:
        until(lambda: dify.api.requests["dataset"])

        assert (503, "not ready: 1 of 2 targets polled\n") == until(
            lambda: (found := running.get("/-/ready"))[1].startswith("not ready: 1") and found
        )
        until(lambda: 200 == running.get("/-/ready")[0])


def test_a_hanging_server_delays_no_other(dify: SimulatorServer) -> None:
    """Each server has its own workers: if one never answers, the other is still polled at its interval."""
    with ExitStack() as stack:
        other = stack.enter_context(SimulatorServer(Api(World(SCENARIO, ManualClock()))))
        dify.api.faults.add(Fault(kind="delay", seconds=60))
        config = _config(dify, other, polling=Polling(interval=1, max_interval=1))
        servers = tuple(replace(server, timeout=60.0) for server in config.servers)
        running = stack.enter_context(_running(replace(config, servers=servers)))
        started = time.monotonic()
        until(lambda: other.api.requests["indexing-status"] > 2)

        assert time.monotonic() - started < 30
        assert 'dify_up{server="second"} 1\n' in running.get("/metrics")[1]
        assert 'dify_up{server="first"}' not in running.get("/metrics")[1]


def test_changes_appear_one_poll_later(dify: SimulatorServer, clock: ManualClock) -> None:
    """A change in Dify is on the page one poll later; a deleted document disappears from it."""
    with _running(_config(dify, polling=Polling(interval=1, max_interval=1, settled_interval=1))) as running:
        completed = f'document_id="{NOTES.id}",status="completed"}} '
        until(lambda: completed + "0\n" in running.get("/metrics")[1])
        clock.advance(60)
        until(lambda: completed + "1\n" in running.get("/metrics")[1])
        dify.api.world.act(DATASET, Action(kind="delete", document="notes.md", batch=BATCH))
        until(lambda: completed not in running.get("/metrics")[1])


@pytest.mark.parametrize("shown", [True, False])
def test_document_names_can_be_hidden(dify: SimulatorServer, clock: ManualClock, *, shown: bool) -> None:
    """``labels.document_name`` decides whether document names appear on the page and in the log."""
    again = "document restarted indexing"
    polling = Polling(interval=1, max_interval=1, settled_interval=1)
    config = _config(dify, polling=polling, labels=Labels(document_name=shown))
    with capture_logs() as log, _running(config) as running:
        clock.advance(60)
        until(lambda: f'document_id="{NOTES.id}",status="completed"}} 1\n' in running.get("/metrics")[1])
        until(lambda: f'dify_document_tokens{{server="first",dataset_id="{DATASET}"' in _page(running.app))
        dify.api.world.act(DATASET, Action(kind="update", document="notes.md", batch=BATCH))
        until(lambda: [line for line in log if line["event"] == again])

        assert (shown, shown) == ("notes.md" in running.get("/metrics")[1], "notes.md" in str(log))


def test_landing_page_shows_numbers(dify: SimulatorServer) -> None:
    """The landing page shows the number of servers, targets and series."""
    with _running(_config(dify)) as running:
        until(lambda: 200 == running.get("/-/ready")[0])
        page = running.get("/")[1]

    assert "<dt>Servers</dt><dd>1</dd>" in page
    assert "<dt>Targets</dt><dd>2</dd>" in page


def test_reload_names_sections_that_require_a_restart(dify: SimulatorServer) -> None:
    """The answer to POST /-/reload names the sections that require a restart."""
    changed = _config(dify, labels=Labels(document_name=False))
    with _running(_config(dify), ConfigSource(lambda: changed)) as running:
        status, text = running.get("/-/reload", method="POST")

        assert (200, "Configuration reloaded. Changes in labels require a restart.\n") == (status, text)
        assert "<dt>Requires a restart</dt><dd>labels</dd>" in running.get("/")[1]


def test_metrics_show_failed_saves(tmp_path: Path) -> None:
    """The state metrics are absent before the first save and without a state file; then they show the last save."""
    folder = tmp_path / "volume"
    app = App(Config(servers=(), state=StateConfig(folder / "state.db")), clock=ManualClock(), use_state_file=True)
    stateless = App(Config(servers=(), state=StateConfig(None)), clock=ManualClock(), use_state_file=True)
    name = "dify_exporter_state_last_save_"
    assert [] == [line for page in map(_page, (app, stateless)) for line in page.splitlines() if name in line]

    assert app.state is not None
    app.state.save()
    assert f"\n{name}successful 0.0\n" in _page(app)
    assert f"{name}timestamp" not in _page(app)
    folder.mkdir()
    app.state.save()
    assert f"\n{name}successful 1.0\n" in _page(app)
    app.state.close()


def test_metrics_show_a_rejected_web_config(tmp_path: Path) -> None:
    """With a web config file, the page shows whether its current content is in effect; otherwise it shows nothing."""
    file = tmp_path / "web.yml"
    file.write_text("{}")
    web_config = WebConfigFile(file)
    config = Config(servers=(), state=StateConfig(None))
    name = "dify_exporter_web_config_last_reload_successful"
    assert name not in _page(App(config))

    app = App(config, web_config=web_config)
    for text, value in (("{}", 1), ("a: 1", 0), ("{}", 1)):
        file.write_text(text)
        web_config.reload_if_changed()
        web_config.reload_if_changed()
        assert f"\n{name} {value}.0\n" in _page(app)


def test_a_stuck_loop_is_unhealthy() -> None:
    """/-/healthy fails when the loop has not run for too long, and says what to do."""
    clock = ManualClock()
    app = App(Config(servers=(), state=StateConfig(None)), clock=clock)
    app._loop.turn()
    clock.advance(STUCK_AFTER)
    assert None is app.health_problem()
    clock.advance(1)

    assert "the polling loop has been stuck for 31 s: restart the exporter and report its log" == app.health_problem()


def test_unhealthy_while_nobody_polls() -> None:
    """Also when the loop runs, but no thread of a server starts the polls that are due."""
    clock = ManualClock()
    server = ServerConfig("main", "http://127.0.0.1:9/v1", datasets=(DatasetConfig(DATASET, batches=(BATCH,)),))
    app = App(Config(servers=(server,), state=StateConfig(None)), clock=clock)
    app.monitors[0].poller.watch(configured_targets(server))
    clock.advance(121)
    app._loop.turn()
    problem = "server main: polls are due, but none has started for 121 s: restart the exporter and report its log"
    assert problem == app.health_problem()


def test_no_requests_when_the_port_is_in_use(dify: SimulatorServer) -> None:
    """If the port cannot be bound, the exporter sends no request to any server."""
    with _running(_config(dify)) as first:
        requests = until(lambda: 3 <= dify.api.requests.total() and dify.api.requests.total())
        occupied = Web((f"127.0.0.1:{first.port}",))
        with pytest.raises(ListenError, match="address already in use"):
            App(_config(dify, web=occupied)).run(threading.Event())

    assert requests == dify.api.requests.total()
