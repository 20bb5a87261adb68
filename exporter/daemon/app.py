"""The whole exporter: creates, starts and stops its parts."""

from __future__ import annotations

import gc
from functools import partial
from typing import TYPE_CHECKING

import structlog

from exporter.clock import SystemClock
from exporter.daemon.logs import dropped_log_lines
from exporter.daemon.loop import BackgroundJob, Job, Loop
from exporter.daemon.monitor import Progress, ServerMonitor, SharedServices
from exporter.daemon.reload import ConfigReloader
from exporter.metrics import DocumentLimit, Exposition, ProcessState, SelfMetrics
from exporter.polling import TICK
from exporter.state import StateFile
from exporter.web import ExporterStatus, WebServer, create_app

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from exporter.clock import Clock
    from exporter.config import Config, ListenAddress
    from exporter.daemon.reload import ConfigSource
    from exporter.web import WebConfigFile

FLUSH_AFTER = 0.1
"""Seconds for which a change may wait to be rendered with others. A scrape renders pending changes immediately."""

STUCK_AFTER = 30.0
"""Seconds without an iteration of the loop after which the exporter reports itself unhealthy."""

STOP_TIMEOUT = 8.0
"""Seconds for running polls and answers to end on shutdown; less than the 10 s that most supervisors allow."""

INTERRUPT_TIMEOUT = 0.5
"""Seconds that ``poll_once`` waits for running polls when it is interrupted: somebody sits in front of it."""

_log = structlog.get_logger(__name__)


class App:
    """The exporter for one configuration. ``run`` polls and serves, ``poll_once`` polls everything once."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        source: ConfigSource | None = None,
        use_state_file: bool = False,
        web_config: WebConfigFile | None = None,
        of_process: bool = True,
    ) -> None:
        """``source``: how to reload the configuration; None if it has no file.

        ``use_state_file``: load the state file and keep it up to date, as the daemon does. ``web_config``: TLS, users
        and headers for the pages that ``run`` serves. ``of_process``: whether the page has the metrics that every
        exporter has, ``process_*`` and ``python_info``.
        """
        self._web_config = web_config
        self._clock = clock or SystemClock()
        self.self_metrics = SelfMetrics(of_process=of_process)
        self.reloader = ConfigReloader(
            config, source, self._reconfigure, self_metrics=self.self_metrics, clock=self._clock
        )
        self.exposition = Exposition(
            self_metrics=self.self_metrics, document_name=config.labels.document_name, monotonic=self._clock.monotonic
        )
        limit = DocumentLimit(self.exposition, config.limits.documents)
        path = config.state.path if use_state_file else None
        self.state = None if path is None else StateFile(path, self._clock)
        if self.state is not None:
            self.state.open()
        flush = partial(self.exposition.flush, FLUSH_AFTER)
        self._shared = SharedServices(
            self._clock, self.self_metrics, limit, self.state, flush, config.labels.document_name
        )
        self.monitors = [ServerMonitor(server, config, self._shared) for server in config.servers]
        self.self_metrics.observe(
            ProcessState(
                schedules=lambda: [monitor.snapshot() for monitor in self.monitors],
                collapsed=limit.collapsed,
                state_file=self.state,
                dropped_log_lines=dropped_log_lines,
                web_config_loaded=None if web_config is None else lambda: web_config.problem is None,
                web_certificate=lambda: web_config.settings.certificate if web_config else None,
            )
        )
        self._loop = Loop([*self._jobs(source)], self._clock)
        self._first_cycle_done = False

    @property
    def config(self) -> Config:
        """The current configuration."""
        return self.reloader.config

    def run(
        self, stop: threading.Event, *, on_listening: Callable[[Sequence[ListenAddress]], None] = lambda _: None
    ) -> None:
        """Poll and serve until ``stop`` is set. ``on_listening`` gets the addresses. ListenError if one is refused."""
        web = WebServer(
            create_app(
                self.exposition.page,
                ExporterStatus(
                    unhealthy=self.health_problem,
                    unready=self.readiness_problem,
                    facts=self.status,
                    reload=self.reloader.reload if self.reloader.has_source else None,
                    needs_restart=self.reloader.requires_restart,
                ),
                telemetry_path=self.config.web.telemetry_path,
            ),
            *self.config.web.listen_address,
            web_config=self._web_config,
        )
        try:
            with self.reloader.lock:  # a reload requested this early waits until polling has started
                web.start()
                on_listening(web.addresses)
                self.start_polling()
            self._loop.run(stop)
            _log.info("stopping")
        finally:
            self.reloader.close()
            self.stop_polling()
            web.stop()
            if self.state is not None:
                self.state.close()

    def poll_once(self, stop: threading.Event, *, on_progress: Callable[[Progress], None] = lambda _: None) -> bool:
        """Poll every target and detail once. True if every poll succeeded. ``on_progress`` is called repeatedly."""
        self.start_polling()
        try:
            while not stop.is_set() and not all(monitor.first_cycle_done for monitor in self.monitors):
                self._tick()
                on_progress(self._progress())
                stop.wait(0.02)
        finally:
            self.stop_polling(INTERRUPT_TIMEOUT)
        return all(monitor.all_succeeded for monitor in self.monitors)

    def health_problem(self) -> str | None:
        """None while the loop and the polls of every server are running, otherwise what is wrong."""
        seconds = self._loop.seconds_since_turn()
        if seconds > STUCK_AFTER:
            return f"the polling loop has been stuck for {seconds:.0f} s: restart the exporter and report its log"
        return next(filter(None, (monitor.health_problem() for monitor in self.monitors)), None)

    def readiness_problem(self) -> str | None:
        """None once every target has been polled, otherwise the progress of the first cycle."""
        polled, targets = self._progress()
        return None if polled == targets else f"not ready: {polled} of {targets} targets polled"

    def status(self) -> Mapping[str, object]:
        """Name and value of what the landing page shows."""
        values = {
            "Servers": len(self.monitors),
            "Targets": self._progress().targets,
            "Series": self.exposition.series_rendered(),
        }
        sections = self.reloader.requires_restart()
        return {**values, "Requires a restart": ", ".join(sections)} if sections else values

    def start_polling(self) -> None:
        """Start the workers of all servers."""
        for monitor in self.monitors:
            monitor.start()

    def stop_polling(self, timeout: float = STOP_TIMEOUT / 2) -> None:
        """Start no new polls; wait ``timeout`` seconds for running ones, then abandon them."""
        for monitor in self.monitors:
            monitor.stop()
        deadline = self._clock.monotonic() + timeout
        for monitor in self.monitors:
            monitor.join(max(deadline - self._clock.monotonic(), 0.0))

    def _jobs(self, source: ConfigSource | None) -> Iterator[Job]:
        if source is not None and source.interval:
            yield Job("reload", source.interval, self.reloader.reload_if_changed)
        yield Job("poll", int(TICK), self._tick)
        yield Job("batch files", 5, self._read_batch_files)
        yield Job("expire", 60, self._expire)
        if self.state is not None:
            # Finished attempts that were counted are saved at once; only the rest waits for this job.
            yield Job("save", 5, BackgroundJob("save", self.state.save).start)
            yield Job("claim", 3600, BackgroundJob("claim", self._claim).start)

    def _reconfigure(self, config: Config) -> Mapping[str, object]:
        """Apply ``config``. Unchanged targets keep their objects and clocks; removed ones leave the next scrape."""
        present = {monitor.server.name: monitor for monitor in self.monitors}
        monitors = []
        for server in config.servers:
            monitor = present.pop(server.name, None)
            if monitor is None:
                monitor = ServerMonitor(server, config, self._shared)
                monitor.start()
            else:
                monitor.reconfigure(server, config)
            monitors.append(monitor)
        self.monitors = monitors
        for removed in present.values():
            removed.close()
        return {"servers": len(monitors), "targets": self._progress().targets}

    def _tick(self) -> None:
        self.reloader.reload_if_requested()
        for monitor in self.monitors:
            monitor.wake_if_due()
        self.exposition.flush(FLUSH_AFTER)
        if not self._first_cycle_done and self.readiness_problem() is None:
            self._first_cycle_done = True
            _log.info("first cycle done", series=self.exposition.series())
            gc.freeze()

    def _read_batch_files(self) -> None:
        with self.reloader.lock:
            for monitor in self.monitors:
                monitor.read_batch_files()

    def _expire(self) -> None:
        with self.reloader.lock:
            for monitor in self.monitors:
                monitor.expire(self.config.retention.finished)

    def _claim(self) -> None:
        """Let the state file delete rows that no server has needed for long."""
        if self.state is not None:
            self.state.claim(saved for monitor in self.monitors for saved in monitor.store.saved_objects())

    def _progress(self) -> Progress:
        """The progress of the first polls on all servers."""
        servers = [monitor.progress for monitor in self.monitors]
        return Progress(sum(server.polled for server in servers), sum(server.targets for server in servers))
