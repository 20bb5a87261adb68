"""The connection to the state file: reopened after failures; each problem is logged once."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from exporter.state.database import (
    SpoiltFile,
    Trouble,
    UnusableFile,
    explain,
    identity,
    open_database,
    read_copy,
    set_aside,
)

if TYPE_CHECKING:
    from exporter.clock import Clock

_log = structlog.get_logger(__name__)


class StateDatabase:
    """Manages the SQLite connection. Never raises. Not thread-safe: the owner admits one thread at a time."""

    def __init__(self, path: Path, clock: Clock) -> None:
        # SQLite places its log next to the target of a link.
        self._path = Path(os.path.realpath(path))
        self._clock = clock
        self._identity: tuple[int, int] | None = None
        self._trouble: Trouble | None = None
        self._spoilt = False
        self._copy: sqlite3.Connection | None = None
        self.connection: sqlite3.Connection | None = None
        """None while nothing can be saved."""

    @property
    def path(self) -> str:
        """The path, for log lines."""
        return str(self._path)

    @property
    def readable(self) -> sqlite3.Connection | None:
        """The connection, or a copy of a file that turned out not to be writable."""
        return self.connection or self._copy

    @property
    def damaged(self) -> bool:
        """Whether the file turned out to be damaged after it was opened: ``renew`` then sets it aside."""
        return self._trouble is not None and self._trouble.kind == "corrupt"

    def open(self) -> None:
        """Open or create the file. A damaged one is set aside and replaced."""
        self._connect()
        if self._trouble and self._trouble.kind in ("read-only", "full", "disk"):
            self._copy = read_copy(self._path)

    def renew(self) -> None:
        """Reopen the file if it could not be used or was removed."""
        if self.connection is not None and identity(self._path) != self._identity:
            _log.warning("state file was removed or replaced: opening a new one", path=self.path)
            self._disconnect()
            # SQLite would apply the log of the lost file to the new one.
            with contextlib.suppress(OSError):
                Path(f"{self._path}-wal").unlink()
        if self.connection is None:
            self._connect()

    def works(self) -> None:
        """Everything is saved: log the recovery if there was a problem."""
        self._drop_copy()
        if self._trouble:
            self._trouble = None
            _log.info("state is saved again", path=self.path)

    def fail(self, error: sqlite3.Error) -> None:
        """Close the connection after an error, with any open transaction."""
        self._disconnect()
        self._tell(explain(error, self._path), error)

    def close(self) -> None:
        """Close the file."""
        self._disconnect()
        self._drop_copy()

    def _connect(self) -> None:
        try:
            try:
                self.connection = open_database(self._path)
            except SpoiltFile as spoilt:
                self._begin_anew(spoilt)
        except (UnusableFile, SpoiltFile) as error:
            trouble = (
                error.trouble
                if isinstance(error, UnusableFile)
                else Trouble(error.word, f"the file is unusable: {error}")
            )
            self._tell(trouble)
        except sqlite3.Error as error:
            self.fail(error)
        self._identity = identity(self._path)

    def _begin_anew(self, spoilt: SpoiltFile) -> None:
        """Set the file aside and create a new one, once per run: a failing disk must not fill up with old files."""
        if self._spoilt:
            raise UnusableFile(Trouble("again", "the file was damaged again: check the disk and restart")) from spoilt
        try:
            aside = set_aside(self._path, spoilt.word, self._clock.time())
        except OSError as error:
            advice = f"the file is unusable ({spoilt}) and cannot be renamed ({error.strerror}): move it away"
            raise UnusableFile(Trouble(spoilt.word, advice)) from spoilt
        self._spoilt = True
        _log.warning(
            "state file is unusable: it was set aside, and an empty one was created",
            path=self.path,
            set_aside=str(aside),
            reason=str(spoilt),
        )
        self.connection = open_database(self._path)

    def _tell(self, trouble: Trouble, error: Exception | None = None) -> None:
        """Log each problem once, not at each retry."""
        if self._trouble and self._trouble.kind == trouble.kind:
            return
        self._trouble = trouble
        log = _log.warning if trouble.kind == "locked" else _log.error
        log(
            f"state cannot be saved: {trouble.advice}. The exporter continues without it and keeps retrying",
            path=self.path,
            **({"error": str(error)} if error else {}),
        )

    def _disconnect(self) -> None:
        if self.connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self.connection.close()
            self.connection = None

    def _drop_copy(self) -> None:
        if self._copy is not None:
            self._copy.close()
            self._copy = None
