"""Failures of the state file: the exporter continues, logs the problem once with its remedy, and keeps retrying."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from exporter.state import StateFile, database
from exporter.state import state_database as statefile
from tests.state.saved_objects import a_document, an_activity, by_key, filled, goes_on, opened, told, works_again

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DOCUMENTS = [a_document(number) for number in range(20)]
NOBODY = 65_534


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for locks."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the state file."""
    return tmp_path / "state.db"


def test_a_missing_file_is_made_without_a_word(path: Path) -> None:
    """The first start logs nothing."""
    with capture_logs() as log:
        state = opened(path)
        assert by_key([]) == by_key(state.restore("main"))
        assert state.save()
        state.close()
    assert [] == log
    assert path.exists()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """A missing directory is not created: it may be an unmounted volume. Once it exists, saving starts."""
    path = tmp_path / "volume" / "state.db"
    with told("error", str(path.parent), "create it"):
        state = opened(path)
    goes_on(state)
    path.parent.mkdir()
    works_again(state, path)


def test_a_folder_in_the_place_of_the_file_is_left_alone(path: Path) -> None:
    """A directory at ``state.path`` is not moved: it may be intentional or created by a container engine."""
    path.mkdir()
    with told("error", "state.path is a directory", "set it to a file in that directory"):
        state = opened(path)
    goes_on(state)
    assert [path] == list(path.parent.iterdir())
    path.rmdir()
    works_again(state, path)


def test_a_path_that_the_system_refuses_is_named(tmp_path: Path) -> None:
    """A path that is too long or inaccessible is reported and stops nothing."""
    with told("error", "is not accessible", "File name too long"):
        state = opened(tmp_path / ("x" * 300))
    goes_on(state)


def test_what_is_no_regular_file_is_left_alone(path: Path) -> None:
    """A pipe is reported, and nothing waits for its other end."""
    os.mkfifo(path)
    with told("error", "not a regular file"):
        state = opened(path)
    goes_on(state)
    assert path.is_fifo()
    path.unlink()
    works_again(state, path)


def test_the_database_of_another_program_is_left_alone(path: Path) -> None:
    """Another program's database is not modified."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE dashboard (id)")
    before = path.read_bytes()
    with told("error", "another program", "change state.path"):
        state = opened(path)
    goes_on(state)
    state.close()
    assert before == path.read_bytes()


def test_a_file_in_use_is_tried_again(path: Path) -> None:
    """A second exporter runs without the file until it is released: sharing it would count everything twice."""
    filled(path)
    first = opened(path)
    with told("warning", "another process", "its own state.path"):
        second = opened(path)
    assert by_key([]) == by_key(second.restore("main"))
    goes_on(second)
    first.changed([(None, an_activity(1))], durable=True)
    assert first.save()
    first.close()
    works_again(second, path)


def test_a_full_disk_in_the_middle(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes that do not fit stay pending, none is partly saved, and saved ones are kept."""
    filled(path)
    state = opened(path)

    def small(path: Path) -> sqlite3.Connection:
        connection = database.open_database(path)
        connection.execute("PRAGMA max_page_count=1")
        return connection

    assert state._file.connection is not None
    state._file.connection.execute("PRAGMA max_page_count=1")
    with told("error", "the disk is full", "free some space", "continues without it"):
        state.changed([(None, a_document(number)) for number in range(100, 300)], durable=True)
    with monkeypatch.context() as patched:
        patched.setattr(statefile, "open_database", small)
        goes_on(state)
    works_again(state, path)
    state = opened(path)
    expected = [*DOCUMENTS, *(a_document(number) for number in range(100, 300))]
    assert by_key(expected) == by_key(state.restore("main"))
    state.close()


def test_what_changes_while_saving_fails_is_saved_as_it_is_then(path: Path) -> None:
    """A failed save does not replace newer pending changes with older ones."""
    state = opened(path)
    assert state._file.connection is not None
    state.changed([(None, a_document(1)), (None, a_document(2)), (a_document(3), None)], durable=False)

    def deny(*_: object) -> int:
        state.changed([(None, a_document(1, completed=5)), (None, a_document(3)), (a_document(2), None)], durable=False)
        return sqlite3.SQLITE_DENY

    state._file.connection.set_authorizer(deny)
    with told("error", "check the disk"):
        assert not state.save()
    assert by_key([a_document(1, completed=5), a_document(3)]) == by_key(state.restore("main"))
    state.close()
    state = opened(path)
    assert by_key([a_document(1, completed=5), a_document(3)]) == by_key(state.restore("main"))
    state.close()


def denying(state: StateFile, action: int) -> None:
    """Let SQLite deny that action."""
    assert state._file.connection is not None
    state._file.connection.set_authorizer(
        lambda asked, *_: sqlite3.SQLITE_DENY if asked == action else sqlite3.SQLITE_OK
    )


def test_a_log_that_cannot_be_copied_into_the_file_is_tried_again(path: Path) -> None:
    """A save counts as successful only once the data is in the file itself."""
    state = opened(path)
    state.changed([(None, a_document(100))], durable=True)
    denying(state, sqlite3.SQLITE_PRAGMA)
    with told("error", "check the disk"):
        assert not state.save()
    works_again(state, path)


@pytest.mark.parametrize("failing", [lambda state: state.restore("main"), lambda state: state.claim([])])
def test_a_file_that_cannot_be_read_is_tried_again(path: Path, failing: Callable[[StateFile], object]) -> None:
    """A read failure is handled like a write failure."""
    state = opened(path)
    state.changed([(None, a_document(100))], durable=True)
    denying(state, sqlite3.SQLITE_READ)
    with told("error", "check the disk"):
        assert failing(state) in (False, ([], [], []))
    works_again(state, path)


def test_a_file_that_may_not_be_written_is_read() -> None:
    """A read-only file is recalled; new changes wait until it is writable."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.db"
        filled(path)
        path.chmod(0o444)
        Path(folder).chmod(0o555)
        with powerless(), told("error", "the file is not writable", "give the exporter's user write access"):
            state = opened(path)
        assert by_key(DOCUMENTS) == by_key(state.restore("main"))
        with powerless():
            goes_on(state)
            assert by_key([*DOCUMENTS, a_document(100)]) == by_key(state.restore("main"))
        Path(folder).chmod(0o755)
        path.chmod(0o644)
        works_again(state, path)


@contextmanager
def powerless() -> Iterator[None]:
    """Run as an unprivileged user: root bypasses file permissions."""
    if os.getuid():
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
