"""One server and everything that works for it: created, changed while running, stopped."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, NamedTuple

import structlog

from exporter import __version__
from exporter.dify import Client
from exporter.polling import (
    BatchFiles,
    BatchFileTargets,
    Poller,
    ServerHealth,
    TargetStatuses,
    Workers,
    configured_targets,
)
from exporter.tracking import PATTERNS, Pattern, Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.clock import Clock
    from exporter.config import Config, ServerConfig
    from exporter.metrics import SelfMetrics
    from exporter.state import StateFile
    from exporter.tracking import ChangeListener

_log = structlog.get_logger(__name__)


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


class ServerMonitor:
    """Everything that works for one server. Objects and their clocks survive a change of its configuration."""

    def __init__(self, server: ServerConfig, config: Config, shared: SharedServices) -> None:
        self._shared = shared
        self.server = server
        shared.self_metrics.add_server(server.name)
        self.client, self.workers_stop = self._connect(server)
        statuses = TargetStatuses(server.name, listener=shared.listener)
        # The state file comes first: what was counted is on disk before anybody sees it.
        state = shared.state
        self.store = Store(
            server.name,
            statuses.watched,
            listeners=(shared.listener,) if state is None else (state, shared.listener),
            unknown=lambda field: shared.self_metrics.unknown_value(server.name, field),
            clock=shared.clock,
            limits=config.stall,
            patterns=_patterns(config),
        )
        if state is not None:
            self.store.restore(state.restore(server.name))
        health = ServerHealth(
            server.name, server.url, listener=shared.listener, polling=config.polling, random=random.random
        )
        self.poller = Poller(
            server,
            self.client,
            self.store,
            statuses,
            health,
            polling=config.polling,
            observer=shared.self_metrics,
            clock=shared.clock,
            after_poll=shared.after_poll,
            document_name=shared.document_name,
        )
        self.workers = Workers(self.poller, server.concurrency, self.workers_stop)
        self.batch_file_targets = self._batch_file_targets(server, config)

    @property
    def is_read(self) -> bool:
        """Whether the last poll of every target succeeded and every known document has its detail."""
        poller = self.poller
        return all(status.success for status in poller.statuses.all().values()) and not (
            poller.health.failures_of_details(self.store.documents)
        )

    def start(self) -> None:
        """Start polling."""
        self.poller.watch(configured_targets(self.server))
        self.batch_file_targets.look()
        self.workers.start()
        self.workers.wake()

    def stop(self) -> None:
        """Start no new polls."""
        self.workers.stop()

    def cut(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds for running polls, then abandon them."""
        if not self.workers.join(timeout):
            _log.warning("poll did not end in time; not waiting for it", server=self.server.name)
        self.client.close_connections()

    def reconfigure(self, server: ServerConfig, config: Config) -> None:
        """Apply another configuration. Unchanged targets keep their objects and clocks; removed ones vanish at once."""
        before, self.server = self.server, server
        if _connection(before) != _connection(server):
            self.workers.stop()
            self.client, self.workers_stop = self._connect(server)
            self.workers = Workers(self.poller, server.concurrency, self.workers_stop)
            self.workers.start()
        self.poller.reconfigure(server, self.client, config.polling)
        self.store.reconfigure(config.stall, _patterns(config))
        removed = self.poller.watched - set(configured_targets(server))
        if before.batch_files == server.batch_files:
            self.batch_file_targets.reconfigure(
                configured=list(configured_targets(server)), retention=config.retention.finished
            )
        else:
            self.batch_file_targets = self._batch_file_targets(server, config)
        self.poller.watch(configured_targets(server))
        self.batch_file_targets.look()
        self.poller.unwatch(target for target in removed if not self.batch_file_targets.holds(target))
        self.workers.wake()

    def end(self) -> None:
        """Remove a server that is no longer configured: nothing of it is exposed any more."""
        self.workers.stop()
        self.poller.close()
        self.store.close()
        self.poller.statuses.close()
        self.poller.health.close()
        self.client.close_connections()
        self._shared.self_metrics.remove_server(self.server.name)

    def _connect(self, server: ServerConfig) -> tuple[Client, threading.Event]:
        stop = threading.Event()
        agent = f"dify-exporter/{__version__}"
        return Client(
            server, observer=self._shared.self_metrics, clock=self._shared.clock, user_agent=agent, stop=stop
        ), stop

    def _batch_file_targets(self, server: ServerConfig, config: Config) -> BatchFileTargets:
        return BatchFileTargets(
            BatchFiles(server.batch_files, clock=self._shared.clock),
            self.poller,
            configured=list(configured_targets(server)),
            retention=config.retention.finished,
        )


def _connection(server: ServerConfig) -> tuple[object, ...]:
    """The settings that require a new client and new threads when they change."""
    return (
        server.url,
        server.api_key,
        server.api_key_file,
        server.requests_per_second,
        server.concurrency,
        server.timeout,
        server.ca_file,
    )


def _patterns(config: Config) -> tuple[Pattern, ...]:
    return (*(Pattern(found.pattern.search, found.reason) for found in config.error_reasons), *PATTERNS)
