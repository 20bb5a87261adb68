"""One server and everything that works for it: created, changed while running, stopped."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

import structlog

from exporter import __version__
from exporter.dify import Client
from exporter.tracking import (
    PATTERNS,
    BatchFiles,
    FiledBatches,
    Pattern,
    Poller,
    Roster,
    Stall,
    Store,
    Workers,
    configured_targets,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.clock import Clock
    from exporter.config import Config, Server
    from exporter.metrics import OwnMetrics
    from exporter.tracking import Listener, State

_log = structlog.get_logger(__name__)


class Surroundings(NamedTuple):
    """What all servers share for the lifetime of the process.

    ``after_poll`` is called in the polling thread. ``state``: None if no state is stored. ``document_name``: whether
    document names are logged.
    """

    clock: Clock
    own: OwnMetrics
    listener: Listener
    state: State | None
    after_poll: Callable[[], None]
    document_name: bool


class Served:
    """Everything that works for one server. Objects and their clocks survive a change of its configuration."""

    def __init__(self, server: Server, config: Config, around: Surroundings) -> None:
        self._around = around
        self.server = server
        around.own.prepare(server.name)
        self.client, self.workers_stop = self._connect(server)
        roster = Roster(server.name, server.url, listener=around.listener)
        store = Store(
            server.name,
            roster,
            listener=around.listener,
            unknown=lambda field: around.own.unknown_value(server.name, field),
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
            roster,
            config.polling,
            observer=around.own,
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
        return all(target.success for target in poller.roster.targets) and not poller.problems.without_detail(
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

    def change(self, server: Server, config: Config) -> None:
        """Apply another configuration. Unchanged targets keep their objects and clocks; removed ones vanish at once."""
        before, self.server = self.server, server
        if _connection(before) != _connection(server):
            self.workers.stop()
            self.client, self.workers_stop = self._connect(server)
            self.workers = Workers(self.poller, server.concurrency, self.workers_stop)
            self.workers.start()
        self.poller.change(server, self.client, config.polling)
        self.poller.store.change(_stall(config), _patterns(config))
        self.poller.roster.move(server.url)
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
        self.poller.roster.close()
        self.client.close_connections()
        self._around.own.forget(self.server.name)

    def _connect(self, server: Server) -> tuple[Client, threading.Event]:
        stop = threading.Event()
        agent = f"dify-exporter/{__version__}"
        return Client(server, observer=self._around.own, clock=self._around.clock, user_agent=agent, stop=stop), stop

    def _file(self, server: Server, config: Config) -> FiledBatches:
        return FiledBatches(
            BatchFiles(server.batch_files, clock=self._around.clock),
            self.poller,
            configured=list(configured_targets(server)),
            retention=config.retention.finished,
        )


def _connection(server: Server) -> tuple[object, ...]:
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


def _stall(config: Config) -> Stall:
    return Stall(config.stall.after, config.stall.queued_after)


def _patterns(config: Config) -> tuple[Pattern, ...]:
    return (*(Pattern(own.pattern, own.reason) for own in config.error_reasons), *PATTERNS)
