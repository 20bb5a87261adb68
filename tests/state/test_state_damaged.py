"""A damaged or missing state file: it is set aside, an empty one is created, and damaged data is never used."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter.state import database
from tests.state.saved_objects import a_document, by_key, filled, goes_on, opened, told, works_again

DOCUMENTS = [a_document(number) for number in range(20)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the state file."""
    return tmp_path / "state.db"


@pytest.mark.parametrize(
    "content",
    [b"servers: []\n" * 100, b"\0" * 5000, b"SQLite format 3\0" + b"\xff" * 5000],
    ids=["text", "zeros", "torn"],
)
def test_what_is_no_database_is_set_aside(path: Path, content: bytes) -> None:
    """A file that is no database is renamed, and a new one is created."""
    path.write_bytes(content)
    with told("warning", "set aside", "state.db.corrupt-20261121T173430Z"):
        state = opened(path)
    assert by_key([]) == by_key(state.restore("main"))
    state.changed([(None, a_document())], durable=True)
    assert state.save()
    state.close()
    assert content == path.with_name("state.db.corrupt-20261121T173430Z").read_bytes()
    state = opened(path)
    assert by_key([a_document()]) == by_key(state.restore("main"))
    state.close()


def test_what_belongs_to_the_file_is_set_aside_with_it(path: Path) -> None:
    """SQLite's log is renamed too: SQLite would apply it to the new file."""
    for companion in ("", "-wal", "-shm", "-journal"):
        path.with_name(f"state.db{companion}").write_text(companion)
    aside = database.set_aside(path, "corrupt", 0)
    assert path.with_name("state.db.corrupt-19700101T000000Z") == aside
    found = {file.name: file.read_text() for file in path.parent.iterdir()}
    assert {f"{aside.name}{companion}": companion for companion in ("", "-wal", "-shm", "-journal")} == found


def test_a_damaged_file_is_set_aside(path: Path) -> None:
    """Damage deep inside the file is detected when it is opened, not during operation."""
    filled(path)
    content = bytearray(path.read_bytes())
    content[4096:4300] = b"\xff" * 204
    path.write_bytes(content)
    with told("warning", "set aside", "corrupt-"):
        state = opened(path)
    assert by_key([]) == by_key(state.restore("main"))
    state.close()


def test_a_file_that_sqlite_would_only_read_is_set_aside(path: Path) -> None:
    """A flipped bit in the header does not prevent saving forever."""
    filled(path)
    content = bytearray(path.read_bytes())
    content[18] ^= 1
    path.write_bytes(content)
    with told("warning", "set aside", "corrupt-"):
        state = opened(path)
    state.changed([(None, a_document())], durable=True)
    assert state.save()
    state.close()


def test_the_file_of_a_newer_version_is_set_aside(path: Path) -> None:
    """After a downgrade the newer file is kept for the way back, and a new one is created."""
    filled(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=9")
    with told("warning", "schema 9", "state.db.newer-"):
        state = opened(path)
    state.close()
    assert 1 == len(list(path.parent.glob("state.db.newer-*")))


def test_what_cannot_be_set_aside_is_left_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a damaged file cannot be renamed, for example a mount, the exporter runs without state."""
    path.write_bytes(b"no database" * 100)

    def refuse(*_: object) -> None:
        raise PermissionError(16, "Device or resource busy")

    monkeypatch.setattr(Path, "rename", refuse)
    with told("error", "cannot be renamed (Device or resource busy)", "move it away"):
        state = opened(path)
    goes_on(state)
    path.unlink()
    works_again(state, path)


def test_a_disk_that_spoils_every_file_is_not_filled_with_them(path: Path) -> None:
    """One file is set aside per run; after that the exporter continues without state."""
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
    """A copy that replaces the file is read as it is, without the log of the lost file."""
    filled(path)
    copy = path.read_bytes()
    state = opened(path)
    state.changed([(DOCUMENTS[0], None)], durable=True)
    path.unlink()
    path.write_bytes(copy)
    with told("warning", "state file was removed or replaced"):
        assert state.save()
    assert by_key(DOCUMENTS) == by_key(state.restore("main"))
    state.close()


def test_a_file_that_was_taken_away_is_begun_anew(path: Path) -> None:
    """If the file is removed, a new one is created: saving to an unlinked file would be useless."""
    state = opened(path)
    state.changed([(None, document) for document in DOCUMENTS], durable=True)
    path.unlink()
    state.changed([(None, a_document(100))], durable=False)
    with told("warning", "state file was removed or replaced"):
        assert state.save()
    assert state.claim(DOCUMENTS)
    state.close()
    state = opened(path)
    assert by_key([*DOCUMENTS, a_document(100)]) == by_key(state.restore("main"))
    state.close()


def test_damage_that_shows_while_it_works_begins_a_new_file(path: Path) -> None:
    """After damage during operation, pending changes go to a new file in the same save."""
    filled(path)
    state = opened(path)
    assert state._file.connection is not None
    path.write_bytes(b"\xff" * path.stat().st_size)
    state._file.connection.execute("PRAGMA shrink_memory")
    state.changed([(None, a_document(100))], durable=False)
    with capture_logs() as log:
        assert state.save()
    assert ["error", "warning", "info"] == [line["log_level"] for line in log]
    state.close()
    state = opened(path)
    assert by_key([a_document(100)]) == by_key(state.restore("main"))
    state.close()


def test_a_spoilt_file_that_may_not_be_written_says_nothing(path: Path) -> None:
    """Nothing is recalled from a damaged file that is not writable."""
    path.write_bytes(b"no database" * 1000)
    assert database.read_copy(path) is None


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
    """A damaged row is skipped with a warning; the others are recalled."""
    filled(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        assert 1 == connection.execute(change, (DOCUMENTS[3].document_id,)).rowcount
    state = opened(path)
    with told("warning", "could not be read", "'rows': 1"):
        memory = state.restore("main")
    assert by_key([*DOCUMENTS[:3], *DOCUMENTS[4:]]) == by_key(memory)
    assert state.claim(DOCUMENTS)
    state.close()
