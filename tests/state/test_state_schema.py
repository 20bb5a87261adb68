"""The schema of the state file: older files are migrated."""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
import pytest
from structlog.testing import capture_logs

from exporter.clock import ManualClock
from exporter.state import StateFile
from exporter.state.database import APPLICATION_ID, MIGRATIONS, SpoiltFile, open_database
from exporter.state.rows import encode
from tests.state.saved_objects import a_document, by_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SCHEMA_1 = """
CREATE TABLE tracked (server TEXT, kind TEXT, dataset_id TEXT, id TEXT, seen REAL NOT NULL, checksum INTEGER NOT NULL,
 object BLOB NOT NULL, PRIMARY KEY (server, kind, dataset_id, id)) WITHOUT ROWID;
PRAGMA user_version=1;
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the state file."""
    return tmp_path / "state.db"


def pragma(path: Path, name: str) -> object:
    """A value in the header of the file."""
    with closing(sqlite3.connect(path)) as connection:
        (value,) = connection.execute(f"PRAGMA {name}").fetchone()
        return value


def put(path: Path, key: Sequence[str], fields: dict[str, object]) -> None:
    """Write a row as another version would."""
    open_database(path).close()
    packed = msgspec.msgpack.encode(fields)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO tracked VALUES (?, ?, ?, ?, 0, ?, ?)", (*key, zlib.crc32(packed), packed))


def recalled(path: Path) -> object:
    """The objects recalled from the file, without any log line."""
    state = StateFile(path, ManualClock())
    with capture_logs() as log:
        state.open()
        found = by_key(state.restore("main"))
        state.close()
    assert [] == log
    return found


def test_an_empty_file_gets_the_present_schema(path: Path) -> None:
    """Schema 0 is an empty file."""
    path.touch()
    assert {} == recalled(path)
    assert len(MIGRATIONS) == pragma(path, "user_version")
    assert APPLICATION_ID == pragma(path, "application_id")


def test_a_file_of_schema_1_is_read(path: Path) -> None:
    """Every later version reads the file of the first one."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(SCHEMA_1)
        connection.execute("INSERT INTO tracked VALUES (?, ?, ?, ?, ?, ?, ?)", encode(a_document(), 5.0))
    assert by_key([a_document()]) == recalled(path)
    assert len(MIGRATIONS) == pragma(path, "user_version")


def test_only_the_steps_that_the_file_has_not_seen_are_taken(path: Path) -> None:
    """Each migration runs once, in order."""
    taken: list[str] = []
    steps = [*MIGRATIONS, lambda _: taken.append("second"), lambda _: taken.append("third")]
    open_database(path, steps[: len(MIGRATIONS) + 1]).close()
    assert ["second"] == taken
    open_database(path, steps).close()
    assert ["second", "third"] == taken
    open_database(path, steps).close()
    assert ["second", "third"] == taken
    assert len(steps) == pragma(path, "user_version")


def test_a_step_that_fails_changes_nothing(path: Path) -> None:
    """A file is either fully migrated or unchanged."""
    open_database(path).close()
    before = pragma(path, "schema_version")

    def add(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE tracked ADD COLUMN more")

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE nowhere ADD COLUMN more")

    with pytest.raises(SpoiltFile, match="nowhere"):
        open_database(path, [*MIGRATIONS, add, fail])
    assert len(MIGRATIONS) == pragma(path, "user_version")
    assert before == pragma(path, "schema_version")


def test_a_file_that_says_another_schema_than_it_has_is_spoilt(path: Path) -> None:
    """A file whose header does not match its schema is unusable."""
    for version in (-1, 1):
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript("DROP TABLE IF EXISTS tracked; CREATE TABLE tracked (x)")
            connection.execute(f"PRAGMA user_version={version}")
        with pytest.raises(SpoiltFile):
            open_database(path)


def test_fields_may_come_and_go(path: Path) -> None:
    """Objects are saved by field name: missing fields have their default, unknown ones are ignored."""
    *key, _, _, packed = encode(a_document(), 0.0)
    fields = msgspec.msgpack.decode(packed)
    assert "stalled" not in fields
    put(path, key, {**fields, "colour": "blue"})
    assert by_key([a_document()]) == recalled(path)


def test_a_disk_that_fails_during_the_upgrade_is_not_damage(path: Path) -> None:
    """If the disk fails during a migration, the intact file is retried, not set aside."""

    def fill(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA max_page_count=1")
        connection.execute("CREATE TABLE more (x)")

    open_database(path).close()
    with pytest.raises(sqlite3.OperationalError, match="full"):
        open_database(path, [*MIGRATIONS, fill])
    open_database(path).close()


@pytest.mark.parametrize(
    "change",
    [
        {"progress": 5},
        {"progress": {"status": "dreaming"}},
        {"attempt": {"ended": {"status": "dreaming"}}},
        {"detail": {"display_status": "dreaming"}},
    ],
)
def test_an_object_that_this_version_does_not_know_is_left_out(path: Path, change: dict[str, object]) -> None:
    """Objects with types or statuses of another version are ignored."""
    *key, _, _, packed = encode(a_document(), 0.0)
    put(path, key, {**msgspec.msgpack.decode(packed), **change})
    state = StateFile(path, ManualClock())
    state.open()
    with capture_logs() as log:
        assert {} == by_key(state.restore("main"))
    assert 1 == len(log)
    assert "written by another version" in log[0]["first"]
    state.close()
