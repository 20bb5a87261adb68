"""The API key of a server, from the configuration or from a file that may change at runtime."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from exporter.config import parse_api_key, read_api_key
from exporter.dify.errors import Unauthorized
from exporter.yamlconf import Invalid, Unreadable, WatchedFile, stamps

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.clock import Clock
    from exporter.config import Secret, ServerConfig

_CHECK_INTERVAL = 1.0


class Credentials:
    """The current API key. Thread-safe.

    A key file is checked at most once per second and read again if it was changed or replaced (Kubernetes swaps a
    symlink). While the file is missing, unreadable or empty, the last valid key stays in use.
    """

    def __init__(self, server: ServerConfig, clock: Clock) -> None:
        self._file = server.api_key_file
        self._clock = clock
        self._lock = threading.Lock()
        self._key: Secret | None = None
        self._problem: str | None = "set api_key or api_key_file"
        self._watched = WatchedFile(self._stamps)
        self._checked: float | None = None
        if server.api_key is not None:
            try:
                self._key, self._problem = parse_api_key(server.api_key.reveal()), None
            except Invalid as refused:
                self._problem = f"api_key {refused}"

    def key(self) -> Secret:
        """The key to send. Raises Unauthorized if there is no valid key."""
        with self._lock:
            if self._file is not None:
                self._check(self._file)
            if self._key is None or self._problem is not None:
                raise Unauthorized(f"no API key: {self._problem}")
            return self._key

    def _stamps(self) -> object:
        return stamps(self._file) if self._file else None

    def _check(self, file: Path) -> None:
        now = self._clock.monotonic()
        if self._checked is not None and now - self._checked < _CHECK_INTERVAL:
            return
        self._checked = now
        version = self._watched.check(at_once=True)
        if version is None:
            return
        try:
            self._key, self._problem = read_api_key(file), None
        except Unreadable as refused:
            if self._key is None:
                self._problem = f"{file} {refused}"
            return
        except Invalid as refused:
            self._problem = f"{file} {refused}"
        self._watched.accept(version)
