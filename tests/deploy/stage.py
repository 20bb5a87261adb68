"""The whole exporter and an embedded Dify on one clock that jumps, scraped as Prometheus would scrape it.

Everything is the real thing but the wire. The clock starts at Unix second 0, as that of promtool's unit tests does.
"""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

from exporter.clock import ManualClock
from exporter.config import Limits, Polling, Retention, Secret, Server
from exporter.dify import Client, ConnectFailed
from exporter.dify.refusal import Reply
from exporter.metrics import Exposition, Format, OwnMetrics
from exporter.simulator import Api, World, watched
from exporter.tracking import DocumentLimit, Poller, Roster, State, Store, configured_targets
from exporter.web import WebSecurity
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
"""Seconds that scrapes take."""


class Turned(ManualClock):
    """A clock that tells, second by second, that it is turned, also while somebody waits on it."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.each_second: Callable[[int], None] = lambda _: None

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        end = self.monotonic() + seconds
        while (second := int(self.monotonic()) + 1) <= end:
            super().advance(second - self.monotonic())
            self.each_second(second)
        super().advance(end - self.monotonic())


class Until(threading.Event):
    """Set from a second of a clock on."""

    def __init__(self, clock: ManualClock, second: float) -> None:
        super().__init__()
        self._clock = clock
        self._second = second

    def is_set(self) -> bool:
        """Whether the second has come."""
        return self._clock.monotonic() >= self._second


class Exporter:
    """The exporter but for its threads and its web server. A new one is a new process."""

    def __init__(self, stage: Stage, server: Server, polling: Polling, documents: int) -> None:
        """``documents``: the limit."""
        clock = stage.clock
        self.own = OwnMetrics()
        self.own.prepare(server.name)
        self.own.reloaded(clock.time(), success=True)
        self.exposition = Exposition(own=self.own, monotonic=clock.monotonic)
        self.state = State(stage.volume / "state.db", clock)
        self.state.open()
        limit = DocumentLimit(self.exposition, documents)
        roster = Roster(server.name, server.url, listener=limit)
        self.store = Store(
            server.name,
            roster,
            listener=limit,
            unknown=lambda field: self.own.unknown_value(server.name, field),
            clock=clock,
            recorder=self.state,
        )
        self.store.recall(self.state.recall(server.name))
        client = _Client(stage, server, observer=self.own, clock=clock, user_agent="dify-exporter")
        self.poller = Poller(server, client, self.store, roster, polling, observer=self.own, clock=clock)
        self.own.schedules = lambda: [self.poller.snapshot()]
        self.own.state_saved = lambda: self.state.last_save
        self.own.state_save_successful = lambda: self.state.last_save_successful
        self.security = security = WebSecurity(stage.web_config) if stage.web_config.exists() else None
        if security is not None:
            self.own.web_config_loaded = lambda: security.problem is None
        self.own.collapsed = limit.collapsed
        self.poller.watch(configured_targets(server))

    def page(self) -> str:
        """What a scrape gets."""
        return b"".join(self.exposition.page(Format.TEXT).plain_chunks()).decode()


class Stage:
    """What the acts of a scene play on."""

    def __init__(
        self, scenario: Scenario, folder: Path, names: Collection[str], *, interval: int, settings: Mapping[str, Any]
    ) -> None:
        """``names``: of metrics to record, every ``interval`` seconds. ``settings``: as of a scene."""
        random.seed(7)  # spreads retries; the same at each recording
        self.clock = Turned()
        self.world = World(scenario, self.clock)
        self.api = Api(self.world)
        self.series = Series(names, f'instance="{INSTANCE}",job="{JOB}"')
        self.reachable = True
        """Whether Dify's API is."""
        self.scrapable = True
        """Whether scrapes succeed while the exporter runs."""
        self.known = True
        """Whether Prometheus knows the exporter."""
        self.saving = True
        """Whether saves come to an end."""
        self.volume = folder / "volume"
        """Where the state is."""
        self.volume.mkdir()
        self.web_config = folder / "web.yml"
        """Not there at first."""
        settings = dict(settings)
        self._documents: int = settings.pop("documents", Limits().documents)
        self._polling: Polling = settings.pop("polling", Polling())
        defaults: dict[str, Any] = {
            "api_key": Secret(scenario.key),
            "requests_per_second": 1000.0,
            "datasets": watched(scenario),
        }
        self._server = Server(SERVER, URL, **(defaults | settings))
        self._interval = interval
        self._exporter: Exporter | None = None
        self.clock.each_second = self._second

    @property
    def exporter(self) -> Exporter:
        """The exporter that runs."""
        assert self._exporter is not None
        return self._exporter

    def start(self) -> None:
        """Start the exporter."""
        self._exporter = Exporter(self, self._server, self._polling, self._documents)

    def stop(self) -> None:
        """Stop it."""
        self.exporter.state.close()
        self._exporter = None

    def play(self, acts: Mapping[float, Callable[[Stage], object]], minutes: float) -> None:
        """Let so many minutes pass; at the minutes of ``acts`` each is called."""
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
            if self._exporter.security is not None:
                self._exporter.security.look()
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
    """The client with the embedded server in the place of the wire."""

    def __init__(self, stage: Stage, server: Server, **parts: Any) -> None:
        super().__init__(server, **parts)
        self._stage = stage

    def _exchange(self, endpoint: str, path: str, key: Secret | None) -> Reply:
        if not self._stage.reachable:
            raise ConnectFailed(f"{endpoint}: connection refused")
        path, _, query = path.partition("?")
        headers = {"authorization": f"Bearer {key.reveal()}"} if key else {}
        response = self._stage.api.handle("GET", f"/v1/{path}", query, headers)
        return Reply(response.status, dict(response.headers), response.body)
