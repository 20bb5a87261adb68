"""One server and everything that works for it: created, changed while running, stopped."""

from __future__ import annotations

import random
import threading
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import structlog
from msgspec.structs import replace

from exporter import __version__
from exporter.dify import Budget, Client, Credentials
from exporter.polling import (
    BatchFiles,
    BatchFileTargets,
    Poller,
    ServerHealth,
    TargetStatuses,
    Workers,
    configured_targets,
)
from exporter.tracking import PATTERNS, Pattern, Store, nothing_to_recall

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.clock import Clock
    from exporter.config import Config, ServerConfig
    from exporter.metrics import SelfMetrics
    from exporter.state import StateFile
    from exporter.tracking import ChangeListener, ServerSchedule

_log = structlog.get_logger(__name__)

_connection = attrgetter("url", "api_key", "api_key_file", "requests_per_second", "concurrency", "timeout", "ca_file")
"""The settings of a server that require a new client and new threads when they change."""

_key = attrgetter("api_key", "api_key_file")
"""Where the API key comes from."""


class SharedServices(NamedTuple):
    """What all servers share for the lifetime of the process.

    ``after_poll`` is called in the polling thread. ``state``: None if no state is stored. ``document_name``: whether
    document names are logged.
    """

    clock: Clock
    self_metrics: SelfMetrics
    listener: ChangeListener
    state: StateFile | None
    after_poll: Callable[[], None]
    document_name: bool


class Progress(NamedTuple):
    """How many targets have been polled at least once, and how many there are."""

    polled: int
    targets: int


class ServerMonitor:
    """Everything that works for one server. Objects and their clocks survive a change of its configuration."""

    def __init__(self, server: ServerConfig, config: Config, shared: SharedServices) -> None:
        self._shared = shared
        self.server = server
        shared.self_metrics.add_server(server.name)
        self._stop = threading.Event()
        self._budget = Budget(server.requests_per_second, shared.clock)
        self._credentials = Credentials(server, shared.clock)
        self.client = self._create_client(server)
        self.statuses = TargetStatuses(server.name, listener=shared.listener)
        # The state file comes first: what was counted is on disk before anybody sees it.
        state = shared.state
        self.store = Store(
            server.name,
            self.statuses.watched,
            listeners=(shared.listener,) if state is None else (state, shared.listener),
            unknown=lambda field: shared.self_metrics.unknown_value(server.name, field),
            clock=shared.clock,
            limits=config.stall,
            patterns=_patterns(config),
            recall=nothing_to_recall if state is None else state.recall,
        )
        if state is not None:
            self.store.restore(state.restore(server.name))
        self.health = ServerHealth(
            server.name, server.url, listener=shared.listener, polling=config.polling, random=random.random
        )
        self.poller = Poller(
            server,
            self.client,
            self.store,
            self.statuses,
            self.health,
            polling=config.polling,
            observer=shared.self_metrics,
            clock=shared.clock,
            after_poll=shared.after_poll,
            document_name=shared.document_name,
        )
        self._workers = self._create_workers(server)
        self._batch_files = self._create_batch_file_targets(server, config)

    @property
    def progress(self) -> Progress:
        """The progress of the first polls."""
        unpolled = self.poller.unpolled
        targets = sum(self.snapshot().targets.values())
        return Progress(targets - unpolled, targets)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being polled, and nothing is due."""
        return not (self.poller.has_due() or self._workers.active)

    @property
    def first_cycle_done(self) -> bool:
        """Whether nothing waits for its first poll any more. Further polls do not count: they never end."""
        if self.health.awaits_probe:
            return False
        if self.is_idle:
            return True
        failures = self.health.failures_of_details(self.store.documents)
        return not self.poller.unpolled and (bool(self.health.unavailable) or None not in failures)

    @property
    def all_succeeded(self) -> bool:
        """Whether the last poll of every target succeeded and every known document has its detail."""
        return all(status.success for status in self.statuses.all().values()) and not (
            self.health.failures_of_details(self.store.documents)
        )

    def start(self) -> None:
        """Start polling."""
        self.poller.watch(configured_targets(self.server))
        self.read_batch_files()
        self._workers.start()
        self._workers.wake()

    def health_problem(self) -> str | None:
        """Why nothing is polled although it is due, for people; None while all is well."""
        return self.poller.problem()

    def wake_if_due(self) -> None:
        """Wake a worker if a poll is due; it wakes others while there is more to do. Replace threads that have died."""
        self._workers.restart_dead()
        if self._credentials.take_change():
            _log.info("API key changed; polling everything now", server=self.server.name)
            self.poller.start_over()
        if self.poller.has_due():
            self._workers.wake()

    def read_batch_files(self) -> None:
        """Watch the batches that batch files list now. Not thread-safe, nor are ``expire`` and ``reconfigure``."""
        self._batch_files.update()

    def expire(self, retention: float) -> None:
        """Remove objects that have been finished for ``retention`` seconds, and stop polling their targets."""
        self.store.expire(retention)
        self._batch_files.retire()

    def snapshot(self) -> ServerSchedule:
        """The schedule now, for the exporter's own metrics."""
        return replace(self.poller.snapshot(), batch_list_problems=self._batch_files.problem_count)

    def stop(self) -> None:
        """Start no new polls."""
        self._workers.stop()

    def join(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds for running polls, then abandon them. Call it after ``stop``."""
        if not self._workers.join(timeout):
            _log.warning("poll did not end in time; not waiting for it", server=self.server.name)
        self.client.close_connections()

    def reconfigure(self, server: ServerConfig, config: Config) -> None:
        """Apply another configuration. Unchanged targets keep their objects and clocks; removed ones vanish at once."""
        previous, self.server = self.server, server
        if _connection(previous) != _connection(server):
            self._workers.stop()
            self._stop = threading.Event()
            self._budget.change(server.requests_per_second)
            if _key(previous) != _key(server):
                self._credentials = Credentials(server, self._shared.clock)
            self.client = self._create_client(server)
            self._workers = self._create_workers(server)
            self._workers.start()
        self.poller.reconfigure(server, self.client, config.polling)
        if (previous.url, *_key(previous)) != (server.url, *_key(server)):
            self.poller.start_over()
        self.store.reconfigure(config.stall, _patterns(config))
        configured = list(configured_targets(server))
        removed = self.poller.watched - set(configured)
        if previous.batch_files == server.batch_files:
            self._batch_files.reconfigure(configured=configured, retention=config.retention.finished)
        else:
            self._batch_files = self._create_batch_file_targets(server, config)
        self.poller.watch(configured)
        self.read_batch_files()
        self.poller.unwatch(target for target in removed if not self._batch_files.lists(target))
        self._workers.wake()

    def close(self) -> None:
        """Remove a server that is no longer configured: nothing of it is exposed any more."""
        self._workers.stop()
        self.poller.close()
        self.store.close()
        self.statuses.close()
        self.health.close()
        self.client.close_connections()
        self._shared.self_metrics.remove_server(self.server.name)

    def _create_client(self, server: ServerConfig) -> Client:
        return Client(
            server,
            observer=self._shared.self_metrics,
            clock=self._shared.clock,
            user_agent=f"dify-exporter/{__version__}",
            stop=self._stop,
            budget=self._budget,
            credentials=self._credentials,
        )

    def _create_workers(self, server: ServerConfig) -> Workers:
        on_restart = partial(self._shared.self_metrics.worker_restarted, server.name)
        return Workers(self.poller, server.concurrency, self._stop, on_restart=on_restart)

    def _create_batch_file_targets(self, server: ServerConfig, config: Config) -> BatchFileTargets:
        return BatchFileTargets(
            BatchFiles(server.batch_files, clock=self._shared.clock),
            self.poller,
            configured=list(configured_targets(server)),
            retention=config.retention.finished,
        )


def _patterns(config: Config) -> tuple[Pattern, ...]:
    return (*(Pattern(found.pattern.search, found.reason) for found in config.error_reasons), *PATTERNS)
