"""Reloading the configuration without a restart: when it is read, whether it is applied, how the result is reported."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

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


class ConfigSource(NamedTuple):
    """How to read the configuration again. ``read`` raises ConfigError.

    ``interval``: seconds between automatic reads; None: read only on request.
    """

    read: Callable[[], Config]
    interval: int | None = None


class ConfigReloader:
    """Holds the current configuration. Thread-safe: signals, the loop and the web server request reloads."""

    def __init__(
        self,
        config: Config,
        source: ConfigSource | None,
        apply: Callable[[Config], Mapping[str, object]],
        *,
        self_metrics: SelfMetrics,
        clock: Clock,
    ) -> None:
        """``source``: None if there is no file to reload. ``self_metrics``: counts reloads.

        ``apply`` applies a new configuration and returns the values to log.
        """
        self.config = config
        self._initial = config
        self.has_source = source is not None
        self._source = source or ConfigSource(lambda: config)
        self._watched: WatchedFile[Config | str] = WatchedFile(self._read, config)
        self._apply = apply
        self._self_metrics = self_metrics
        self._clock = clock
        self_metrics.reloaded(clock.time(), success=True)
        self._closed = False
        self._requested = threading.Event()
        self.lock = threading.Lock()
        """Held during a reload, and by everything that must not run concurrently with one."""

    def reload(self) -> str | None:
        """Read the configuration again and apply it. Returns None on success, otherwise the error.

        An invalid configuration changes nothing. ``requires_restart`` names the sections that a reload does not change.
        """
        if not self.has_source:
            _log.warning(_NO_FILE)
            return _NO_FILE
        with self.lock:
            if self._closed:
                return "the exporter is stopping"
            found = self._read()
            self._use(found)
            return found if isinstance(found, str) else None

    def request(self) -> None:
        """Reload in the next iteration of the loop."""
        self._requested.set()

    def reload_if_requested(self) -> None:
        """Reload if ``request`` has been called since the last call."""
        if self._requested.is_set():
            self._requested.clear()
            self.reload()

    def reload_if_changed(self) -> None:
        """Reload once two consecutive reads agree: a file that is still being written may be valid YAML."""
        with self.lock:
            found = self._watched.check()
            if found is not None:
                self._use(found)

    def close(self) -> None:
        """Wait for a running reload and prevent further ones."""
        with self.lock:
            self._closed = True

    def requires_restart(self) -> list[str]:
        """The sections that differ from those at startup and that a reload cannot change."""
        return [name for name in NEEDS_RESTART if getattr(self.config, name) != getattr(self._initial, name)]

    def _read(self) -> Config | str:
        """The configuration as it is now, or its problems."""
        try:
            return self._source.read()
        except ConfigError as error:
            return str(error)

    def _use(self, found: Config | str) -> None:
        self._watched.accept(found)
        if not isinstance(found, str):
            self._accept(found)
            return
        self._self_metrics.reloaded(self._clock.time(), success=False)
        for problem in found.splitlines():
            _log.error("configuration not reloaded; the previous one stays in effect", problem=problem)

    def _accept(self, config: Config) -> None:
        self.config = config
        for name in self.requires_restart():
            _log.warning("changes to this section require a restart", section=name)
        for warning in config.warnings:
            _log.warning("config", problem=str(warning))
        result = self._apply(config)
        self._self_metrics.reloaded(self._clock.time(), success=True)
        _log.info("configuration reloaded", **result)
