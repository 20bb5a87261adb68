"""The file of the state: opened, checked, brought to the present schema; or what is in the way, and what to do."""

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
"""In the header of the file: "dify"."""

BUSY_TIMEOUT = 0.5
"""Seconds to wait for another process to let go of the file."""

_LARGEST_LOG = 4 * 1024 * 1024

_WRITE_FORMAT = 18
"""Where the header of a database has it."""

_FORMATS = (1, 2)  # rollback journal, write-ahead log
_COMPANIONS = ("-wal", "-shm", "-journal", "")
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Trouble(NamedTuple):
    """Why nothing can be saved. ``kind`` tells one trouble from another, ``advice`` what a person does."""

    kind: str
    advice: str


class UnusableFile(Exception):
    """Nothing can be saved there, and what is there is not the exporter's to move away."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.advice)
        self.trouble = trouble


class SpoiltFile(Exception):
    """What is in the file cannot be used: set it aside. ``word``: "corrupt" or "newer"."""

    def __init__(self, word: str, reason: str) -> None:
        super().__init__(reason)
        self.word = word


def _create(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE tracked (server TEXT, kind TEXT, dataset_id TEXT, id TEXT, seen REAL NOT NULL,"
        " checksum INTEGER NOT NULL, object BLOB NOT NULL, PRIMARY KEY (server, kind, dataset_id, id)) WITHOUT ROWID"
    )


MIGRATIONS: tuple[Callable[[sqlite3.Connection], object], ...] = (_create,)
"""The step at position n leads from schema n, the ``user_version`` of the file, to n + 1. Schema 0 is an empty file."""


class Connection(sqlite3.Connection):
    """One that says of a file that it is damaged where Python cannot read what SQLite says of it.

    SQLite's messages repeat the schema, and Python raises UnicodeDecodeError where that is no UTF-8.
    """

    def execute(self, *args: Any) -> sqlite3.Cursor:
        """Run a statement."""
        with _readable():
            return super().execute(*args)

    def executemany(self, *args: Any) -> sqlite3.Cursor:
        """Run a statement for each of several sets of parameters."""
        with _readable():
            return super().executemany(*args)


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError:
        error = sqlite3.DatabaseError("its text is no UTF-8")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error from None


def open_database(
    path: Path, migrations: Sequence[Callable[[sqlite3.Connection], object]] = MIGRATIONS
) -> sqlite3.Connection:
    """Open the file, make it where there is none, and hold it: two exporters on one file would count everything twice.

    Text comes back as bytes, so that damaged text is no error. UnusableFile, SpoiltFile, sqlite3.Error.
    """
    _look(path)
    # It holds names of documents: for the exporter's user alone. Where this fails, SQLite says what is wrong.
    with contextlib.suppress(OSError):
        path.touch(0o600, exist_ok=False)
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False, factory=Connection
    )
    try:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        _check(connection, len(migrations))
        _check_format(path)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        # Copying the log into the file waits for the disk: only when everything is saved, not while a poll waits.
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute(f"PRAGMA journal_size_limit={_LARGEST_LOG}")
        _upgrade(connection, migrations)
    except BaseException:
        connection.close()
        raise
    return connection


def read_copy(path: Path) -> sqlite3.Connection | None:
    """What a file that cannot be written says, as a database in memory; None when it says nothing.

    It may lack what a process that was killed had written last.
    """
    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False, factory=Connection)
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
    """Rename the file and what belongs to it. Gives its new name; OSError when it cannot be renamed."""
    aside = f"{path}.{word}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}"
    for companion in _COMPANIONS:
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{companion}").rename(f"{aside}{companion}")
    return Path(aside)


def identity(path: Path) -> tuple[int, int] | None:
    """Which file that is; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def explain(error: sqlite3.Error, path: Path) -> Trouble:
    """What is wrong and what to do about it."""
    match _code(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Trouble("locked", "another process holds the file: give each exporter a state.path of its own")
        case sqlite3.SQLITE_FULL:
            return Trouble("full", "the disk is full: free some space")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return Trouble("corrupt", "the file is damaged: look after the disk")
        case code:
            # A lock on what may only be read fails as an I/O error.
            if code == sqlite3.SQLITE_READONLY or not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
                return Trouble(
                    "read-only", "it may not be written: let the exporter's user write the file and its folder"
                )
            return Trouble("disk", "reading or writing the file failed: look after the disk")


def _code(error: sqlite3.Error) -> int:
    """The primary result code; SQLITE_MISUSE where the error is not SQLite's own."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE)
    return code & 0xFF


def _look(path: Path) -> None:
    """UnusableFile when there can be no file of the exporter at that place."""
    try:
        _look_at(path)
    except OSError as error:
        advice = f"it cannot be looked at ({error.strerror}): check the path and the modes of its folders"
    else:
        return
    raise UnusableFile(Trouble("place", advice))


def _look_at(path: Path) -> None:
    """The same; OSError for a path that is too long, or leads through a folder that is closed to this user."""
    if path.is_dir():
        raise UnusableFile(Trouble("place", "it is a folder: let state.path name a file in it"))
    if not path.parent.is_dir():
        advice = f"there is no folder {path.parent}: create it, or let state.path name another one"
        raise UnusableFile(Trouble("folder", advice))
    if path.exists() and not path.is_file():
        raise UnusableFile(Trouble("place", "it is no regular file: let state.path name one"))


def _check(connection: sqlite3.Connection, newest: int) -> None:
    """Whether the file is whole, the exporter's, and of a schema that it knows."""
    connection.text_factory = bytes
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if application != APPLICATION_ID and tables and b"tracked" not in tables:
            advice = "it is the database of another program: let state.path name another file"
            raise UnusableFile(Trouble("place", advice))
        if version > newest:
            raise SpoiltFile("newer", f"it has schema {version}, this version of the exporter knows {newest}")
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        # SQLITE_ERROR: not even the schema can be read.
        if _code(error) in (*_DAMAGE, sqlite3.SQLITE_ERROR):
            raise SpoiltFile("corrupt", str(error)) from None
        raise
    if version < 0 or verdict != b"ok":
        raise SpoiltFile("corrupt", verdict.decode(errors="replace"))


def _check_format(path: Path) -> None:
    """SQLite only reads a file whose write format it does not know. No version of the exporter writes such a one."""
    with path.open("rb") as file:
        head = file.read(_WRITE_FORMAT + 1)
    if len(head) > _WRITE_FORMAT and head[_WRITE_FORMAT] not in _FORMATS:
        raise SpoiltFile("corrupt", f"write format {head[_WRITE_FORMAT]}")


def _upgrade(connection: sqlite3.Connection, migrations: Sequence[Callable[[sqlite3.Connection], object]]) -> None:
    """Take the steps that the file has not seen, all of them or none. Also shows that the file can be written."""
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
