"""The state file: rows of removed objects stay and are recalled; saving costs nothing when nothing has changed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from exporter.clock import ManualClock
from exporter.state.state_file import SYNC_EVERY
from exporter.tracking import Batch, DatasetCounters, Document
from tests.polling.fake_server import DATASET
from tests.state.objects import BATCH, a_batch, a_document, by_key, open_state, some_counters

if TYPE_CHECKING:
    from pathlib import Path

OTHER = "a7d082b4-b651-4647-810f-f1a7176fe54f"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the state file."""
    return tmp_path / "state.db"


@pytest.mark.parametrize("saved", [False, True], ids=["waiting", "saved"])
def test_removed_objects_are_recalled(path: Path, saved: bool) -> None:
    """A removed object is recalled by its id, whether its removal waits or is saved."""
    document, counters = a_document(1), some_counters(3)
    batch = a_batch(document)
    state = open_state(path)
    state.changed([(None, found) for found in (document, batch, counters)], durable=True)
    state.changed([(found, None) for found in (document, batch, counters)])
    if saved:
        state.save()
    assert by_key([document]) == by_key(state.recall("main", Document, DATASET, (document.document_id, "unknown")))
    assert by_key([batch]) == by_key(state.recall("main", Batch, DATASET, (BATCH,)))
    assert [counters] == state.recall("main", DatasetCounters, DATASET, ("",))
    assert [] == state.recall("main", Document, OTHER, (document.document_id,))
    assert [] == state.recall("other", Document, DATASET, (document.document_id,))
    assert [] == state.recall("main", Document, DATASET, ())
    state.close()


@pytest.mark.parametrize("saved", [False, True], ids=["waiting", "saved"])
def test_all_removed_objects_of_a_dataset_are_recalled(path: Path, saved: bool) -> None:
    """Without ids, the removed documents of one dataset are recalled; those that were not removed are not."""
    documents = [a_document(number) for number in range(4)]
    elsewhere = replace(a_document(5), dataset_id=OTHER)
    state = open_state(path)
    state.changed([(None, found) for found in (*documents, elsewhere)], durable=True)
    state.changed([(found, None) for found in (*documents[:2], elsewhere)])
    state.changed([(some_counters(), None)])
    if saved:
        state.save()
    assert by_key(documents[:2]) == by_key(state.recall("main", Document, DATASET, None))
    state.close()


def test_an_object_that_returns_is_restored_again(path: Path) -> None:
    """A removed object that was changed again is an ordinary one after a restart."""
    state = open_state(path)
    state.changed([(None, a_document())], durable=True)
    state.changed([(a_document(), None)], durable=True)
    state.changed([(None, a_document(completed=4))], durable=True)
    assert [] == state.recall("main", Document, DATASET, None)
    state.close()
    state = open_state(path)
    assert by_key([a_document(completed=4)]) == by_key(state.restore("main"))
    state.close()


def test_many_objects_are_recalled_at_once(path: Path) -> None:
    """A batch can have more documents than SQLite allows parameters."""
    documents = [a_document(number) for number in range(2_000)]
    state = open_state(path)
    state.changed([(found, None) for found in documents], durable=True)
    found = state.recall("main", Document, DATASET, ["\ud800", *(document.document_id for document in documents)])
    assert by_key(documents) == by_key(found)
    state.close()


def test_rows_of_removed_objects_are_deleted_after_thirty_days(path: Path) -> None:
    """A removed object is recalled for 30 days after its removal."""
    clock = ManualClock()
    state = open_state(path, clock)
    state.changed([(None, a_document())], durable=True)
    clock.advance(40 * 86_400)
    state.changed([(a_document(), None)], durable=True)
    clock.advance(30 * 86_400)
    state.claim([])
    assert [a_document().document_id] == [
        found.document_id for found in state.recall("main", Document, DATASET, (a_document().document_id,))
    ]
    clock.advance(1)
    state.claim([])
    assert [] == state.recall("main", Document, DATASET, (a_document().document_id,))
    state.close()


def test_a_damaged_row_is_not_recalled(path: Path) -> None:
    """A row that cannot be read is reported and counts as none."""
    state = open_state(path)
    state.changed([(None, a_document())], durable=True)
    state.changed([(a_document(), None)], durable=True)
    state.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE tracked SET checksum = checksum + 1")
    state = open_state(path)
    with capture_logs() as log:
        assert [] == state.recall("main", Document, DATASET, (a_document().document_id,))
    assert ["rows of the state file could not be read and are ignored"] == [line["event"] for line in log]
    state.close()


def test_nothing_is_recalled_without_a_usable_file(tmp_path: Path) -> None:
    """While the file cannot be used, only what waits to be written is recalled."""
    state = open_state(tmp_path / "missing" / "state.db")
    state.changed([(a_document(1), None)])
    assert by_key([a_document(1)]) == by_key(state.recall("main", Document, DATASET, (a_document(1).document_id, "2")))
    state.close()


def test_saving_does_nothing_when_nothing_has_changed(path: Path) -> None:
    """Without a change, no statement reaches SQLite; with changes, the disk is synced every 30 s and at the end."""
    clock = ManualClock()
    state = open_state(path, clock)
    statements: list[str] = []
    assert state._database.connection is not None
    state._database.connection.set_trace_callback(statements.append)

    def syncs() -> int:
        found = sum("wal_checkpoint" in statement for statement in statements)
        statements.clear()
        return found

    for _ in range(20):
        clock.advance(5)
        assert state.save()
    assert [] == statements
    assert clock.time() == state.last_save

    found = []
    for completed in range(18):
        state.changed([(None, a_document(completed=completed))])
        clock.advance(5)
        assert state.save()
        assert any("INSERT" in statement for statement in statements)
        found.append(syncs())
    assert 90 / SYNC_EVERY == sum(found)

    state.changed([(None, a_document(completed=19))], durable=True)
    assert state.save()
    state.close()
    assert 1 == syncs()
