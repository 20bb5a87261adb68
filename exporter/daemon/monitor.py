"""One server and everything that works for it: created, changed while running, stopped."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

import structlog

from exporter import __version__
from exporter.dify import Client
from exporter.polling import BatchFiles, BatchFileTargets, Poller, TargetStatuses, Workers
from exporter.tracking import PATTERNS, Pattern, StallLimits, Store, configured_targets

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

    def __init__(self, server: ServerConfig, config: Config, around: SharedServices) -> None:
        self._shared = around
        self.server = server
        around.self_metrics.prepare(server.name)
        self.client, self.workers_stop = self._connect(server)
        statuses = TargetStatuses(server.name, server.url, listener=around.listener)
        store = Store(
            server.name,
            statuses,
            listener=around.listener,
            unknown=lambda field: around.self_metrics.unknown_value(server.name, field),
            clock=around.clock,
            stall=_stall(config),
            patterns=_patterns(config),
            recorder=around.state,
        )
        if around.state is not None:
            store.recall(around.state.recall(server.name))
        self.poller = Poller(
            server,
            self.client,
            store,
            statuses,
            config.polling,
            observer=around.self_metrics,
            clock=around.clock,
            after_poll=around.after_poll,
            document_name=around.document_name,
        )
        self.workers = Workers(self.poller, server.concurrency, self.workers_stop)
        self.filed = self._file(server, config)

    @property
    def is_read(self) -> bool:
        """Whether the last poll of every target succeeded and every known document has its detail."""
        poller = self.poller
        return all(target.success for target in poller.statuses.targets) and not poller.problems.without_detail(
            poller.store.documents
        )

    def start(self) -> None:
        """Start polling."""
        self.poller.watch(configured_targets(self.server))
        self.filed.look()
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

    def change(self, server: ServerConfig, config: Config) -> None:
        """Apply another configuration. Unchanged targets keep their objects and clocks; removed ones vanish at once."""
        before, self.server = self.server, server
        if _connection(before) != _connection(server):
            self.workers.stop()
            self.client, self.workers_stop = self._connect(server)
            self.workers = Workers(self.poller, server.concurrency, self.workers_stop)
            self.workers.start()
        self.poller.change(server, self.client, config.polling)
        self.poller.store.change(_stall(config), _patterns(config))
        self.poller.statuses.move(server.url)
        left = self.poller.watched - set(configured_targets(server))
        if before.batch_files == server.batch_files:
            self.filed.change(configured=list(configured_targets(server)), retention=config.retention.finished)
        else:
            self.filed = self._file(server, config)
        self.poller.watch(configured_targets(server))
        self.filed.look()
        self.poller.leave(target for target in left if not self.filed.holds(target))
        self.workers.wake()

    def end(self) -> None:
        """Remove a server that is no longer configured: nothing of it is exposed any more."""
        self.workers.stop()
        self.poller.close()
        self.poller.store.close()
        self.poller.statuses.close()
        self.client.close_connections()
        self._shared.self_metrics.forget(self.server.name)

    def _connect(self, server: ServerConfig) -> tuple[Client, threading.Event]:
        stop = threading.Event()
        agent = f"dify-exporter/{__version__}"
        return Client(
            server, observer=self._shared.self_metrics, clock=self._shared.clock, user_agent=agent, stop=stop
        ), stop

    def _file(self, server: ServerConfig, config: Config) -> BatchFileTargets:
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


def _stall(config: Config) -> StallLimits:
    return StallLimits(config.stall.after, config.stall.queued_after)


def _patterns(config: Config) -> tuple[Pattern, ...]:
    return (*(Pattern(self_metrics.pattern, self_metrics.reason) for self_metrics in config.error_reasons), *PATTERNS)
