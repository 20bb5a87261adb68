"""A new configuration without a restart: when it is read, whether it is gone on with, who is told."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog

from exporter.config import NEEDS_RESTART, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.clock import Clock
    from exporter.config import Config
    from exporter.metrics import OwnMetrics

_NO_FILE = "there is no configuration file to read again"

_log = structlog.get_logger(__name__)


class Reloading:
    """Keeps the configuration that is in force. Thread-safe: signals, the loop and the web server ask for reloads."""

    def __init__(
        self,
        config: Config,
        read: Callable[[], Config] | None,
        apply: Callable[[Config], Mapping[str, object]],
        *,
        own: OwnMetrics,
        clock: Clock,
    ) -> None:
        """``read`` reads the configuration anew and raises ConfigError; None: there is no file.

        ``apply`` goes on with another one and returns what to log of it. ``own``: metrics that tell how reloads went.
        """
        self.config = config
        self._started_with = config
        self._read = read
        self._apply = apply
        self._own = own
        self._clock = clock
        own.reloaded(clock.time(), success=True)
        self._refused: str | None = None
        self._found: Config | str | None = None
        self._ended = False
        self.wanted = threading.Event()
        """Set it to have the configuration reloaded at the next turn of the loop, as SIGHUP does."""
        self.lock = threading.Lock()
        """Held during a reload, and by whatever must not be at work meanwhile."""

    def reload(self) -> str | None:
        """Read the configuration anew and go on with it. None when that went well, else what is wrong with it.

        A bad one changes nothing. ``what_needs_restart`` tells what a good one did not change.
        """
        if self._read is None:
            _log.warning(_NO_FILE)
            return _NO_FILE
        with self.lock:
            if self._ended:
                return "the exporter is stopping"
            try:
                config = self._read()
            except ConfigError as error:
                self._refuse(str(error))
                return str(error)
            self._go_on(config)
        return None

    def reload_if_wanted(self) -> None:
        """Reload, if a signal asked for it since the last time."""
        if self.wanted.is_set():
            self.wanted.clear()
            self.reload()

    def look(self) -> None:
        """Reload once two looks have found the same: half of a file may well be valid YAML."""
        if self._read is None:
            return
        with self.lock:
            found: Config | str
            try:
                found = self._read()
            except ConfigError as error:
                found = str(error)
            before, self._found = self._found, found
            if found != before:
                return
            if isinstance(found, str):
                if self._refused != found:
                    self._refuse(found)
            elif found != self.config or self._refused is not None:
                self._go_on(found)

    def end(self) -> None:
        """Wait for a reload that is under way and make no further one."""
        with self.lock:
            self._ended = True

    def what_needs_restart(self) -> list[str]:
        """The sections that differ from those that the process started with, and that a reload cannot change."""
        return [name for name in NEEDS_RESTART if getattr(self.config, name) != getattr(self._started_with, name)]

    def _refuse(self, problems: str) -> None:
        self._refused = problems
        self._own.reloaded(self._clock.time(), success=False)
        for problem in problems.splitlines():
            _log.error("the configuration was not reloaded, the one before stays", problem=problem)

    def _go_on(self, config: Config) -> None:
        self._refused = None
        self.config = config
        for name in self.what_needs_restart():
            _log.warning("a change of this section takes effect after a restart", section=name)
        for warning in config.warnings:
            _log.warning("config", problem=str(warning))
        words = self._apply(config)
        self._own.reloaded(self._clock.time(), success=True)
        _log.info("configuration reloaded", **words)
