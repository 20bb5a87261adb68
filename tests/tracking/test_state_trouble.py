"""The state, when its file fails: the exporter goes on, says so once with the remedy, and keeps trying."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from exporter.clock import ManualClock
from exporter.tracking import State, database, statefile
from tests.tracking.kept import a_document, an_activity, by_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DOCUMENTS = [a_document(number) for number in range(20)]
NOBODY = 65_534


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no lock."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the state is."""
    return tmp_path / "state.db"


def opened(path: Path) -> State:
    """The state, open."""
    state = State(path, ManualClock())
    state.open()
    return state


def filled(path: Path) -> None:
    """Leave a state behind."""
    state = opened(path)
    state.note([(None, document) for document in DOCUMENTS], at_once=False)
    state.close()


def goes_on(state: State) -> None:
    """Whatever is noted is taken, though it cannot be saved; and nothing more is said of that."""
    with capture_logs() as log:
        state.note([(None, a_document(100))], at_once=True)
        assert not state.save()
        assert not state.save()
        assert not state.claim([])
    assert [] == log
    assert state.last_save is None
    assert by_key([a_document(100)]).items() <= by_key(state.recall("main")).items()


def works_again(state: State) -> None:
    """Saving works, which is said once; what waited is in the file."""
    with capture_logs() as log:
        assert state.save()
        assert state.save()
    assert [("info", "the state is saved again")] == [(line["log_level"], line["event"]) for line in log]
    assert state.last_save is not None
    state.close()
    state = opened(Path(log[0]["path"]))
    assert by_key([a_document(100)]).items() <= by_key(state.recall("main")).items()
    state.close()


@contextmanager
def told(level: str, *words: str) -> Iterator[None]:
    """One line of that level, with these words in it."""
    with capture_logs() as log:
        yield
    assert [level] == [line["log_level"] for line in log]
    for word in words:
        assert word in str(log[0])


def test_a_missing_file_is_made_without_a_word(path: Path) -> None:
    """The first start is nothing to warn of."""
    with capture_logs() as log:
        state = opened(path)
        assert by_key([]) == by_key(state.recall("main"))
        assert state.save()
        state.close()
    assert [] == log
    assert path.exists()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """A folder is not made: it may be a volume that is not mounted. Once it is there, saving begins."""
    with told("error", str(tmp_path / "volume"), "create it"):
        state = opened(tmp_path / "volume" / "state.db")
    goes_on(state)
    (tmp_path / "volume").mkdir()
    works_again(state)


def test_a_folder_in_the_place_of_the_file_is_left_alone(path: Path) -> None:
    """Somebody meant a file in it, or a container engine made it: it is not the exporter's to move."""
    path.mkdir()
    with told("error", "it is a folder", "let state.path name a file in it"):
        state = opened(path)
    goes_on(state)
    assert [path] == list(path.parent.iterdir())
    path.rmdir()
    works_again(state)


def test_what_is_no_regular_file_is_left_alone(path: Path) -> None:
    """Nothing waits for the other end of a pipe."""
    os.mkfifo(path)
    with told("error", "no regular file"):
        state = opened(path)
    goes_on(state)
    assert path.is_fifo()
    path.unlink()
    works_again(state)


def test_the_database_of_another_program_is_left_alone(path: Path) -> None:
    """A mistaken path harms nobody."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE dashboard (id)")
    before = path.read_bytes()
    with told("error", "another program", "let state.path name another file"):
        state = opened(path)
    goes_on(state)
    state.close()
    assert before == path.read_bytes()


def test_a_file_in_use_is_tried_again(path: Path) -> None:
    """Two exporters would count everything twice: the second one goes on without the file until it is free."""
    filled(path)
    first = opened(path)
    with told("warning", "another process", "state.path of its own"):
        second = opened(path)
    assert by_key([]) == by_key(second.recall("main"))
    goes_on(second)
    first.note([(None, an_activity(1))], at_once=True)
    assert first.save()
    first.close()
    works_again(second)


@pytest.mark.parametrize(
    "content",
    [b"servers: []\n" * 100, b"\0" * 5000, b"SQLite format 3\0" + b"\xff" * 5000],
    ids=["text", "zeros", "torn"],
)
def test_what_is_no_database_is_set_aside(path: Path, content: bytes) -> None:
    """It is renamed, and a new file is begun."""
    path.write_bytes(content)
    with told("warning", "set aside", "state.db.corrupt-20261121T173430Z"):
        state = opened(path)
    assert by_key([]) == by_key(state.recall("main"))
    state.note([(None, a_document())], at_once=True)
    assert state.save()
    state.close()
    assert content == path.with_name("state.db.corrupt-20261121T173430Z").read_bytes()
    state = opened(path)
    assert by_key([a_document()]) == by_key(state.recall("main"))
    state.close()


def test_what_belongs_to_the_file_is_set_aside_with_it(path: Path) -> None:
    """A log that stayed would be taken for that of the new file."""
    for companion in ("", "-wal", "-shm", "-journal"):
        path.with_name(f"state.db{companion}").write_text(companion)
    aside = database.set_aside(path, "corrupt", 0)
    assert path.with_name("state.db.corrupt-19700101T000000Z") == aside
    found = {file.name: file.read_text() for file in path.parent.iterdir()}
    assert {f"{aside.name}{companion}": companion for companion in ("", "-wal", "-shm", "-journal")} == found


def test_a_damaged_file_is_set_aside(path: Path) -> None:
    """Damage deep inside the file shows when it is opened, not while the exporter works."""
    filled(path)
    content = bytearray(path.read_bytes())
    content[4096:4300] = b"\xff" * 204
    path.write_bytes(content)
    with told("warning", "set aside", "corrupt-"):
        state = opened(path)
    assert by_key([]) == by_key(state.recall("main"))
    state.close()


def test_the_file_of_a_newer_version_is_set_aside(path: Path) -> None:
    """A downgrade begins anew and keeps the newer file for the way back."""
    filled(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=9")
    with told("warning", "schema 9", "state.db.newer-"):
        state = opened(path)
    state.close()
    assert 1 == len(list(path.parent.glob("state.db.newer-*")))


def test_what_cannot_be_set_aside_is_left_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spoilt file that cannot be renamed, such as a mount of its own, leaves the exporter without state."""
    path.write_bytes(b"no database" * 100)

    def refuse(*_: object) -> None:
        raise PermissionError(16, "Device or resource busy")

    monkeypatch.setattr(Path, "rename", refuse)
    with told("error", "cannot be renamed (Device or resource busy)", "move it away"):
        state = opened(path)
    goes_on(state)
    path.unlink()
    works_again(state)


def test_a_disk_that_spoils_every_file_is_not_filled_with_them(path: Path) -> None:
    """One file is set aside in a run; after that the exporter goes on without."""
    path.write_bytes(b"no database" * 100)
    with capture_logs():
        state = opened(path)
    for _ in range(2):
        path.unlink()
        path.write_bytes(b"no database" * 100)
        with capture_logs() as log:
            assert not state.save()
    assert [] == log
    assert 2 == len(list(path.parent.iterdir()))
    state.close()


def test_the_log_of_a_lost_file_is_not_put_into_another(path: Path) -> None:
    """Who puts a copy of the state in its place finds in it what the copy says."""
    filled(path)
    copy = path.read_bytes()
    state = opened(path)
    state.note([(DOCUMENTS[0], None)], at_once=True)
    path.unlink()
    path.write_bytes(copy)
    with told("warning", "taken away"):
        assert state.save()
    assert by_key(DOCUMENTS) == by_key(state.recall("main"))
    state.close()


def test_a_file_that_was_taken_away_is_begun_anew(path: Path) -> None:
    """Saving into a file that has no name any more would look well and help nobody."""
    state = opened(path)
    state.note([(None, document) for document in DOCUMENTS], at_once=True)
    path.unlink()
    state.note([(None, a_document(100))], at_once=False)
    with told("warning", "taken away"):
        assert state.save()
    assert state.claim(DOCUMENTS)
    state.close()
    state = opened(path)
    assert by_key([*DOCUMENTS, a_document(100)]) == by_key(state.recall("main"))
    state.close()


def test_damage_that_shows_while_it_works_begins_a_new_file(path: Path) -> None:
    """What waits goes into a new file in the same save."""
    filled(path)
    state = opened(path)
    assert state._file.connection is not None
    path.write_bytes(b"\xff" * path.stat().st_size)
    state._file.connection.execute("PRAGMA shrink_memory")
    state.note([(None, a_document(100))], at_once=False)
    with capture_logs() as log:
        assert state.save()
    assert ["error", "warning", "info"] == [line["log_level"] for line in log]
    state.close()
    state = opened(path)
    assert by_key([a_document(100)]) == by_key(state.recall("main"))
    state.close()


def test_a_full_disk_in_the_middle(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit waits, and nothing of it is half saved; what was saved before stays."""
    filled(path)
    state = opened(path)

    def small(path: Path) -> sqlite3.Connection:
        connection = database.open_database(path)
        connection.execute("PRAGMA max_page_count=1")
        return connection

    assert state._file.connection is not None
    state._file.connection.execute("PRAGMA max_page_count=1")
    with told("error", "the disk is full", "free some space", "goes on without it"):
        state.note([(None, a_document(number)) for number in range(100, 300)], at_once=True)
    with monkeypatch.context() as patched:
        patched.setattr(statefile, "open_database", small)
        goes_on(state)
    works_again(state)
    state = opened(path)
    expected = [*DOCUMENTS, *(a_document(number) for number in range(100, 300))]
    assert by_key(expected) == by_key(state.recall("main"))
    state.close()


def test_what_changes_while_saving_fails_is_saved_as_it_is_then(path: Path) -> None:
    """A failed save puts nothing old in the place of something new."""
    state = opened(path)
    assert state._file.connection is not None
    state.note([(None, a_document(1)), (None, a_document(2)), (a_document(3), None)], at_once=False)

    def deny(*_: object) -> int:
        state.note([(None, a_document(1, completed=5)), (None, a_document(3)), (a_document(2), None)], at_once=False)
        return sqlite3.SQLITE_DENY

    state._file.connection.set_authorizer(deny)
    with told("error", "look after the disk"):
        assert not state.save()
    assert by_key([a_document(1, completed=5), a_document(3)]) == by_key(state.recall("main"))
    state.close()
    state = opened(path)
    assert by_key([a_document(1, completed=5), a_document(3)]) == by_key(state.recall("main"))
    state.close()


def denying(state: State, action: int) -> None:
    """Let the connection refuse that."""
    assert state._file.connection is not None
    state._file.connection.set_authorizer(
        lambda asked, *_: sqlite3.SQLITE_DENY if asked == action else sqlite3.SQLITE_OK
    )


def test_a_log_that_cannot_be_copied_into_the_file_is_tried_again(path: Path) -> None:
    """Saved is what is in the file itself."""
    state = opened(path)
    state.note([(None, a_document(100))], at_once=True)
    denying(state, sqlite3.SQLITE_PRAGMA)
    with told("error", "look after the disk"):
        assert not state.save()
    works_again(state)


@pytest.mark.parametrize("failing", [lambda state: state.recall("main"), lambda state: state.claim([])])
def test_a_file_that_cannot_be_read_is_tried_again(path: Path, failing: Callable[[State], object]) -> None:
    """Reading fails like writing does."""
    state = opened(path)
    state.note([(None, a_document(100))], at_once=True)
    denying(state, sqlite3.SQLITE_READ)
    with told("error", "look after the disk"):
        assert failing(state) in (False, ([], [], []))
    works_again(state)


def test_a_file_that_may_not_be_written_is_read() -> None:
    """What it says is remembered; what is new waits until it may be written."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.db"
        filled(path)
        path.chmod(0o444)
        Path(folder).chmod(0o555)
        with powerless(), told("error", "it may not be written", "let the exporter's user write"):
            state = opened(path)
        assert by_key(DOCUMENTS) == by_key(state.recall("main"))
        with powerless():
            goes_on(state)
            assert by_key([*DOCUMENTS, a_document(100)]) == by_key(state.recall("main"))
        Path(folder).chmod(0o755)
        path.chmod(0o644)
        works_again(state)


def test_a_spoilt_file_that_may_not_be_written_says_nothing() -> None:
    """A copy of nonsense is no memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.db"
        path.write_bytes(b"no database" * 1000)
        assert database.read_copy(path) is None


@contextmanager
def powerless() -> Iterator[None]:
    """Nobody is above permissions."""
    if os.getuid():
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE tracked SET object = zeroblob(9) WHERE id = ?",
        "UPDATE tracked SET object = 'text' WHERE id = ?",
        "UPDATE tracked SET checksum = 'text' WHERE id = ?",
        "UPDATE tracked SET kind = 'batch' WHERE id = ?",
        "UPDATE tracked SET kind = 'novel' WHERE id = ?",
        "UPDATE tracked SET id = CAST(X'FF' AS TEXT) WHERE id = ?",
        "UPDATE tracked SET id = 5 + (id = '') WHERE id = ?",
        "UPDATE tracked SET id = X'FF' WHERE id = ?",
    ],
)
def test_a_row_that_cannot_be_read_harms_no_other(path: Path, change: str) -> None:
    """It is left out with a warning, the others live."""
    filled(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        assert 1 == connection.execute(change, (DOCUMENTS[3].document_id,)).rowcount
    state = opened(path)
    with told("warning", "cannot be read", "'rows': 1"):
        memory = state.recall("main")
    assert by_key([*DOCUMENTS[:3], *DOCUMENTS[4:]]) == by_key(memory)
    assert state.claim(DOCUMENTS)
    state.close()
