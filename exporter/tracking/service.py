"""Whether a server serves at all: a line in the log when that changes, and not one whenever a single target fails."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog

from exporter.dify import Unauthorized
from exporter.tracking.breaker import UNREACHED_TARGETS

if TYPE_CHECKING:
    from exporter.dify import DifyError
    from exporter.tracking.targets import Target

_log = structlog.get_logger(__name__)


class Service:
    """Learns from every poll. Thread-safe.

    A server does not serve when it refuses the key, or when so many different targets fail in a row, without an answer
    to any other: one that fails alone among others has a line of its own.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._failed: set[Target] = set()
        self._told: set[str] = set()
        self.trouble = ""
        """The reason of the last failure while the server does not serve, else ""."""

    def answers(self) -> None:
        """A request was answered, or refused in a way that shows the server at work."""
        if not self._failed and not self.trouble:
            return
        with self._lock:
            self._failed.clear()
            self._told.clear()
            was, self.trouble = self.trouble, ""
        if was:
            _log.info("server answers again", server=self._server)

    def fails(self, target: Target, error: DifyError, targets: int) -> None:
        """A request failed through the server's fault. ``targets``: how many are polled at all."""
        with self._lock:
            self._failed.add(target)
            alone = len(self._failed) < min(UNREACHED_TARGETS, targets)
            if alone and not self.trouble and not isinstance(error, Unauthorized):
                return
            self.trouble = error.reason
            if error.reason in self._told:
                return
            self._told.add(error.reason)
        _log.error("server does not serve", server=self._server, reason=error.reason)
