"""The whole exporter: creates, starts and stops its parts."""

from __future__ import annotations

import gc
from functools import partial
from typing import TYPE_CHECKING

import structlog

from exporter.clock import SystemClock
from exporter.daemon.loop import BackgroundJob, Job, Loop
from exporter.daemon.monitor import ServerMonitor, SharedServices
from exporter.daemon.reload import ConfigReloader
from exporter.metrics import DocumentLimit, Exposition, ProcessState, SelfMetrics
from exporter.polling import DOCUMENT_DETAIL, TICK, Target
from exporter.state import StateFile
from exporter.web import ExporterStatus, WebServer, create_app

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from exporter.clock import Clock
    from exporter.config import Config
    from exporter.tracking import ServerSchedule
    from exporter.web import WebConfigFile

FLUSH_AFTER = 0.1
"""Seconds for which a change may wait to be rendered with others. A scrape renders pending changes immediately."""

STUCK_AFTER = 30.0
"""Seconds without an iteration of the loop after which the exporter reports itself unhealthy."""

STOP_TIMEOUT = 8.0
"""Seconds for running polls and answers to end on shutdown; less than the 10 s that most supervisors allow."""

FILES_EVERY = 5
"""Seconds between checks of the batch files."""

EXPIRE_EVERY = 60
"""Seconds between checks for finished objects whose retention has expired."""

SAVE_EVERY = 30
"""Seconds between saves of the state; finished attempts that were counted are saved immediately."""

CLAIM_EVERY = 3600
"""Seconds between searches of the state for rows that no server needs any more."""

_log = structlog.get_logger(__name__)


class App:
    """The exporter for one configuration. ``run`` polls and serves, ``poll_once`` polls everything once."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        remember: bool = False,
        reread: Callable[[], Config] | None = None,
        reread_every: int | None = None,
        web_config: WebConfigFile | None = None,
    ) -> None:
        """``remember``: load the state file and keep it up to date, as the daemon does.

        ``reread`` reads the configuration again, for ``reloader``; if ``reread_every`` is set, it is also called every
        so many seconds and a changed configuration is applied. ``web_config``: TLS, users and headers for the pages
        that ``run`` serves.
        """
        self._web_config = web_config
        self._clock = clock or SystemClock()
        self.self_metrics = SelfMetrics()
        self.reloader = ConfigReloader(config, reread, self._change, self_metrics=self.self_metrics, clock=self._clock)
        self.exposition = Exposition(
            self_metrics=self.self_metrics, document_name=config.labels.document_name, monotonic=self._clock.monotonic
        )
        self._limit = DocumentLimit(self.exposition, config.limits.documents)
        self._state = state = StateFile(config.state.path, self._clock) if remember and config.state.path else None
        if state is not None:
            state.open()
        flush = partial(self.exposition.flush, FLUSH_AFTER)
        self._shared = SharedServices(
            self._clock, self.self_metrics, self._limit, self._state, flush, config.labels.document_name
        )
        self.monitors = [ServerMonitor(server, config, self._shared) for server in config.servers]
        self.self_metrics.observe(
            ProcessState(
                schedules=self._schedules,
                collapsed=self._limit.collapsed,
                state_file=state,
                web_config_loaded=None if web_config is None else lambda: web_config.problem is None,
            )
        )
        jobs = [Job("reload", reread_every, self.reloader.look)] if reread and reread_every else []
        self._loop = Loop(
            [
                *jobs,
                Job("poll", int(TICK), self._tick),
                Job("batch files", FILES_EVERY, self._look_at_files),
                Job("expire", EXPIRE_EVERY, self._expire),
                Job("save", SAVE_EVERY, BackgroundJob("save", self._save).start),
                Job("claim", CLAIM_EVERY, BackgroundJob("claim", self._claim).start),
            ],
            self._clock,
        )
        self._warm = False

    @property
    def config(self) -> Config:
        """The current configuration."""
        return self.reloader.config

    def run(self, stop: threading.Event, *, on_listening: Callable[[int], None] = lambda _: None) -> None:
        """Poll and serve until ``stop`` is set. ``on_listening`` gets the port. ListenError if it cannot be bound."""
        web = WebServer(
            create_app(
                self.exposition.page,
                ExporterStatus(
                    unhealthy=self.what_is_stuck,
                    unready=self.what_is_awaited,
                    facts=self._facts,
                    reload=self.reloader.reload,
                    needs_restart=self.reloader.what_needs_restart,
                ),
                telemetry_path=self.config.web.telemetry_path,
            ),
            self.config.web.listen_address,
            web_config=self._web_config,
        )
        try:
            with self.reloader.lock:  # a reload requested this early waits until polling has started
                web.start()
                on_listening(web.port)
                self._start_polling()
            self._loop.run(stop)
            _log.info("stopping")
        finally:
            self.reloader.end()
            self._stop_polling()
            web.stop()
            if self._state is not None:
                self._state.close()

    def poll_once(
        self, stop: threading.Event, *, on_progress: Callable[[int, int], None] = lambda _done, _all: None
    ) -> bool:
        """Poll every target and detail once. True if every poll succeeded.

        ``on_progress`` is called repeatedly with the number of targets polled so far and the total.
        """
        self._start_polling()
        try:
            while not stop.is_set() and any(self._is_busy(monitor) for monitor in self.monitors):
                self._tick()
                waiting = sum(monitor.poller.unpolled for monitor in self.monitors)
                on_progress(self._targets() - waiting, self._targets())
                stop.wait(0.02)
        finally:
            self._stop_polling()
        return all(monitor.is_read for monitor in self.monitors)

    def what_is_stuck(self) -> str | None:
        """None while the loop is running, otherwise what is wrong."""
        seconds = self._loop.seconds_since_turn()
        if seconds <= STUCK_AFTER:
            return None
        return f"the polling loop has been stuck for {seconds:.0f} s: restart the exporter and report its log"

    def what_is_awaited(self) -> str | None:
        """None once every target has been polled, otherwise the progress of the first cycle."""
        waiting = sum(monitor.poller.unpolled for monitor in self.monitors)
        if not waiting:
            return None
        return f"not ready: {self._targets() - waiting} of {self._targets()} targets polled"

    def _start_polling(self) -> None:
        for monitor in self.monitors:
            monitor.start()

    def _stop_polling(self) -> None:
        """Start no new polls; wait for running ones until the timeout, then abandon them."""
        for monitor in self.monitors:
            monitor.stop()
        deadline = self._clock.monotonic() + STOP_TIMEOUT / 2
        for monitor in self.monitors:
            monitor.cut(max(deadline - self._clock.monotonic(), 0.0))

    def _change(self, config: Config) -> Mapping[str, object]:
        """Apply ``config``. Unchanged targets keep their objects and clocks; removed ones leave the next scrape."""
        before = {monitor.server.name: monitor for monitor in self.monitors}
        after = []
        for server in config.servers:
            monitor = before.pop(server.name, None)
            if monitor is None:
                monitor = ServerMonitor(server, config, self._shared)
                monitor.start()
            else:
                monitor.reconfigure(server, config)
            after.append(monitor)
        self.monitors = after
        for monitor in before.values():
            monitor.end()
        return {"servers": len(after), "targets": self._targets()}

    def _tick(self) -> None:
        self.reloader.reload_if_wanted()
        for monitor in self.monitors:
            if monitor.poller.has_due():
                monitor.workers.wake()
        self.exposition.flush(FLUSH_AFTER)
        if not self._warm and self.what_is_awaited() is None:
            self._warm = True
            _log.info("first cycle done", series=self.exposition.series())
            gc.freeze()

    def _is_busy(self, monitor: ServerMonitor) -> bool:
        """Whether anything still waits for its first poll. Targets that are due again do not count: that never ends."""
        poller = monitor.poller
        if not (poller.has_due() or monitor.workers.active):
            return False
        return poller.unpolled > 0 or any(
            document.detail is None
            and not poller.health.problem(Target(DOCUMENT_DETAIL, document.dataset_id, document.document_id))
            for document in monitor.store.documents
        )

    def _look_at_files(self) -> None:
        with self.reloader.lock:
            for monitor in self.monitors:
                monitor.batch_file_targets.look()

    def _expire(self) -> None:
        with self.reloader.lock:
            for monitor in self.monitors:
                monitor.store.expire(self.config.retention.finished)
                monitor.batch_file_targets.retire()

    def _save(self) -> None:
        if self._state is not None:
            self._state.save()

    def _claim(self) -> None:
        if self._state is not None:
            self._state.claim(saved for monitor in self.monitors for saved in monitor.store.saved_objects())

    def _schedules(self) -> list[ServerSchedule]:
        return [monitor.poller.snapshot() for monitor in self.monitors]

    def _facts(self) -> Mapping[str, object]:
        facts = {"Servers": len(self.monitors), "Targets": self._targets(), "Series": self.exposition.series_rendered()}
        unapplied = self.reloader.what_needs_restart()
        return {**facts, "Requires a restart": ", ".join(unapplied)} if unapplied else facts

    def _targets(self) -> int:
        return sum(sum(schedule.targets.values()) for schedule in self._schedules())
