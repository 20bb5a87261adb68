"""Reloading the configuration without a restart: when it is read, whether it is applied, how the result is reported."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog

from exporter.config import NEEDS_RESTART
from exporter.yamlconf import ConfigError, WatchedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.clock import Clock
    from exporter.config import Config
    from exporter.metrics import SelfMetrics

_NO_FILE = "no configuration file to reload"

_log = structlog.get_logger(__name__)


class ConfigReloader:
    """Holds the current configuration. Thread-safe: signals, the loop and the web server request reloads."""

    def __init__(
        self,
        config: Config,
        read: Callable[[], Config] | None,
        apply: Callable[[Config], Mapping[str, object]],
        *,
        self_metrics: SelfMetrics,
        clock: Clock,
    ) -> None:
        """``read`` reads the configuration again and raises ConfigError; None: there is no file.

        ``apply`` applies a new configuration and returns the values to log. ``self_metrics``: counts reloads.
        """
        self.config = config
        self._started_with = config
        self._read = read
        self._apply = apply
        self._self_metrics = self_metrics
        self._clock = clock
        self_metrics.reloaded(clock.time(), success=True)
        self._watched: WatchedFile[Config | str] = WatchedFile(self._read_again, config)
        self._ended = False
        self.wanted = threading.Event()
        """Set it to reload the configuration in the next iteration of the loop, as SIGHUP does."""
        self.lock = threading.Lock()
        """Held during a reload, and by everything that must not run concurrently with one."""

    def reload(self) -> str | None:
        """Read the configuration again and apply it. Returns None on success, otherwise the error.

        An invalid configuration changes nothing. ``what_needs_restart`` names the sections that a reload does not
        change.
        """
        if self._read is None:
            _log.warning(_NO_FILE)
            return _NO_FILE
        with self.lock:
            if self._ended:
                return "the exporter is stopping"
            found = self._read_again()
            self._use(found)
            return found if isinstance(found, str) else None

    def reload_if_wanted(self) -> None:
        """Reload if a signal has requested it since the last call."""
        if self.wanted.is_set():
            self.wanted.clear()
            self.reload()

    def look(self) -> None:
        """Reload once two consecutive reads agree: a file that is still being written may be valid YAML."""
        if self._read is None:
            return
        with self.lock:
            found = self._watched.look()
            if found is not None:
                self._use(found)

    def end(self) -> None:
        """Wait for a running reload and prevent further ones."""
        with self.lock:
            self._ended = True

    def what_needs_restart(self) -> list[str]:
        """The sections that differ from those at startup and that a reload cannot change."""
        return [name for name in NEEDS_RESTART if getattr(self.config, name) != getattr(self._started_with, name)]

    def _read_again(self) -> Config | str:
        """The configuration as it is now, or its problems."""
        if self._read is None:
            return self.config
        try:
            return self._read()
        except ConfigError as error:
            return str(error)

    def _use(self, found: Config | str) -> None:
        self._watched.accept(found)
        if isinstance(found, str):
            self._refuse(found)
        else:
            self._replace(found)

    def _refuse(self, problems: str) -> None:
        self._self_metrics.reloaded(self._clock.time(), success=False)
        for problem in problems.splitlines():
            _log.error("configuration not reloaded; the previous one stays in effect", problem=problem)

    def _replace(self, config: Config) -> None:
        self.config = config
        for name in self.what_needs_restart():
            _log.warning("changes to this section require a restart", section=name)
        for warning in config.warnings:
            _log.warning("config", problem=str(warning))
        words = self._apply(config)
        self._self_metrics.reloaded(self._clock.time(), success=True)
        _log.info("configuration reloaded", **words)
