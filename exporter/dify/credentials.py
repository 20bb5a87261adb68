"""The API key of a server, from the configuration or from a file that may change at runtime."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog

from exporter.config import doubt_api_key, parse_api_key, read_api_key
from exporter.dify.errors import Unauthorized
from exporter.yamlconf import Invalid, Unreadable, WatchedFile, stamps

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.clock import Clock
    from exporter.config import Secret, ServerConfig

_CHECK_INTERVAL = 1.0

_log = structlog.get_logger(__name__)


class Credentials:
    """The current API key. Thread-safe.

    A key file is checked at most once per second and read again if it was changed or replaced (Kubernetes swaps a
    symlink). While it has no valid key, the last valid one stays in use, as Dify accepts it until it is deleted there;
    the log says so once.
    """

    def __init__(self, server: ServerConfig, clock: Clock) -> None:
        self._server = server.name
        self._file = server.api_key_file
        self._clock = clock
        self._lock = threading.Lock()
        self._key: Secret | None = None
        self._problem: str | None = "set api_key or api_key_file"
        self._watched = WatchedFile(self._stamps)
        self._checked: float | None = None
        self._changed = False
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
            if self._key is None:
                raise Unauthorized(f"no API key: {self._problem}")
            return self._key

    def take_change(self) -> bool:
        """Whether the file has another key, or another problem, than before; True once for each change."""
        with self._lock:
            if self._file is not None:
                self._check(self._file)
            changed, self._changed = self._changed, False
            return changed

    def _stamps(self) -> object:
        return stamps(self._file) if self._file else None

    def _check(self, file: Path) -> None:
        now = self._clock.monotonic()
        if self._checked is not None and now - self._checked < _CHECK_INTERVAL:
            return
        is_first, self._checked = self._checked is None, now
        version = self._watched.check(at_once=True)
        if version is None:
            return
        before = self._key, self._problem
        self._read(file, version)
        self._changed |= not is_first and before != (self._key, self._problem)

    def _read(self, file: Path, version: object) -> None:
        try:
            key = read_api_key(file)
        except Unreadable as refused:
            self._keep_previous(f"{file} {refused}")
            return
        except Invalid as refused:
            self._keep_previous(f"{file} {refused}")
        else:
            self._replace(key)
        self._watched.accept(version)

    def _keep_previous(self, problem: str) -> None:
        if self._key is not None and problem != self._problem:
            text = "API key file could not be read; the previous key stays in use"
            _log.warning(text, server=self._server, problem=problem)
        self._problem = problem

    def _replace(self, key: Secret) -> None:
        """Use ``key``. The first key of a file was examined with the configuration."""
        previous, self._key = self._key, key
        if previous is not None and (key != previous or self._problem):
            _log.info("API key file read again", server=self._server, changed=key != previous)
            if doubt := doubt_api_key(key):
                _log.warning("config", server=self._server, problem=f"{self._file}: the key {doubt}")
        self._problem = None
