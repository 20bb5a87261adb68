"""The SQLite file of the state: opened, checked, migrated, and replaced by an empty one if its content is unusable.

Each problem is logged once, with its remedy.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from exporter.yamlconf.file_access import open_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exporter.clock import Clock

    Migration = Callable[[sqlite3.Connection], object]

APPLICATION_ID = 0x64696679
"""The ``application_id`` in the file's header: "dify" in ASCII."""

BUSY_TIMEOUT = 0.5
"""Seconds to wait for another process to release its lock."""

_LOG_SIZE_LIMIT = 4 * 1024 * 1024

_MAGIC = b"SQLite format 3\0"
_WRITE_FORMAT = 18
"""Offset of the write format version in an SQLite header."""

_WRITE_FORMATS = (1, 2)
"""Rollback journal, write-ahead log."""

_APPLICATION = slice(68, 72)
"""Where an SQLite header has the ``application_id``."""

_ENTRIES = slice(103, 105)
"""Where the first page has the number of its entries, one per table at least; 0 in an empty database."""

_FIRST_PAGE = 65_536
"""Bytes of the largest page. The first page contains the schema."""

_COMPANIONS = ("-wal", "-shm", "-journal", "")
"""What SQLite appends to the path for the files next to it; "" for the file itself, which comes last."""

_log = structlog.get_logger(__name__)


class StateProblem(Exception):
    """Why the state cannot be saved. ``kind`` tells problems apart, ``advice`` names cause and remedy."""

    def __init__(self, kind: str, advice: str) -> None:
        super().__init__(advice)
        self.kind = kind
        self.advice = advice


class UnusableContent(StateProblem):
    """A file of the exporter is corrupt or newer than it: set it aside. ``kind``: "corrupt" or "newer"."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(kind, f"the file is unusable: {reason}")
        self.reason = reason


_TABLE = "CREATE TABLE tracked (server TEXT,"


def _create(connection: sqlite3.Connection) -> None:
    connection.execute(
        f"{_TABLE} kind TEXT, dataset_id TEXT, id TEXT, seen REAL NOT NULL,"
        " checksum INTEGER NOT NULL, object BLOB NOT NULL, PRIMARY KEY (server, kind, dataset_id, id)) WITHOUT ROWID"
    )


def _add_removed(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE tracked ADD COLUMN removed INTEGER NOT NULL DEFAULT 0")


MIGRATIONS: tuple[Migration, ...] = (_create, _add_removed)
"""The step at index n migrates schema n, the file's ``user_version``, to n + 1. Schema 0 is an empty file."""


class SqliteConnection(sqlite3.Connection):
    """Reports a file as corrupt if Python cannot decode SQLite's error message.

    SQLite's messages quote the schema; Python raises UnicodeDecodeError if that is not valid UTF-8.
    """

    def execute(self, *args: Any) -> sqlite3.Cursor:
        """Execute a statement."""
        return _call(super().execute, *args)

    def executemany(self, *args: Any) -> sqlite3.Cursor:
        """Execute a statement once for each set of parameters."""
        return _call(super().executemany, *args)


def _call(execute: Callable[..., sqlite3.Cursor], *args: Any) -> sqlite3.Cursor:
    try:
        return execute(*args)
    except UnicodeDecodeError:
        error = sqlite3.DatabaseError("schema is not valid UTF-8")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error from None


def open_database(path: Path, migrations: Sequence[Migration] = MIGRATIONS) -> sqlite3.Connection:
    """Open or create the file and lock it: two exporters sharing one file would count everything twice.

    Text is returned as bytes, so that damaged text raises no error. Raises StateProblem, sqlite3.Error.

    From the first statement on, nothing else in this process may open the file: closing any descriptor of a file
    releases all POSIX locks that the process holds on it, those of SQLite included.
    """
    _check_path(path)
    head = _read_first_page(path)
    _check_owner(path, head)
    _make_private(path)
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False, factory=SqliteConnection
    )
    try:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        _check_content(connection, len(migrations))
        _check_write_format(head)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        # A checkpoint waits for the disk: only after a full save, never while a poll waits.
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute(f"PRAGMA journal_size_limit={_LOG_SIZE_LIMIT}")
        _migrate(connection, migrations)
    except UnusableContent as unusable:
        connection.close()
        if _begins_as_ours(head):
            raise
        raise StateProblem("place", f"{_FOREIGN} ({unusable.reason})") from None
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
        _check_content(copy, len(MIGRATIONS))
        _migrate(copy, MIGRATIONS)
    except (sqlite3.Error, StateProblem):
        copy.close()
        return None
    return copy


def set_aside(path: Path, kind: str, now: float) -> Path:
    """Rename the file and SQLite's files next to it. Returns the new path; raises OSError if it cannot be renamed."""
    aside = f"{path}.{kind}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}"
    for suffix in _COMPANIONS:
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    return Path(aside)


def explain(error: sqlite3.Error, path: Path) -> StateProblem:
    """The cause of an error and its remedy."""
    match _code(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StateProblem("locked", "another process has locked the file: give each exporter its own state.path")
        case sqlite3.SQLITE_FULL:
            return StateProblem("full", "the disk is full: free some space")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StateProblem("corrupt", "the file is damaged: check the disk")
        case code:
            # Locking a read-only file fails as an I/O error.
            if code == sqlite3.SQLITE_READONLY or not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
                advice = "the file is not writable: give the exporter's user write access to it and its directory"
                return StateProblem("read-only", advice)
            return StateProblem("disk", "reading or writing the file failed: check the disk")


def _code(error: sqlite3.Error) -> int:
    """The primary result code; SQLITE_MISUSE if the error does not come from SQLite."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE)
    return code & 0xFF


def _check_path(path: Path) -> None:
    """Raise StateProblem if there can be no state file at that path."""
    try:
        if path.is_dir():
            problem = StateProblem("place", "state.path is a directory: set it to a file in that directory")
        elif not path.parent.is_dir():
            advice = f"directory {path.parent} does not exist: create it or change state.path"
            problem = StateProblem("folder", advice)
        elif path.exists() and not path.is_file():
            problem = StateProblem("place", "state.path is not a regular file: set it to one")
        else:
            return
    except OSError as error:  # the path is too long, or leads through an inaccessible directory
        advice = f"the file is not accessible ({error.strerror}): check the path and the permissions of its directories"
        problem = StateProblem("place", advice)
    raise problem


def _check_content(connection: sqlite3.Connection, newest: int) -> None:
    """Check that the file is intact, belongs to the exporter and has a known schema."""
    connection.text_factory = bytes
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if application != APPLICATION_ID and tables and b"tracked" not in tables:
            raise StateProblem("place", _FOREIGN)
        if version > newest:
            raise UnusableContent("newer", f"the file has schema {version}, this exporter supports up to {newest}")
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        # SQLITE_ERROR: not even the schema can be read.
        if _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
            raise UnusableContent("corrupt", str(error)) from None
        raise
    if version < 0 or verdict != b"ok":
        raise UnusableContent("corrupt", verdict.decode(errors="replace"))


_FOREIGN = (
    "the file is not a state file, perhaps another program's, and was not changed: set state.path to another file, "
    "or move this one away"
)


def _read_first_page(path: Path) -> bytes:
    """The beginning of a file; b"" if there is none or it cannot be read, whose reason SQLite reports."""
    with contextlib.suppress(OSError):
        stream = open_regular(path)
        if stream is not None:
            with stream:
                return stream.read(_FIRST_PAGE)
    return b""


def _check_owner(path: Path, head: bytes) -> None:
    """Raise StateProblem if the file is another program's. It must not even be opened: that may change its log.

    ``head``: its beginning. The tables of a new database may still be in its log only.
    """
    if head and not _begins_as_ours(head):
        is_empty = head.startswith(_MAGIC) and len(head) >= _ENTRIES.stop and not any(head[_ENTRIES])
        log = _read_first_page(Path(f"{path}-wal"))
        if not is_empty or any(head[_APPLICATION]) or (log and _TABLE.encode() not in log):
            raise StateProblem("place", _FOREIGN)


def _begins_as_ours(head: bytes) -> bool:
    """Whether the first page is that of a state file. The oldest ones have no ``application_id``."""
    is_named = head[_APPLICATION] == APPLICATION_ID.to_bytes(4, "big") or _TABLE.encode() in head
    return head.startswith(_MAGIC) and is_named


def _make_private(path: Path) -> None:
    """Create the file if it does not exist, and take all rights to it from other users: it holds document names.

    If this fails, SQLite reports the reason; only an owner can change the mode.
    """
    with contextlib.suppress(OSError):
        path.touch(0o600, exist_ok=False)
    for suffix in _COMPANIONS:
        with contextlib.suppress(OSError):
            file = Path(f"{path}{suffix}")
            mode = stat.S_IMODE(file.stat().st_mode)
            if mode & 0o077:
                file.chmod(mode & ~0o077)


def _check_write_format(head: bytes) -> None:
    """SQLite treats a file with an unknown write format as read-only. No version of the exporter writes one."""
    if len(head) > _WRITE_FORMAT and head[_WRITE_FORMAT] not in _WRITE_FORMATS:
        raise UnusableContent("corrupt", f"unknown write format {head[_WRITE_FORMAT]}")


def _migrate(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    """Run all pending migrations in one transaction. Also proves that the file is writable."""
    connection.execute("BEGIN IMMEDIATE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    try:
        for migrate in migrations[version:]:
            migrate(connection)
        connection.execute("SELECT server, kind, dataset_id, id, seen, removed, checksum, object FROM tracked LIMIT 0")
    except sqlite3.Error as error:
        if _code(error) == sqlite3.SQLITE_ERROR:
            raise UnusableContent("corrupt", str(error)) from None
        raise
    if version < len(migrations):
        connection.execute(f"PRAGMA user_version={len(migrations)}")
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute("COMMIT")


class StateDatabase:
    """The connection to the file, reopened after failures. Never raises. Not thread-safe: its owner holds a lock."""

    def __init__(self, path: Path, clock: Clock) -> None:
        # SQLite places its log next to the target of a link.
        self.path = Path(os.path.realpath(path))
        self._clock = clock
        self._identity: tuple[int, int] | None = None
        self._problem: str | None = None
        self._was_replaced = False
        self._copy: sqlite3.Connection | None = None
        self.connection: sqlite3.Connection | None = None
        """None while nothing can be saved."""

    @property
    def readable(self) -> sqlite3.Connection | None:
        """The connection, or a copy of a file that turned out not to be writable."""
        return self.connection or self._copy

    @property
    def damaged(self) -> bool:
        """Whether the file turned out to be damaged after it was opened: ``reopen`` then sets it aside."""
        return self._problem == "corrupt"

    def open(self) -> None:
        """Open or create the file. An unusable one is set aside and replaced."""
        self._connect()
        if self._problem in ("read-only", "full", "disk"):
            self._copy = read_copy(self.path)

    def reopen(self) -> None:
        """Reopen the file if it could not be used or was removed."""
        if self.connection is not None and _identity(self.path) != self._identity:
            _log.warning("state file was removed or replaced: opening a new one", path=str(self.path))
            self._disconnect()
            head = _read_first_page(self.path)
            if not head or _begins_as_ours(head):
                # SQLite would apply the log of the lost file to the new one.
                with contextlib.suppress(OSError):
                    Path(f"{self.path}-wal").unlink()
        if self.connection is None:
            self._connect()

    def report_success(self) -> None:
        """Everything is saved: log the recovery if there was a problem."""
        self._close_copy()
        if self._problem:
            self._problem = None
            _log.info("state is saved again", path=str(self.path))

    def report_failure(self, error: sqlite3.Error) -> None:
        """Close the connection after an error, which rolls back an open transaction, and log the problem."""
        self._disconnect()
        self._report(explain(error, self.path), error)

    def close(self) -> None:
        """Close the file."""
        self._disconnect()
        self._close_copy()

    def _connect(self) -> None:
        try:
            try:
                self.connection = open_database(self.path)
            except UnusableContent as unusable:
                self._set_aside(unusable)
                self.connection = open_database(self.path)
        except StateProblem as problem:
            self._report(problem)
        except sqlite3.Error as error:
            self.report_failure(error)
        self._identity = _identity(self.path)

    def _set_aside(self, unusable: UnusableContent) -> None:
        """Set the file aside, once per run: a failing disk must not fill up with old files."""
        if self._was_replaced:
            raise StateProblem("again", "the file was damaged again: check the disk and restart") from unusable
        try:
            aside = set_aside(self.path, unusable.kind, self._clock.time())
        except OSError as error:
            advice = f"the file is unusable ({unusable.reason}) and cannot be renamed ({error.strerror}): move it away"
            raise StateProblem(unusable.kind, advice) from unusable
        self._was_replaced = True
        _log.warning(
            "state file is unusable: it was set aside, and an empty one was created",
            path=str(self.path),
            set_aside=str(aside),
            reason=unusable.reason,
        )

    def _report(self, problem: StateProblem, error: Exception | None = None) -> None:
        """Log each problem once, not at each retry."""
        if self._problem == problem.kind:
            return
        self._problem = problem.kind
        log = _log.warning if problem.kind == "locked" else _log.error
        log(
            f"state cannot be saved: {problem.advice}. The exporter continues without it and keeps retrying",
            path=str(self.path),
            **({"error": str(error)} if error else {}),
        )

    def _disconnect(self) -> None:
        if self.connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self.connection.close()
            self.connection = None

    def _close_copy(self) -> None:
        if self._copy is not None:
            self._copy.close()
            self._copy = None


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file; None if there is none."""
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None
