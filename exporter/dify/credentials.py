"""The API key of a server, from the configuration or from a file that may change at runtime."""

from __future__ import annotations

import stat
import threading
from typing import TYPE_CHECKING

from exporter.config.model import Secret
from exporter.dify.errors import Unauthorized

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.clock import Clock
    from exporter.config.model import ServerConfig

_LOOK_EVERY = 1.0
_LONGEST = 4096

_Fingerprint = tuple[int, int, int]


class Credentials:
    """The current API key. Thread-safe.

    A key file is checked at most once per second and read again if its mtime, size or inode changed (Kubernetes swaps
    a symlink). While the file is missing, unreadable or empty, the last valid key stays in use.
    """

    def __init__(self, server: ServerConfig, clock: Clock) -> None:
        self._file = server.api_key_file
        self._clock = clock
        self._lock = threading.Lock()
        self._key: Secret | None = None
        self._refusal: str | None = "no API key: set api_key or api_key_file"
        self._fingerprint: _Fingerprint | None = None
        self._looked: float | None = None
        if server.api_key is not None:
            self._take(server.api_key.reveal().strip(), "api_key")

    def key(self) -> Secret:
        """The key to send. Raises Unauthorized if there is no valid key."""
        with self._lock:
            if self._file is not None:
                self._look(self._file)
            if self._key is None or self._refusal is not None:
                raise Unauthorized(self._refusal or "no API key")
            return self._key

    def _look(self, file: Path) -> None:
        now = self._clock.monotonic()
        if self._looked is not None and now - self._looked < _LOOK_EVERY:
            return
        self._looked = now
        try:
            facts = file.stat()
            fingerprint = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
            if fingerprint == self._fingerprint:
                return
            # Opening a named pipe would block the worker until a writer opens it.
            if not stat.S_ISREG(facts.st_mode):
                self._missing(f"{file} is not a regular file")
                return
            with file.open("rb") as stream:
                content = stream.read(_LONGEST + 1)
        except OSError as error:
            self._fingerprint = None
            self._missing(f"{file}: {error.strerror}")
            return
        self._fingerprint = fingerprint
        # Latin-1 maps every byte to a character, so that one check finds all bytes that a header cannot carry.
        text = content.decode("latin-1").strip()
        if text:
            self._take(text, str(file))
        else:
            self._missing(f"{file} is empty")

    def _missing(self, reason: str) -> None:
        if self._key is None:
            self._refusal = f"no API key: {reason}"

    def _take(self, text: str, source: str) -> None:
        if text.isascii() and text.isprintable() and " " not in text and len(text) <= _LONGEST:
            self._key, self._refusal = Secret(text), None
        else:
            self._refusal = (
                f"the API key in {source} is too long or contains characters that are not valid in a key: "
                "use the single word that Dify shows (dataset-…)"
            )
