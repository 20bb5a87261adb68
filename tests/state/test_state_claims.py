"""The state file: rows that nothing claims are deleted."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from exporter.clock import ManualClock
from exporter.state import StateFile
from exporter.state.state_file import GRACE
from tests.state.saved_objects import a_document, by_key, opened, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from exporter.tracking import Document

PATIENCE = 60.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the state file."""
    return tmp_path / "state.db"


@pytest.fixture
def clock() -> ManualClock:
    """A manually advanced clock."""
    return ManualClock()


def test_forgets_what_nothing_claims_for_thirty_days(path: Path, clock: ManualClock) -> None:
    """A batch removed from the configuration is deleted after 30 days; claimed rows stay even if they never change."""
    settled, removed = a_document(1), a_document(2)
    state = opened(path, clock)
    state.changed([(None, settled), (None, removed)], durable=True)
    for _ in range(30):
        clock.advance(86_400)
        assert state.claim([settled])
    assert by_key([settled, removed]) == by_key(state.restore("main"))
    clock.advance(1)
    assert state.claim([settled])
    assert by_key([settled]) == by_key(state.restore("main"))
    state.close()
    assert 1 == rows_of(path)


def test_claiming_hardly_writes(path: Path, clock: ManualClock) -> None:
    """A claim is renewed once per day."""
    state = opened(path, clock)
    state.changed([(None, a_document())], durable=True)
    assert state._file.connection is not None
    before = state._file.connection.total_changes
    clock.advance(86_400)
    state.claim([a_document()])
    assert before == state._file.connection.total_changes
    clock.advance(1)
    state.claim([a_document()])
    state.claim([a_document()])
    assert 1 == state._file.connection.total_changes - before
    state.close()


def test_what_is_claimed_and_has_no_row_gets_one(path: Path) -> None:
    """After the file was lost, claims restore known objects; pending changes are newer and win."""
    state = opened(path)
    state.changed([(None, a_document(1, completed=9)), (a_document(3), None)], durable=False)
    assert state.claim([a_document(1), a_document(2), a_document(3)])
    state.close()
    state = opened(path)
    assert by_key([a_document(1, completed=9), a_document(2)]) == by_key(state.restore("main"))
    state.close()


def test_claims_nothing_without_a_file(path: Path) -> None:
    """``claim`` returns False if the state is not open."""
    state = StateFile(path, ManualClock())
    assert not state.claim([a_document()])


def test_collects_the_claims_before_it_holds_the_file(path: Path) -> None:
    """Objects are listed before the file is locked: listing may wait for a thread that waits for the file."""
    state = opened(path)

    def known() -> Iterator[Document]:
        state.changed([(None, a_document())], durable=True)
        yield a_document()

    thread = threading.Thread(target=state.claim, args=(known(),), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    state.close()


def test_a_long_stop_is_no_reason_to_forget(path: Path, clock: ManualClock) -> None:
    """After weeks of downtime nothing is deleted before all targets can have been polled."""
    watched, removed = a_document(1), a_document(2)
    state = opened(path, clock)
    state.changed([(None, watched), (None, removed)], durable=True)
    state.close()
    clock.advance(40 * 86_400)
    state = opened(path, clock)
    assert state.claim([])
    clock.advance(GRACE - 1)
    assert state.claim([watched])
    assert by_key([watched, removed]) == by_key(state.restore("main"))
    clock.advance(1)
    assert state.claim([watched])
    assert by_key([watched]) == by_key(state.restore("main"))
    state.close()
