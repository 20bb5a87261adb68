"""The whole exporter and an embedded Dify on one virtual clock, scraped as Prometheus would scrape it.

Only the network is replaced. The clock starts at Unix second 0, like the clock of promtool's unit tests.
"""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

from exporter.clock import ManualClock
from exporter.config import Limits, Polling, Retention, Secret, ServerConfig
from exporter.dify import Client, ConnectFailed
from exporter.dify.transport.messages import Reply, Request
from exporter.metrics import DocumentLimit, Exposition, Format, ProcessState, SelfMetrics
from exporter.polling import Poller, ServerHealth, TargetStatuses, configured_targets
from exporter.simulator import Api, World, dataset_configs
from exporter.state import StateFile
from exporter.tracking import Store
from exporter.web import WebConfigFile
from tests.deploy.series import Series

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from exporter.simulator import Scenario

SERVER = "main"
URL = "http://api:5001/v1"
JOB = "dify-exporter"
INSTANCE = "exporter:9439"
SAVE_EVERY = 30
EXPIRE_EVERY = 60
SERVED, REFUSED, TIMED_OUT = 0.05, 0.001, 10.0
"""Duration of scrapes in seconds."""


class Turned(ManualClock):
    """A clock that calls back for every second that passes, including the seconds spent waiting on it."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.each_second: Callable[[int], None] = lambda _: None

    def advance(self, seconds: float) -> None:
        """Advance the clock by ``seconds``."""
        end = self.monotonic() + seconds
        while (second := int(self.monotonic()) + 1) <= end:
            super().advance(second - self.monotonic())
            self.each_second(second)
        super().advance(end - self.monotonic())


class Until(threading.Event):
    """An event that is set from a second of a clock onwards."""

    def __init__(self, clock: ManualClock, second: float) -> None:
        super().__init__()
        self._clock = clock
        self._second = second

    def is_set(self) -> bool:
        """Whether that second has come."""
        return self._clock.monotonic() >= self._second


class Exporter:
    """The exporter without its threads and its web server. A new object is a new process."""

    def __init__(self, stage: Stage, server: ServerConfig, polling: Polling, documents: int) -> None:
        """``documents``: the document limit."""
        clock = stage.clock
        self.self_metrics = SelfMetrics()
        self.self_metrics.add_server(server.name)
        self.self_metrics.reloaded(clock.time(), success=True)
        self.exposition = Exposition(self_metrics=self.self_metrics, monotonic=clock.monotonic)
        self.state = StateFile(stage.volume / "state.db", clock)
        self.state.open()
        limit = DocumentLimit(self.exposition, documents)
        statuses = TargetStatuses(server.name, listener=limit)
        self.store = Store(
            server.name,
            statuses.watched,
            listeners=(self.state, limit),
            unknown=lambda field: self.self_metrics.unknown_value(server.name, field),
            clock=clock,
        )
        self.store.restore(self.state.restore(server.name))
        client = _Client(stage, server, observer=self.self_metrics, clock=clock, user_agent="dify-exporter")
        health = ServerHealth(server.name, server.url, listener=limit, polling=polling, random=random.random)
        self.poller = Poller(
            server, client, self.store, statuses, health, polling=polling, observer=self.self_metrics, clock=clock
        )
        self.web_config = web_config = WebConfigFile(stage.web_config) if stage.web_config.exists() else None
        self.self_metrics.observe(
            ProcessState(
                schedules=lambda: [self.poller.snapshot()],
                collapsed=limit.collapsed,
                state_file=self.state,
                web_config_loaded=None if web_config is None else lambda: web_config.problem is None,
                web_certificate=lambda: stage.certificate,
            )
        )
        self.poller.watch(configured_targets(server))

    def page(self) -> str:
        """The page that a scrape returns."""
        return b"".join(self.exposition.page(Format.TEXT).plain_chunks()).decode()


class Stage:
    """What the acts of a scene operate on."""

    def __init__(
        self, scenario: Scenario, folder: Path, names: Collection[str], *, interval: int, settings: Mapping[str, Any]
    ) -> None:
        """``names``: metrics to record every ``interval`` seconds. ``settings``: as in a scene."""
        random.seed(7)  # makes the jitter of retries the same in each recording
        self.clock = Turned()
        self.world = World(scenario, self.clock)
        self.api = Api(self.world)
        self.series = Series(names, f'instance="{INSTANCE}",job="{JOB}"')
        self.reachable = True
        """Whether Dify's API is reachable."""
        self.scrapable = True
        """Whether scrapes succeed while the exporter runs."""
        self.known = True
        """Whether Prometheus has a target for the exporter."""
        self.saving = True
        """Whether saves of the state finish."""
        self.volume = folder / "volume"
        """Directory of the state file."""
        self.volume.mkdir()
        self.web_config = folder / "web.yml"
        """Does not exist at first."""
        self.certificate: tuple[float, float] | None = None
        """From when and until when the exporter's TLS certificate is valid."""
        settings = dict(settings)
        self._documents: int = settings.pop("documents", Limits().documents)
        self._polling: Polling = settings.pop("polling", Polling())
        defaults: dict[str, Any] = {
            "api_key": Secret(scenario.key),
            "requests_per_second": 1000.0,
            "datasets": dataset_configs(scenario),
        }
        self._server = ServerConfig(SERVER, URL, **(defaults | settings))
        self._interval = interval
        self._exporter: Exporter | None = None
        self.clock.each_second = self._second

    @property
    def exporter(self) -> Exporter:
        """The running exporter."""
        assert self._exporter is not None
        return self._exporter

    def start(self) -> None:
        """Start the exporter."""
        self._exporter = Exporter(self, self._server, self._polling, self._documents)

    def stop(self) -> None:
        """Stop the exporter."""
        self.exporter.state.close()
        self._exporter = None

    def play(self, acts: Mapping[float, Callable[[Stage], object]], minutes: float) -> None:
        """Run for ``minutes``, and call each of ``acts`` at its minute."""
        self._scrape()
        due = {round(minute * 60): act for minute, act in acts.items()}
        for second in range(int(minutes * 60)):
            if second in due:
                due[second](self)
            if self._exporter is not None:
                self._exporter.poller.work(Until(self.clock, second + 1))
            self.clock.advance(max(0.0, second + 1 - self.clock.monotonic()))
        if self._exporter is not None:
            self.stop()

    def _second(self, second: int) -> None:
        if self._exporter is not None:
            if self.saving and second % SAVE_EVERY == 0:
                self._exporter.state.save()
            if self._exporter.web_config is not None:
                self._exporter.web_config.reload_if_changed()
            if second % EXPIRE_EVERY == 0:
                self._exporter.store.expire(Retention().finished)
        if second % self._interval == 0:
            self._scrape()

    def _scrape(self) -> None:
        if not self.known:
            self.series.skip()
        elif self._exporter is None:
            self.series.scrape(None, REFUSED)
        elif not self.scrapable:
            self.series.scrape(None, TIMED_OUT)
        else:
            self.series.scrape(self._exporter.page(), SERVED)


class _Client(Client):
    """The client, with the embedded server instead of a network."""

    def __init__(self, stage: Stage, server: ServerConfig, **parts: Any) -> None:
        super().__init__(server, exchange=self._answer, **parts)
        self._stage = stage

    def _answer(self, request: Request) -> Reply:
        if not self._stage.reachable:
            raise ConnectFailed(f"{request.endpoint}: connection refused")
        path, _, query = request.path.partition("?")
        headers = {"authorization": f"Bearer {request.key.reveal()}"} if request.key else {}
        response = self._stage.api.handle("GET", f"/v1/{path}", query, headers)
        return Reply(response.status, dict(response.headers), response.body)
