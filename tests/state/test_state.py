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

PATIENCE = 60.0


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
    state.changed([(None, document), (None, batch), (None, activity), (None, other)], durable=False)
    state.close()
    state = opened(path)
    assert by_key([document, batch, activity]) == by_key(state.restore("main"))
    assert by_key([other]) == by_key(state.restore("other"))
    assert {} == by_key(state.restore("third"))
    state.close()


def test_keeps_only_what_survives_a_restart(path: Path) -> None:
    """Poll status and server status are not saved: they are known again after the first poll."""
    state = opened(path)
    changes: Sequence[Change] = [
        (None, TargetStatus("main", "batch", DATASET, "1")),
        (None, ServerStatus("main", "http://x/v1")),
    ]
    state.changed(changes, durable=True)
    state.close()
    assert 0 == rows_of(path)


def test_a_deleted_object_is_not_remembered(path: Path) -> None:
    """A removed object has no row, whether its deletion was pending or written."""
    documents = [a_document(number) for number in range(3)]
    state = opened(path)
    state.changed([(None, document) for document in documents], durable=True)
    state.changed([(documents[0], None)], durable=True)
    state.changed([(documents[1], None)], durable=False)
    assert by_key(documents[2:]) == by_key(state.restore("main"))
    state.close()
    assert 1 == rows_of(path)


def test_an_object_that_came_back_is_remembered(path: Path) -> None:
    """The last change wins, even if a deletion is pending."""
    state = opened(path)
    state.changed([(None, a_document())], durable=True)
    state.changed([(a_document(), None)], durable=False)
    state.changed([(None, a_document(completed=2))], durable=False)
    assert by_key([a_document(completed=2)]) == by_key(state.restore("main"))
    state.close()
    state = opened(path)
    assert by_key([a_document(completed=2)]) == by_key(state.restore("main"))
    state.close()


def test_what_is_noted_at_once_needs_no_save(path: Path, clock: ManualClock) -> None:
    """With ``at_once`` changes are in the file before ``note`` returns; the others wait for ``save``."""
    state = opened(path, clock)
    state.changed([(None, a_document(1))], durable=False)
    state.changed([(None, a_document(2)), (None, an_activity(1))], durable=True)
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
    state.changed([(None, a_document(number)) for number in range(100)], durable=False)
    state.save()
    assert state._file.connection is not None
    before = state._file.connection.total_changes
    state.changed([(None, a_document(5, completed=7))], durable=False)
    state.save()
    state.save()
    assert 1 == state._file.connection.total_changes - before
    state.close()


def test_waits_with_the_latest_object_alone(path: Path) -> None:
    """Pending changes are bounded by the number of objects, however often they change."""
    state = StateFile(path, ManualClock())
    for completed in range(50):
        state.changed([(None, a_document(1, completed)), (None, a_document(2, completed))], durable=True)
    assert 2 == len(state._changed)
    state.close()
    assert 2 == rows_of(path)


def test_deletions_that_wait_are_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file, the number of pending deletions is limited."""
    monkeypatch.setattr(state_module, "GONE_AT_MOST", 10)
    state = StateFile(path, ManualClock())
    for number in range(50):
        state.changed([(None, a_document(number))], durable=False)
        state.changed([(a_document(number), None)], durable=False)
    assert 10 == len(state._gone)
    assert not state._changed
    state.close()


def test_the_stall_clock_goes_on_while_the_exporter_is_down(path: Path, clock: ManualClock) -> None:
    """The age of the last progress includes the downtime, in monotonic seconds of the new process."""
    document = a_document(clock=clock)
    state = opened(path, clock)
    state.changed([(None, document), (None, a_batch(document))], durable=False)
    state.close()
    later = ManualClock(start=clock.time() + 600)
    later.advance(5)
    state = opened(path, later)
    memory = state.restore("main")
    assert 605 == later.monotonic() - memory.documents[0].last_progress_monotonic
    assert document.last_progress == memory.documents[0].last_progress
    assert later.monotonic() - later.time() == memory.batches[0].last_progress_monotonic
    state.close()


def test_the_pace_of_a_batch_is_measured_anew(path: Path) -> None:
    """Milestones are not recalled: they are monotonic seconds of the previous process."""
    state = opened(path)
    state.changed([(None, replace(a_batch(), milestones=(Milestone(5.0, 1, 0),)))], durable=False)
    state.close()
    state = opened(path)
    assert [()] == [batch.milestones for batch in state.restore("main").batches]
    state.close()


def test_a_clock_that_was_set_back_makes_no_age_below_zero(path: Path, clock: ManualClock) -> None:
    """A last progress in the future counts as just now."""
    state = opened(path, clock)
    state.changed([(None, a_document(clock=clock))], durable=False)
    state.close()
    clock.step(-3600)
    clock.advance(7)
    state = opened(path, clock)
    assert clock.monotonic() == state.restore("main").documents[0].last_progress_monotonic
    state.close()


def test_equal_texts_and_rules_are_one_after_a_restart(path: Path) -> None:
    """Recalled documents use no more memory than documents from answers."""
    state = opened(path)
    state.changed([(None, a_document(number)) for number in range(2)], durable=False)
    state.close()
    state = opened(path)
    one, two = state.restore("main").documents
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
                state.changed([(None, a_document(number, completed))], durable=number % 2 == 0)

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
    assert by_key([a_document(number, 20) for number in range(20)]) == by_key(state.restore("main"))
    state.close()


def test_a_value_that_cannot_be_saved_harms_no_other(path: Path) -> None:
    """A number above 64 bits or a text with a lone surrogate is skipped with one warning."""
    huge, odd = a_document(1, completed=2**70), a_document(2, server="\ud800")
    state = opened(path)
    with capture_logs() as log:
        state.changed([(None, huge), (None, odd), (None, a_document(3))], durable=True)
        state.changed([(None, huge), (odd, None)], durable=True)
        assert state.save()
    assert ["warning"] == [line["log_level"] for line in log]
    assert huge.document_id in log[0]["id"]
    state.close()
    state = opened(path)
    assert by_key([a_document(3)]) == by_key(state.restore("main"))
    state.close()


def test_a_link_leads_to_the_file(tmp_path: Path, path: Path) -> None:
    """A symbolic link is followed, and a relative path is resolved at the start."""
    (tmp_path / "link.db").symlink_to(path)
    state = opened(tmp_path / "link.db")
    state.changed([(None, a_document())], durable=True)
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
    state.changed([(None, a_document())], durable=True)
    assert by_key([a_document()]) == by_key(state.restore("main"))
    state.close()
    assert 1 == rows_of(path)


def test_noting_at_once_costs_a_poll_next_to_nothing(path: Path) -> None:
    """Ten changed documents are written within a millisecond."""
    state = StateFile(path, SystemClock())
    state.open()
    spent = []
    for completed in range(50):
        began = time.perf_counter()
        state.changed([(None, a_document(number, completed)) for number in range(10)], durable=True)
        spent.append(time.perf_counter() - began)
    state.close()
    assert min(spent) <= 0.001
