"""Failures of the state file: the exporter continues, logs the problem once with its remedy, and keeps retrying."""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from exporter.state import StateFile, database
from tests.state.objects import (
    a_document,
    by_key,
    continues_without_saving,
    fill_file,
    logs_once,
    open_state,
    saves_again,
    some_counters,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DOCUMENTS = [a_document(number) for number in range(20)]
NOBODY = 65_534


@pytest.fixture(autouse=True)
def _no_lock_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for locks."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the state file."""
    return tmp_path / "state.db"


def test_a_missing_file_is_created_silently(path: Path) -> None:
    """The first start logs nothing."""
    with capture_logs() as log:
        state = open_state(path)
        assert by_key([]) == by_key(state.restore("main"))
        assert state.save()
        state.close()
    assert [] == log
    assert path.exists()


def test_a_missing_directory(tmp_path: Path) -> None:
    """A missing directory is not created: it may be an unmounted volume. Once it exists, saving starts."""
    path = tmp_path / "volume" / "state.db"
    with logs_once("error", str(path.parent), "create it"):
        state = open_state(path)
    continues_without_saving(state)
    path.parent.mkdir()
    saves_again(state, path)


def test_a_directory_at_the_path(path: Path) -> None:
    """A directory at ``state.path`` is not moved: it may be intentional or created by a container engine."""
    path.mkdir()
    with logs_once("error", "state.path is a directory", "set it to a file in that directory"):
        state = open_state(path)
    continues_without_saving(state)
    assert [path] == list(path.parent.iterdir())
    path.rmdir()
    saves_again(state, path)


def test_an_inaccessible_path(tmp_path: Path) -> None:
    """A path that is too long or inaccessible is reported and stops nothing."""
    with logs_once("error", "is not accessible", "File name too long"):
        state = open_state(tmp_path / ("x" * 300))
    continues_without_saving(state)


def test_a_pipe_at_the_path(path: Path) -> None:
    """A pipe is reported, and nothing waits for its other end."""
    os.mkfifo(path)
    with logs_once("error", "not a regular file"):
        state = open_state(path)
    continues_without_saving(state)
    assert path.is_fifo()
    path.unlink()
    saves_again(state, path)


NO_STATE_FILES = {
    "text": b"servers: []\n" * 100,
    "key": b"dataset-a-key-in-a-file\n",
    "zeros": b"\0" * 5000,
    "torn": b"SQLite format 3\0" + b"\xff" * 5000,
    "cut": b"SQLite format 3\0",
}


@pytest.mark.parametrize("content", NO_STATE_FILES.values(), ids=NO_STATE_FILES)
def test_a_file_that_is_no_state_file_is_not_touched(path: Path, content: bytes) -> None:
    """A wrong ``state.path`` moves and changes nothing, not even the target of a link: the exporter saves nothing."""
    target = path.with_name("target")
    target.write_bytes(content)
    path.symlink_to(target)
    target.chmod(0o644)
    with logs_once("error", "is not a state file", "set state.path to another file", str(target)):
        state = open_state(path)
    continues_without_saving(state)
    assert {path, target} == {*path.parent.iterdir()}
    assert path.is_symlink()
    assert (content, 0o644) == (target.read_bytes(), stat.S_IMODE(target.stat().st_mode))
    target.unlink()
    saves_again(state, path)


@pytest.mark.parametrize("statement", ["CREATE TABLE dashboard (id)", "CREATE TABLE tracked (id)"])
@pytest.mark.parametrize("damage", [0, 400])
@pytest.mark.parametrize("application", [0, 7])
def test_the_database_of_another_program(path: Path, statement: str, damage: int, application: int) -> None:
    """Another program's database is not modified, intact or damaged, nor its log."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA application_id={application}")
        connection.execute(statement)
        content, log = path.read_bytes(), path.with_name("state.db-wal").read_bytes()
    content = content[: 108 + 100] + b"\xff" * damage + content[108 + 100 + damage :]
    files = {path: content, path.with_name("state.db-wal"): log}
    for file, written in files.items():
        file.write_bytes(written)
    with logs_once("error", "another program", "set state.path to another file"):
        state = open_state(path)
    continues_without_saving(state)
    state.close()
    assert files == {file: file.read_bytes() for file in path.parent.iterdir()}


def test_another_database_in_place_of_the_file(path: Path) -> None:
    """If another program's database takes the place of the file in use, neither it nor its log is changed."""
    state = open_state(path)
    other = path.with_name("other.db")
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE dashboard (id)")
        connection.execute("PRAGMA wal_checkpoint")
        connection.execute("INSERT INTO dashboard VALUES (1)")
        connection.commit()
        files = {path: other.read_bytes(), path.with_name("state.db-wal"): Path(f"{other}-wal").read_bytes()}
    for file, content in files.items():
        other.write_bytes(content)
        other.replace(file)
    with capture_logs() as log:
        assert not state.save()
        state.close()

    assert any("another program" in line["event"] for line in log)
    assert files == {file: file.read_bytes() for file in files}


def test_an_existing_file_becomes_private(path: Path) -> None:
    """Other users cannot read a file that an earlier version or a backup created for all, nor its log."""
    fill_file(path)
    companions = [path, path.with_name("state.db-wal"), path.with_name("state.db-shm")]
    for companion in companions:
        companion.touch()
        companion.chmod(0o664)
    state = open_state(path)
    state.changed([(None, a_document(100))], durable=True)

    assert {0o600} == {stat.S_IMODE(companion.stat().st_mode) for companion in companions if companion.exists()}
    state.close()


def test_a_locked_file_is_retried(path: Path) -> None:
    """A second exporter runs without the file until it is released: sharing it would count everything twice."""
    fill_file(path)
    first = open_state(path)
    with logs_once("warning", "another process", "its own state.path"):
        second = open_state(path)
    assert by_key([]) == by_key(second.restore("main"))
    continues_without_saving(second)
    first.changed([(None, some_counters(1))], durable=True)
    assert first.save()
    first.close()
    saves_again(second, path)


def test_a_disk_that_fills_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes that do not fit stay pending, none is partly saved, and saved ones remain."""
    fill_file(path)
    state = open_state(path)

    open_database = database.open_database

    def small(path: Path) -> sqlite3.Connection:
        connection = open_database(path)
        connection.execute("PRAGMA max_page_count=1")
        return connection

    assert state._database.connection is not None
    state._database.connection.execute("PRAGMA max_page_count=1")
    with logs_once("error", "the disk is full", "free some space", "continues without it"):
        state.changed([(None, a_document(number)) for number in range(100, 300)], durable=True)
    with monkeypatch.context() as patched:
        patched.setattr(database, "open_database", small)
        continues_without_saving(state)
    saves_again(state, path)
    state = open_state(path)
    expected = [*DOCUMENTS, *(a_document(number) for number in range(100, 300))]
    assert by_key(expected) == by_key(state.restore("main"))
    state.close()


def test_changes_during_a_failed_save_win(path: Path) -> None:
    """A failed save does not replace newer pending changes with older ones."""
    state = open_state(path)
    assert state._database.connection is not None
    state.changed([(None, a_document(1)), (None, a_document(2)), (a_document(3), None)], durable=False)

    def deny(*_: object) -> int:
        state.changed([(None, a_document(1, completed=5)), (None, a_document(3)), (a_document(2), None)], durable=False)
        return sqlite3.SQLITE_DENY

    state._database.connection.set_authorizer(deny)
    with logs_once("error", "check the disk"):
        assert not state.save()
    assert by_key([a_document(1, completed=5), a_document(3)]) == by_key(state.restore("main"))
    state.close()
    state = open_state(path)
    assert by_key([a_document(1, completed=5), a_document(3)]) == by_key(state.restore("main"))
    state.close()


def deny(state: StateFile, action: int) -> None:
    """Let SQLite deny that action."""
    assert state._database.connection is not None
    state._database.connection.set_authorizer(
        lambda asked, *_: sqlite3.SQLITE_DENY if asked == action else sqlite3.SQLITE_OK
    )


def test_a_failed_checkpoint_is_retried(path: Path) -> None:
    """A save counts as successful only once the data is in the file itself."""
    state = open_state(path)
    state.changed([(None, a_document(100))], durable=True)
    deny(state, sqlite3.SQLITE_PRAGMA)
    with logs_once("error", "check the disk"):
        assert not state.save()
    saves_again(state, path)


@pytest.mark.parametrize("failing", [lambda state: state.restore("main"), lambda state: state.claim([])])
def test_a_failed_read_is_retried(path: Path, failing: Callable[[StateFile], object]) -> None:
    """A read failure is handled like a write failure."""
    state = open_state(path)
    state.changed([(None, a_document(100))], durable=True)
    deny(state, sqlite3.SQLITE_READ)
    with logs_once("error", "check the disk"):
        assert failing(state) in (False, ([], [], [], []))
    saves_again(state, path)


def test_a_read_only_file_is_read() -> None:
    """A read-only file is read; new changes wait until it is writable."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.db"
        fill_file(path)
        path.chmod(0o444)
        Path(folder).chmod(0o555)
        with unprivileged(), logs_once("error", "the file is not writable", "give the exporter's user write access"):
            state = open_state(path)
        assert by_key(DOCUMENTS) == by_key(state.restore("main"))
        with unprivileged():
            continues_without_saving(state)
            assert by_key([*DOCUMENTS, a_document(100)]) == by_key(state.restore("main"))
        Path(folder).chmod(0o755)
        path.chmod(0o644)
        saves_again(state, path)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Run as an unprivileged user: root bypasses file permissions."""
    if os.getuid():
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
