"""A damaged or missing state file: it is set aside, an empty one is created, and damaged data is never used."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from exporter.clock import ManualClock
from exporter.state import database
from exporter.tracking.model import Attempt, Detail, ProcessRule, Progress
from tests.state.objects import (
    a_batch,
    a_document,
    by_key,
    continues_without_saving,
    fill_file,
    logs_once,
    open_state,
    saves_again,
)

DOCUMENTS = [a_document(number) for number in range(20)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the state file."""
    return tmp_path / "state.db"


def damage(path: Path) -> bytes:
    """Save some objects, and damage the file behind its beginning. Returns its content."""
    fill_file(path)
    content = bytearray(path.read_bytes())
    content[4096:4300] = b"\xff" * 204
    path.write_bytes(content)
    return bytes(content)


def test_a_damaged_file_is_replaced(path: Path) -> None:
    """A damaged state file is renamed, and a new one is created."""
    content = damage(path)
    with logs_once("warning", "set aside", "state.db.corrupt-20261121T173430Z"):
        state = open_state(path)
    assert by_key([]) == by_key(state.restore("main"))
    state.changed([(None, a_document())], durable=True)
    assert state.save()
    state.close()
    assert content == path.with_name("state.db.corrupt-20261121T173430Z").read_bytes()
    state = open_state(path)
    assert by_key([a_document()]) == by_key(state.restore("main"))
    state.close()


def test_log_files_are_set_aside_with_the_file(path: Path) -> None:
    """SQLite's log is renamed too: SQLite would apply it to the new file."""
    for companion in ("", "-wal", "-shm", "-journal"):
        path.with_name(f"state.db{companion}").write_text(companion)
    aside = database.set_aside(path, "corrupt", 0)
    assert path.with_name("state.db.corrupt-19700101T000000Z") == aside
    found = {file.name: file.read_text() for file in path.parent.iterdir()}
    assert {f"{aside.name}{companion}": companion for companion in ("", "-wal", "-shm", "-journal")} == found


def test_a_file_with_unknown_write_format_is_set_aside(path: Path) -> None:
    """A flipped bit in the header does not prevent saving forever."""
    fill_file(path)
    content = bytearray(path.read_bytes())
    content[18] ^= 1
    path.write_bytes(content)
    with logs_once("warning", "set aside", "corrupt-"):
        state = open_state(path)
    state.changed([(None, a_document())], durable=True)
    assert state.save()
    state.close()


def test_the_file_of_a_newer_version_is_set_aside(path: Path) -> None:
    """After a downgrade the newer file remains for an upgrade, and a new one is created."""
    fill_file(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=9")
    with logs_once("warning", "schema 9", "state.db.newer-"):
        state = open_state(path)
    state.close()
    assert 1 == len(list(path.parent.glob("state.db.newer-*")))


def test_a_damaged_file_that_cannot_be_renamed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a damaged file cannot be renamed, for example a mount, the exporter runs without state."""
    damage(path)

    def refuse(*_: object) -> None:
        raise PermissionError(16, "Device or resource busy")

    monkeypatch.setattr(Path, "rename", refuse)
    with logs_once("error", "cannot be renamed (Device or resource busy)", "move it away"):
        state = open_state(path)
    continues_without_saving(state)
    path.unlink()
    saves_again(state, path)


def test_only_one_file_per_run_is_set_aside(path: Path) -> None:
    """One file is set aside per run; after that the exporter continues without state."""
    content = damage(path)
    with capture_logs():
        state = open_state(path)
    for _ in range(2):
        path.unlink()
        path.write_bytes(content)
        with capture_logs() as log:
            assert not state.save()
    assert [] == log
    assert 2 == len(list(path.parent.iterdir()))
    state.close()


def test_the_log_of_a_lost_file_is_not_applied_to_another(path: Path) -> None:
    """A copy that replaces the file is read as it is, without the log of the lost file."""
    fill_file(path)
    copy = path.read_bytes()
    state = open_state(path)
    state.changed([(DOCUMENTS[0], None)], durable=True)
    path.unlink()
    path.write_bytes(copy)
    with logs_once("warning", "state file was removed or replaced"):
        assert state.save()
    assert by_key(DOCUMENTS) == by_key(state.restore("main"))
    state.close()


def test_a_removed_file_is_created_again(path: Path) -> None:
    """If the file is removed, a new one is created: saving to an unlinked file would be useless."""
    state = open_state(path)
    state.changed([(None, document) for document in DOCUMENTS], durable=True)
    path.unlink()
    state.changed([(None, a_document(100))], durable=False)
    with logs_once("warning", "state file was removed or replaced"):
        assert state.save()
    assert state.claim(DOCUMENTS)
    state.close()
    state = open_state(path)
    assert by_key([*DOCUMENTS, a_document(100)]) == by_key(state.restore("main"))
    state.close()


def test_damage_during_operation_starts_a_new_file(path: Path) -> None:
    """After damage during operation, pending changes go to a new file in the same save."""
    fill_file(path)
    state = open_state(path)
    assert state._database.connection is not None
    content = path.read_bytes()
    path.write_bytes(content[:200] + b"\xff" * (len(content) - 200))
    state._database.connection.execute("PRAGMA shrink_memory")
    state.changed([(None, a_document(100))], durable=False)
    with capture_logs() as log:
        assert state.save()
    assert ["error", "warning", "info"] == [line["log_level"] for line in log]
    state.close()
    state = open_state(path)
    assert by_key([a_document(100)]) == by_key(state.restore("main"))
    state.close()


def test_a_damaged_read_only_file_is_not_read(path: Path) -> None:
    """Nothing is restored from a damaged file that is not writable."""
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
def test_a_damaged_row_affects_no_other(path: Path, change: str) -> None:
    """A damaged row is skipped with a warning; the others are restored."""
    fill_file(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        assert 1 == connection.execute(change, (DOCUMENTS[3].document_id,)).rowcount
    state = open_state(path)
    with logs_once("warning", "could not be read", "'rows': 1"):
        restored = state.restore("main")
    assert by_key([*DOCUMENTS[:3], *DOCUMENTS[4:]]) == by_key(restored)
    assert state.claim(DOCUMENTS)
    state.close()


@pytest.mark.parametrize("odd", [1.7e308, -1e300, float("inf"), float("nan"), -(10**11), 2**64 - 1])
def test_numbers_out_of_range_are_restored_as_unknown(path: Path, odd: float) -> None:
    """Earlier versions saved numbers as the API returned them: they are lost alone, without a warning."""
    good = DOCUMENTS[0]
    progress = Progress("completed", 5, completed_at=odd, completed_segments=odd, total_segments=7)
    rule, detail = ProcessRule("custom", max_tokens=odd, overlap_tokens=3), Detail("a.txt", created_at=odd, hit_count=2)
    document = replace(
        good, progress=progress, detail=replace(detail, tokens=odd, rule=rule), attempt=Attempt(progress, counted=True)
    )
    batch = replace(a_batch(good), segments=odd, completed_segments=4)
    state = open_state(path)
    state.changed([(None, document), (None, batch), (None, DOCUMENTS[1])], durable=False)
    state.close()
    state = open_state(path)
    with capture_logs() as log:
        restored = state.restore("main")
    state.close()
    valid = Progress("completed", 5, total_segments=7)
    expected = replace(
        good,
        progress=valid,
        detail=Detail("a.txt", hit_count=2, rule=ProcessRule("custom", overlap_tokens=3)),
        attempt=Attempt(valid, counted=True),
    )
    assert by_key([expected, replace(batch, segments=None), DOCUMENTS[1]]) == by_key(restored)
    assert [] == log


@pytest.mark.parametrize("odd", [1e300, -1e300, float("inf"), float("-inf")])
def test_an_absurd_time_of_the_last_progress_is_now(path: Path, odd: float) -> None:
    """The age of a restored object is never infinite, nor older than 1970."""
    state = open_state(path)
    state.changed([(None, replace(DOCUMENTS[0], last_progress=odd))], durable=False)
    state.close()
    clock = ManualClock()
    state = open_state(path, clock)
    (document,) = state.restore("main").documents
    state.close()
    assert clock.monotonic() == document.last_progress_monotonic
