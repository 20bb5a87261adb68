"""The state file: recorded objects are recalled after a restart."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from exporter.clock import ManualClock, SystemClock
from exporter.state import StateFile
from exporter.state import state_file as state_module
from exporter.tracking import ServerStatus, TargetStatus
from exporter.tracking.model import Milestone
from tests.polling.fake_server import DATASET
from tests.state.saved_objects import a_batch, a_document, an_activity, by_key, opened, rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from exporter.tracking import Change

PATIENCE = 10.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the state file."""
    return tmp_path / "state.db"


@pytest.fixture
def clock() -> ManualClock:
    """A manually advanced clock."""
    return ManualClock()


def test_knows_after_a_restart_what_was_noted(path: Path) -> None:
    """Documents, batches and counters are recalled, separately for each server."""
    document, other = a_document(), a_document(server="other")
    batch, activity = a_batch(document), an_activity(3)
    state = opened(path)
    state.note([(None, document), (None, batch), (None, activity), (None, other)], at_once=False)
    state.close()
    state = opened(path)
    assert by_key([document, batch, activity]) == by_key(state.recall("main"))
    assert by_key([other]) == by_key(state.recall("other"))
    assert {} == by_key(state.recall("third"))
    state.close()


def test_keeps_only_what_survives_a_restart(path: Path) -> None:
    """Poll status and server status are not saved: they are known again after the first poll."""
    state = opened(path)
    changes: Sequence[Change] = [
        (None, TargetStatus("main", "batch", DATASET, "1")),
        (None, ServerStatus("main", "http://x/v1")),
    ]
    state.note(changes, at_once=True)
    state.close()
    assert 0 == rows_of(path)


def test_a_deleted_object_is_not_remembered(path: Path) -> None:
    """A removed object has no row, whether its deletion was pending or written."""
    documents = [a_document(number) for number in range(3)]
    state = opened(path)
    state.note([(None, document) for document in documents], at_once=True)
    state.note([(documents[0], None)], at_once=True)
    state.note([(documents[1], None)], at_once=False)
    assert by_key(documents[2:]) == by_key(state.recall("main"))
    state.close()
    assert 1 == rows_of(path)


def test_an_object_that_came_back_is_remembered(path: Path) -> None:
    """The last change wins, even if a deletion is pending."""
    state = opened(path)
    state.note([(None, a_document())], at_once=True)
    state.note([(a_document(), None)], at_once=False)
    state.note([(None, a_document(completed=2))], at_once=False)
    assert by_key([a_document(completed=2)]) == by_key(state.recall("main"))
    state.close()
    state = opened(path)
    assert by_key([a_document(completed=2)]) == by_key(state.recall("main"))
    state.close()


def test_what_is_noted_at_once_needs_no_save(path: Path, clock: ManualClock) -> None:
    """With ``at_once`` changes are in the file before ``note`` returns; the others wait for ``save``."""
    state = opened(path, clock)
    state.note([(None, a_document(1))], at_once=False)
    state.note([(None, a_document(2)), (None, an_activity(1))], at_once=True)
    assert state._file.connection is not None
    (count,) = state._file.connection.execute("SELECT count(*) FROM tracked").fetchone()
    assert 2 == count
    assert (None, None) == (state.last_save, state.last_save_successful)
    assert state.save()
    (count,) = state._file.connection.execute("SELECT count(*) FROM tracked").fetchone()
    assert 3 == count
    assert (clock.time(), True) == (state.last_save, state.last_save_successful)
    state.close()


def test_only_changed_rows_are_written(path: Path) -> None:
    """Saved objects are not written again by the next save."""
    state = opened(path)
    state.note([(None, a_document(number)) for number in range(100)], at_once=False)
    state.save()
    assert state._file.connection is not None
    before = state._file.connection.total_changes
    state.note([(None, a_document(5, completed=7))], at_once=False)
    state.save()
    state.save()
    assert 1 == state._file.connection.total_changes - before
    state.close()


def test_waits_with_the_latest_object_alone(path: Path) -> None:
    """Pending changes are bounded by the number of objects, however often they change."""
    state = StateFile(path, ManualClock())
    for completed in range(50):
        state.note([(None, a_document(1, completed)), (None, a_document(2, completed))], at_once=True)
    assert 2 == len(state._changed)
    state.close()
    assert 2 == rows_of(path)


def test_deletions_that_wait_are_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file, the number of pending deletions is limited."""
    monkeypatch.setattr(state_module, "GONE_AT_MOST", 10)
    state = StateFile(path, ManualClock())
    for number in range(50):
        state.note([(None, a_document(number))], at_once=False)
        state.note([(a_document(number), None)], at_once=False)
    assert 10 == len(state._gone)
    assert not state._changed
    state.close()


def test_the_stall_clock_goes_on_while_the_exporter_is_down(path: Path, clock: ManualClock) -> None:
    """The age of the last progress includes the downtime, in monotonic seconds of the new process."""
    document = a_document(clock=clock)
    state = opened(path, clock)
    state.note([(None, document), (None, a_batch(document))], at_once=False)
    state.close()
    later = ManualClock(start=clock.time() + 600)
    later.advance(5)
    state = opened(path, later)
    memory = state.recall("main")
    assert 605 == later.monotonic() - memory.documents[0].moved
    assert document.last_progress == memory.documents[0].last_progress
    assert later.monotonic() - later.time() == memory.batches[0].moved
    state.close()


def test_the_pace_of_a_batch_is_measured_anew(path: Path) -> None:
    """Milestones are not recalled: they are monotonic seconds of the previous process."""
    state = opened(path)
    state.note([(None, replace(a_batch(), trail=(Milestone(5.0, 1, 0),)))], at_once=False)
    state.close()
    state = opened(path)
    assert [()] == [batch.trail for batch in state.recall("main").batches]
    state.close()


def test_a_clock_that_was_set_back_makes_no_age_below_zero(path: Path, clock: ManualClock) -> None:
    """A last progress in the future counts as just now."""
    state = opened(path, clock)
    state.note([(None, a_document(clock=clock))], at_once=False)
    state.close()
    clock.step(-3600)
    clock.advance(7)
    state = opened(path, clock)
    assert clock.monotonic() == state.recall("main").documents[0].moved
    state.close()


def test_equal_texts_and_rules_are_one_after_a_restart(path: Path) -> None:
    """Recalled documents use no more memory than documents from answers."""
    state = opened(path)
    state.note([(None, a_document(number)) for number in range(2)], at_once=False)
    state.close()
    state = opened(path)
    one, two = state.recall("main").documents
    assert one.server is two.server
    assert one.dataset_id is two.dataset_id
    assert one.batch is two.batch
    state.close()


def test_polling_threads_note_while_the_state_is_saved(path: Path) -> None:
    """With concurrent threads nothing is lost, and the last change of each object wins."""
    state = opened(path)
    over = threading.Event()

    def note(first: int) -> None:
        for completed in range(1, 21):
            for number in range(first, first + 5):
                state.note([(None, a_document(number, completed))], at_once=number % 2 == 0)

    def save() -> None:
        while not over.is_set():
            state.save()

    threads = [threading.Thread(target=note, args=(first,)) for first in range(0, 20, 5)]
    saver = threading.Thread(target=save)
    for thread in (saver, *threads):
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    over.set()
    saver.join(PATIENCE)
    state.close()
    state = opened(path)
    assert by_key([a_document(number, 20) for number in range(20)]) == by_key(state.recall("main"))
    state.close()


def test_a_value_that_cannot_be_saved_harms_no_other(path: Path) -> None:
    """A number above 64 bits or a text with a lone surrogate is skipped with one warning."""
    huge, odd = a_document(1, completed=2**70), a_document(2, server="\ud800")
    state = opened(path)
    with capture_logs() as log:
        state.note([(None, huge), (None, odd), (None, a_document(3))], at_once=True)
        state.note([(None, huge), (odd, None)], at_once=True)
        assert state.save()
    assert ["warning"] == [line["log_level"] for line in log]
    assert huge.document_id in log[0]["id"]
    state.close()
    state = opened(path)
    assert by_key([a_document(3)]) == by_key(state.recall("main"))
    state.close()


def test_a_link_leads_to_the_file(tmp_path: Path, path: Path) -> None:
    """A symbolic link is followed, and a relative path is resolved at the start."""
    (tmp_path / "link.db").symlink_to(path)
    state = opened(tmp_path / "link.db")
    state.note([(None, a_document())], at_once=True)
    state.close()
    assert 1 == rows_of(path)


def test_the_file_is_for_the_exporter_alone(path: Path) -> None:
    """Only the exporter's user can read the file: it contains document names."""
    opened(path).close()
    assert 0o600 == path.stat().st_mode & 0o777


def test_a_closed_state_takes_notes_and_loses_none(path: Path) -> None:
    """Changes recorded after ``close`` are not lost: closing again saves them."""
    state = opened(path)
    state.close()
    state.note([(None, a_document())], at_once=True)
    assert by_key([a_document()]) == by_key(state.recall("main"))
    state.close()
    assert 1 == rows_of(path)


def test_noting_at_once_costs_a_poll_next_to_nothing(path: Path) -> None:
    """Ten changed documents are written within a millisecond."""
    state = StateFile(path, SystemClock())
    state.open()
    spent = []
    for completed in range(50):
        began = time.perf_counter()
        state.note([(None, a_document(number, completed)) for number in range(10)], at_once=True)
        spent.append(time.perf_counter() - began)
    state.close()
    assert min(spent) <= 0.001
