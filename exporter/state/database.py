"""Opens the SQLite state file: checks it, migrates it to the current schema, and explains problems with a remedy."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

APPLICATION_ID = 0x64696679
"""The ``application_id`` in the file's header: "dify" in ASCII."""

BUSY_TIMEOUT = 0.5
"""Seconds to wait for another process to release its lock."""

_LARGEST_LOG = 4 * 1024 * 1024

_WRITE_FORMAT = 18
"""Offset of the write format version in an SQLite header."""

_FORMATS = (1, 2)  # rollback journal, write-ahead log
_COMPANIONS = ("-wal", "-shm", "-journal", "")
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Trouble(NamedTuple):
    """Why the state cannot be saved. ``kind`` tells problems apart, ``advice`` names cause and remedy."""

    kind: str
    advice: str


class UnusableFile(Exception):
    """The state cannot be saved at that path, and what is there is not the exporter's to move."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.advice)
        self.trouble = trouble


class SpoiltFile(Exception):
    """The content of the file is unusable: set the file aside. ``word``: "corrupt" or "newer"."""

    def __init__(self, word: str, reason: str) -> None:
        super().__init__(reason)
        self.word = word


def _create(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE tracked (server TEXT, kind TEXT, dataset_id TEXT, id TEXT, seen REAL NOT NULL,"
        " checksum INTEGER NOT NULL, object BLOB NOT NULL, PRIMARY KEY (server, kind, dataset_id, id)) WITHOUT ROWID"
    )


MIGRATIONS: tuple[Callable[[sqlite3.Connection], object], ...] = (_create,)
"""The step at index n migrates schema n, the file's ``user_version``, to n + 1. Schema 0 is an empty file."""


class SqliteConnection(sqlite3.Connection):
    """Reports a file as corrupt if Python cannot decode SQLite's error message.

    SQLite's messages quote the schema; Python raises UnicodeDecodeError if that is not valid UTF-8.
    """

    def execute(self, *args: Any) -> sqlite3.Cursor:
        """Execute a statement."""
        with _readable():
            return super().execute(*args)

    def executemany(self, *args: Any) -> sqlite3.Cursor:
        """Execute a statement once for each set of parameters."""
        with _readable():
            return super().executemany(*args)


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError:
        error = sqlite3.DatabaseError("schema is not valid UTF-8")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error from None


def open_database(
    path: Path, migrations: Sequence[Callable[[sqlite3.Connection], object]] = MIGRATIONS
) -> sqlite3.Connection:
    """Open or create the file and lock it: two exporters sharing one file would count everything twice.

    Text is returned as bytes, so that damaged text raises no error. Raises UnusableFile, SpoiltFile, sqlite3.Error.
    """
    _look(path)
    # Accessible to the exporter's user only: it holds document names. If this fails, SQLite reports the reason.
    with contextlib.suppress(OSError):
        path.touch(0o600, exist_ok=False)
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False, factory=SqliteConnection
    )
    try:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        _check(connection, len(migrations))
        _check_format(path)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        # A checkpoint waits for the disk: only after a full save, never while a poll waits.
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute(f"PRAGMA journal_size_limit={_LARGEST_LOG}")
        _upgrade(connection, migrations)
    except BaseException:
        connection.close()
        raise
    return connection


def read_copy(path: Path) -> sqlite3.Connection | None:
    """Load a file that is not writable into an in-memory database. None if it cannot be read.

    The copy may lack the last writes of a process that was killed.
    """
    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False, factory=SqliteConnection)
    try:
        uri = f"{path.as_uri()}?mode=ro&immutable=1"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as original:
            original.backup(copy)
        _check(copy, len(MIGRATIONS))
        _upgrade(copy, MIGRATIONS)
    except (sqlite3.Error, SpoiltFile, UnusableFile):
        copy.close()
        return None
    return copy


def set_aside(path: Path, word: str, now: float) -> Path:
    """Rename the file and its companions. Returns the new path; raises OSError if it cannot be renamed."""
    aside = f"{path}.{word}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}"
    for companion in _COMPANIONS:
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{companion}").rename(f"{aside}{companion}")
    return Path(aside)


def identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def explain(error: sqlite3.Error, path: Path) -> Trouble:
    """The cause of an error and its remedy."""
    match _code(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Trouble("locked", "another process has locked the file: give each exporter its own state.path")
        case sqlite3.SQLITE_FULL:
            return Trouble("full", "the disk is full: free some space")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return Trouble("corrupt", "the file is damaged: check the disk")
        case code:
            # Locking a read-only file fails as an I/O error.
            if code == sqlite3.SQLITE_READONLY or not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
                return Trouble(
                    "read-only",
                    "the file is not writable: give the exporter's user write access to it and its directory",
                )
            return Trouble("disk", "reading or writing the file failed: check the disk")


def _code(error: sqlite3.Error) -> int:
    """The primary result code; SQLITE_MISUSE if the error does not come from SQLite."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE)
    return code & 0xFF


def _look(path: Path) -> None:
    """Raise UnusableFile if there can be no state file at that path."""
    try:
        _look_at(path)
    except OSError as error:
        advice = f"the file is not accessible ({error.strerror}): check the path and the permissions of its directories"
    else:
        return
    raise UnusableFile(Trouble("place", advice))


def _look_at(path: Path) -> None:
    """Same, but raises OSError for a path that is too long or leads through an inaccessible directory."""
    if path.is_dir():
        raise UnusableFile(Trouble("place", "state.path is a directory: set it to a file in that directory"))
    if not path.parent.is_dir():
        advice = f"directory {path.parent} does not exist: create it or change state.path"
        raise UnusableFile(Trouble("folder", advice))
    if path.exists() and not path.is_file():
        raise UnusableFile(Trouble("place", "state.path is not a regular file: set it to one"))


def _check(connection: sqlite3.Connection, newest: int) -> None:
    """Check that the file is intact, belongs to the exporter and has a known schema."""
    connection.text_factory = bytes
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if application != APPLICATION_ID and tables and b"tracked" not in tables:
            advice = "the file is another program's database: change state.path"
            raise UnusableFile(Trouble("place", advice))
        if version > newest:
            raise SpoiltFile("newer", f"the file has schema {version}, this exporter supports up to {newest}")
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        # SQLITE_ERROR: not even the schema can be read.
        if _code(error) in (*_DAMAGE, sqlite3.SQLITE_ERROR):
            raise SpoiltFile("corrupt", str(error)) from None
        raise
    if version < 0 or verdict != b"ok":
        raise SpoiltFile("corrupt", verdict.decode(errors="replace"))


def _check_format(path: Path) -> None:
    """SQLite treats a file with an unknown write format as read-only. No version of the exporter writes one."""
    with path.open("rb") as file:
        head = file.read(_WRITE_FORMAT + 1)
    if len(head) > _WRITE_FORMAT and head[_WRITE_FORMAT] not in _FORMATS:
        raise SpoiltFile("corrupt", f"unknown write format {head[_WRITE_FORMAT]}")


def _upgrade(connection: sqlite3.Connection, migrations: Sequence[Callable[[sqlite3.Connection], object]]) -> None:
    """Run all pending migrations in one transaction. Also proves that the file is writable."""
    connection.execute("BEGIN IMMEDIATE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    try:
        for migrate in migrations[version:]:
            migrate(connection)
        connection.execute("SELECT server, kind, dataset_id, id, seen, checksum, object FROM tracked LIMIT 0")
    except sqlite3.Error as error:
        if _code(error) == sqlite3.SQLITE_ERROR:
            raise SpoiltFile("corrupt", str(error)) from None
        raise
    if version < len(migrations):
        connection.execute(f"PRAGMA user_version={len(migrations)}")
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute("COMMIT")
