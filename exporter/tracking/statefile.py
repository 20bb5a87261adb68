"""The connection to the state file: kept up as long as it works, tried anew when it did not, told of once."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from exporter.tracking.database import (
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


class StateFile:
    """Nothing here raises. Not thread-safe: its owner lets one thread in at a time."""

    def __init__(self, path: Path, clock: Clock) -> None:
        # SQLite puts its log beside the file that a link leads to.
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
        """The file, for the log."""
        return str(self._path)

    @property
    def readable(self) -> sqlite3.Connection | None:
        """The connection, or what the file said before the exporter found that it cannot write it."""
        return self.connection or self._copy

    @property
    def damaged(self) -> bool:
        """Whether the file has turned out to be damaged after it was opened: ``renew`` then sets it aside."""
        return self._trouble is not None and self._trouble.kind == "corrupt"

    def open(self) -> None:
        """Open the file; make it, or set a spoilt one aside and begin anew, where needed."""
        self._connect()
        if self._trouble and self._trouble.kind in ("read-only", "full", "disk"):
            self._copy = read_copy(self._path)

    def renew(self) -> None:
        """Open the file again if it could not be used, or is no longer there."""
        if self.connection is not None and identity(self._path) != self._identity:
            _log.warning("the state file was taken away: a new one is begun", path=self.path)
            self._disconnect()
            # The log of the lost file would be taken for the log of what is there now.
            with contextlib.suppress(OSError):
                Path(f"{self._path}-wal").unlink()
        if self.connection is None:
            self._connect()

    def works(self) -> None:
        """Everything is saved: say so if there was trouble before."""
        self._drop_copy()
        if self._trouble:
            self._trouble = None
            _log.info("the state is saved again", path=self.path)

    def fail(self, error: sqlite3.Error) -> None:
        """Give the connection up, with all that was begun on it."""
        self._disconnect()
        self._tell(explain(error, self._path), error)

    def close(self) -> None:
        """Let go of the file."""
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
                error.trouble if isinstance(error, UnusableFile) else Trouble(error.word, f"it is spoilt: {error}")
            )
            self._tell(trouble)
        except sqlite3.Error as error:
            self.fail(error)
        self._identity = identity(self._path)

    def _begin_anew(self, spoilt: SpoiltFile) -> None:
        """Once a run: a disk that spoils every file must not be filled with them."""
        if self._spoilt:
            raise UnusableFile(Trouble("again", "it was spoilt again: look after the disk and restart")) from spoilt
        try:
            aside = set_aside(self._path, spoilt.word, self._clock.time())
        except OSError as error:
            advice = f"it is spoilt ({spoilt}) and cannot be renamed ({error.strerror}): move it away"
            raise UnusableFile(Trouble(spoilt.word, advice)) from spoilt
        self._spoilt = True
        _log.warning(
            "the state file cannot be used: it was set aside and a new one is begun, which knows nothing yet",
            path=self.path,
            set_aside=str(aside),
            reason=str(spoilt),
        )
        self.connection = open_database(self._path)

    def _tell(self, trouble: Trouble, error: Exception | None = None) -> None:
        """Once for each trouble, not at each try."""
        if self._trouble and self._trouble.kind == trouble.kind:
            return
        self._trouble = trouble
        log = _log.warning if trouble.kind == "locked" else _log.error
        log(
            f"the state is not saved: {trouble.advice}. The exporter goes on without it and keeps trying",
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
