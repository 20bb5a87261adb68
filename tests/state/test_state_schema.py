"""The schema of the state file: older files are migrated."""

from __future__ import annotations

import shutil
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from structlog.testing import capture_logs

from exporter.clock import ManualClock
from exporter.state import StateFile
from exporter.state.database import APPLICATION_ID, MIGRATIONS, UnusableContent, open_database
from exporter.state.rows import encode
from exporter.tracking.model import (
    STATUSES,
    Attempt,
    Batch,
    DatasetCounters,
    Detail,
    Distribution,
    Document,
    ProcessRule,
    Progress,
)
from tests.polling.fake_server import DATASET
from tests.state.objects import BATCH, a_document, by_key

if TYPE_CHECKING:
    from collections.abc import Sequence

OLD_FILE = Path(__file__).with_name("written-by-0.1.db")
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


def insert_row(path: Path, key: Sequence[str], fields: dict[str, object]) -> None:
    """Write a row as another version would."""
    open_database(path).close()
    packed = msgspec.msgpack.encode(fields)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO tracked (server, kind, dataset_id, id, seen, checksum, object) VALUES (?, ?, ?, ?, 0, ?, ?)",
            (*key, zlib.crc32(packed), packed),
        )


def read_objects(path: Path) -> object:
    """The objects restored from the file, without any log line."""
    state = StateFile(path, ManualClock())
    with capture_logs() as log:
        state.open()
        found = by_key(state.restore("main"))
        state.close()
    assert [] == log
    return found


def test_an_empty_file_gets_the_current_schema(path: Path) -> None:
    """Schema 0 is an empty file."""
    path.touch()
    assert {} == read_objects(path)
    assert len(MIGRATIONS) == pragma(path, "user_version")
    assert APPLICATION_ID == pragma(path, "application_id")


def test_a_file_of_schema_1_is_read(path: Path) -> None:
    """Every later version reads the file of the first one."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(SCHEMA_1)
        *key, seen, _, checksum, packed = encode(a_document(), 5.0)
        connection.execute("INSERT INTO tracked VALUES (?, ?, ?, ?, ?, ?, ?)", (*key, seen, checksum, packed))
    assert by_key([a_document()]) == read_objects(path)
    assert len(MIGRATIONS) == pragma(path, "user_version")


def test_a_file_written_by_version_0_1_is_read_completely(tmp_path: Path) -> None:
    """A file of the first version restores every field of every object, ages included, and logs nothing.

    ``written-by-0.1.db`` was written by the commit 36a9e45, whose packages, classes and some fields had other names. It
    has all fields of the model of that time with values other than the defaults, half of them from ``save``, half
    from durable writes; then the state was closed.
    """
    path = tmp_path / "state.db"
    shutil.copy(OLD_FILE, path)
    state = StateFile(path, ManualClock(start=1_795_282_570.0))
    with capture_logs() as log:
        state.open()
        main, backup = state.restore("main"), state.restore("backup")
        state.close()

    indexing = Progress("indexing", 1795282000, 1795282001.5, 1795282002, 1795282003, None, 1795282004, None, 4, 9)
    failed = Progress(
        "error",
        1795281000,
        1795281001.5,
        stopped_at=1795281002,
        completed_segments=3,
        total_segments=9,
        has_error=True,
    )
    detail = Detail(
        name="report.pdf",
        data_source_type="upload_file",
        doc_form="hierarchical_model",
        doc_language="English",
        created_from="api",
        display_status="indexing",
        created_at=1795280000,
        updated_at=1795281500,
        disabled_at=1795281600,
        tokens=1200,
        word_count=5000,
        hit_count=7,
        segment_count=9,
        average_segment_length=55.5,
        indexing_latency=12.25,
        enabled=True,
        archived=False,
        has_error=True,
        rule=ProcessRule("hierarchical", "\n\n", "paragraph", 500, 50, 200),
    )
    first, second, third = (
        "c23d659c-2dd9-43a9-9ba1-c2344a7f1127",
        "9d3cd6ef-8d8c-4a8c-b4f8-5d1d2c3bb1c0",
        "0b7a51f0-3c1a-4f7e-8e6e-1f0c8e1b7a55",
    )
    counted = Attempt(failed, counted=True)
    assert [] == log
    assert [
        Document("main", DATASET, third, "", Progress("waiting"), None, 1795282470.0, -100.0),
        Document("main", DATASET, second, BATCH, failed, None, 1795281002.0, -1568.0, attempt=counted),
        Document("main", DATASET, first, BATCH, indexing, detail, 1795282400.5, -169.5, True, Attempt(failed)),
    ] == sorted(main.documents, key=lambda document: document.document_id)
    assert [
        Batch(
            "main",
            DATASET,
            BATCH,
            documents=(first, second),
            counts=tuple({"indexing": 1, "error": 1}.get(status, 0) for status in STATUSES),
            segments=18,
            completed_segments=7,
            last_progress=1795282400.5,
            last_progress_monotonic=-169.5,
            stalled=True,
            eta=1795283000.25,
        )
    ] == main.batches
    assert [
        DatasetCounters(
            "main",
            DATASET,
            finished=((("completed", ""), 5), (("error", "rate_limit"), 2), (("error", "other"), 1)),
            restarted=3,
            phases=(
                ("queued", Distribution((1, 2, 0, 0, 0, 0, 0, 0, 0), 4.5)),
                ("indexing", Distribution((0, 0, 0, 1, 2, 0, 0, 0, 0), 301.25)),
            ),
        )
    ] == main.counters
    completed = Progress("completed", completed_at=1795282100, completed_segments=9, total_segments=9)
    disabled = Detail(enabled=False, archived=True)
    assert ([Document("backup", DATASET, first, "", completed, disabled, 1795282100.0, -470.0)], [], [], []) == backup


def test_each_migration_runs_once(path: Path) -> None:
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


def test_a_failed_migration_changes_nothing(path: Path) -> None:
    """A file is either fully migrated or unchanged."""
    open_database(path).close()
    before = pragma(path, "schema_version")

    def add(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE tracked ADD COLUMN more")

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE nowhere ADD COLUMN more")

    with pytest.raises(UnusableContent, match="nowhere"):
        open_database(path, [*MIGRATIONS, add, fail])
    assert len(MIGRATIONS) == pragma(path, "user_version")
    assert before == pragma(path, "schema_version")


def test_a_header_that_contradicts_the_schema(path: Path) -> None:
    """A file whose header does not match its schema is unusable."""
    for version in (-1, 1):
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript("DROP TABLE IF EXISTS tracked; CREATE TABLE tracked (x)")
            connection.execute(f"PRAGMA user_version={version}")
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        with pytest.raises(UnusableContent):
            open_database(path)


def test_unknown_and_missing_fields(path: Path) -> None:
    """Objects are saved by field name: missing fields have their default, unknown ones are ignored."""
    *key, _, _, _, packed = encode(a_document(), 0.0)
    fields = msgspec.msgpack.decode(packed)
    assert "stalled" not in fields
    insert_row(path, key, {**fields, "colour": "blue"})
    assert by_key([a_document()]) == read_objects(path)


def test_a_disk_error_during_a_migration_is_not_damage(path: Path) -> None:
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
def test_objects_with_unknown_words_are_ignored(path: Path, change: dict[str, object]) -> None:
    """Objects with types or statuses of another version are ignored."""
    *key, _, _, _, packed = encode(a_document(), 0.0)
    insert_row(path, key, {**msgspec.msgpack.decode(packed), **change})
    state = StateFile(path, ManualClock())
    state.open()
    with capture_logs() as log:
        assert {} == by_key(state.restore("main"))
    assert 1 == len(log)
    assert "written by another version" in log[0]["first"]
    state.close()
