"""The state file: rows that nothing claims are deleted."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from exporter.clock import ManualClock
from exporter.state import StateFile
from exporter.state.state_file import GRACE_PERIOD
from tests.state.objects import a_document, by_key, count_rows, open_state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from exporter.tracking import Document

DEADLINE = 60.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the state file."""
    return tmp_path / "state.db"


@pytest.fixture
def clock() -> ManualClock:
    """A manually advanced clock."""
    return ManualClock()


def test_unclaimed_rows_are_deleted_after_thirty_days(path: Path, clock: ManualClock) -> None:
    """A batch removed from the configuration is deleted after 30 days; claimed rows stay even if they never change."""
    settled, removed = a_document(1), a_document(2)
    state = open_state(path, clock)
    state.changed([(None, settled), (None, removed)], durable=True)
    for _ in range(30):
        clock.advance(86_400)
        assert state.claim([settled])
    assert by_key([settled, removed]) == by_key(state.restore("main"))
    clock.advance(1)
    assert state.claim([settled])
    assert by_key([settled]) == by_key(state.restore("main"))
    state.close()
    assert 1 == count_rows(path)


def test_claims_are_renewed_once_per_day(path: Path, clock: ManualClock) -> None:
    """A claim is renewed once per day."""
    state = open_state(path, clock)
    state.changed([(None, a_document())], durable=True)
    assert state._database.connection is not None
    before = state._database.connection.total_changes
    clock.advance(86_400)
    state.claim([a_document()])
    assert before == state._database.connection.total_changes
    clock.advance(1)
    state.claim([a_document()])
    state.claim([a_document()])
    assert 1 == state._database.connection.total_changes - before
    state.close()


def test_claimed_objects_without_a_row_are_saved(path: Path) -> None:
    """After the file was lost, claims restore known objects; pending changes are newer and win."""
    state = open_state(path)
    state.changed([(None, a_document(1, completed=9)), (a_document(3), None)], durable=False)
    assert state.claim([a_document(1), a_document(2), a_document(3)])
    state.close()
    state = open_state(path)
    assert by_key([a_document(1, completed=9), a_document(2)]) == by_key(state.restore("main"))
    state.close()


def test_claim_without_a_file(path: Path) -> None:
    """``claim`` returns False if the state is not open."""
    state = StateFile(path, ManualClock())
    assert not state.claim([a_document()])


def test_claim_lists_objects_before_locking_the_file(path: Path) -> None:
    """Objects are listed before the file is locked: listing may wait for a thread that waits for the file."""
    state = open_state(path)

    def known() -> Iterator[Document]:
        state.changed([(None, a_document())], durable=True)
        yield a_document()

    thread = threading.Thread(target=state.claim, args=(known(),), daemon=True)
    thread.start()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    state.close()


def test_nothing_is_deleted_right_after_a_long_stop(path: Path, clock: ManualClock) -> None:
    """After weeks of downtime nothing is deleted before all targets can have been polled."""
    watched, removed = a_document(1), a_document(2)
    state = open_state(path, clock)
    state.changed([(None, watched), (None, removed)], durable=True)
    state.close()
    clock.advance(40 * 86_400)
    state = open_state(path, clock)
    assert state.claim([])
    clock.advance(GRACE_PERIOD - 1)
    assert state.claim([watched])
    assert by_key([watched, removed]) == by_key(state.restore("main"))
    clock.advance(1)
    assert state.claim([watched])
    assert by_key([watched]) == by_key(state.restore("main"))
    state.close()
