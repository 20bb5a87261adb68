"""Whether a Dify server is available: logged when that changes, not whenever a single target fails."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog

from exporter.dify import Unauthorized
from exporter.polling.breaker import UNREACHED_TARGETS

if TYPE_CHECKING:
    from exporter.dify import DifyError
    from exporter.tracking.targets import Target

_log = structlog.get_logger(__name__)


class Service:
    """Learns from every poll whether the server is available. Thread-safe.

    A server is unavailable when it rejects the key, or when several different targets fail in a row without a
    successful poll in between. A single failing target among others has its own log line.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._failed: set[Target] = set()
        self._told: set[str] = set()
        self.trouble = ""
        """The reason of the last failure while the server is unavailable, else ""."""

    def answers(self) -> None:
        """Record a request that was answered, or rejected in a way that shows a working server."""
        if not self._failed and not self.trouble:
            return
        with self._lock:
            self._failed.clear()
            self._told.clear()
            was, self.trouble = self.trouble, ""
        if was:
            _log.info("Dify server available again", server=self._server)

    def fails(self, target: Target, error: DifyError, targets: int) -> None:
        """Record a request that failed because of the server. ``targets``: the number of polled targets."""
        with self._lock:
            self._failed.add(target)
            alone = len(self._failed) < min(UNREACHED_TARGETS, targets)
            if alone and not self.trouble and not isinstance(error, Unauthorized):
                return
            self.trouble = error.reason
            if error.reason in self._told:
                return
            self._told.add(error.reason)
        _log.error("Dify server unavailable", server=self._server, reason=error.reason)
