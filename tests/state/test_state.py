"""The state file: recorded objects are restored after a restart."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from exporter.clock import ManualClock, SystemClock
from exporter.state import StateFile
from exporter.state import state_file as state_file_module
from exporter.state.rows import key_of
from exporter.tracking import ServerStatus, TargetStatus
from exporter.tracking.model import Milestone
from tests.polling.fake_server import DATASET
from tests.state.objects import a_batch, a_document, by_key, count_rows, open_state, some_counters

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from exporter.tracking import Change

DEADLINE = 60.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the state file."""
    return tmp_path / "state.db"


@pytest.fixture
def clock() -> ManualClock:
    """A manually advanced clock."""
    return ManualClock()


def test_objects_are_restored_per_server(path: Path) -> None:
    """Documents, batches and counters are restored, separately for each server."""
    document, other = a_document(), a_document(server="other")
    batch, counters = a_batch(document), some_counters(3)
    state = open_state(path)
    state.changed([(None, document), (None, batch), (None, counters), (None, other)], durable=False)
    state.close()
    state = open_state(path)
    assert by_key([document, batch, counters]) == by_key(state.restore("main"))
    assert by_key([other]) == by_key(state.restore("other"))
    assert {} == by_key(state.restore("third"))
    state.close()


def test_statuses_are_not_saved(path: Path) -> None:
    """Poll status and server status are not saved: they are known again after the first poll."""
    state = open_state(path)
    changes: Sequence[Change] = [
        (None, TargetStatus("main", "batch", DATASET, "1")),
        (None, ServerStatus("main", "http://x/v1")),
    ]
    state.changed(changes, durable=True)
    state.close()
    assert 0 == count_rows(path)


def test_a_removed_object_is_not_restored(path: Path) -> None:
    """A removed object is not restored, whether its removal was pending or written. Its row stays."""
    documents = [a_document(number) for number in range(3)]
    state = open_state(path)
    state.changed([(None, document) for document in documents], durable=True)
    state.changed([(documents[0], None)], durable=True)
    state.changed([(documents[1], None)], durable=False)
    assert by_key(documents[2:]) == by_key(state.restore("main"))
    state.close()
    assert 3 == count_rows(path)
    state = open_state(path)
    assert by_key(documents[2:]) == by_key(state.restore("main"))
    state.close()


def test_the_last_change_wins(path: Path) -> None:
    """The last change wins, even if a removal is pending."""
    state = open_state(path)
    state.changed([(None, a_document())], durable=True)
    state.changed([(a_document(), None)], durable=False)
    state.changed([(None, a_document(completed=2))], durable=False)
    assert by_key([a_document(completed=2)]) == by_key(state.restore("main"))
    state.close()
    state = open_state(path)
    assert by_key([a_document(completed=2)]) == by_key(state.restore("main"))
    state.close()


def test_durable_changes_need_no_save(path: Path, clock: ManualClock) -> None:
    """Durable changes are in the file before ``changed`` returns; the others wait for ``save``."""
    state = open_state(path, clock)
    state.changed([(None, a_document(1))], durable=False)
    state.changed([(None, a_document(2)), (None, some_counters(1))], durable=True)
    assert state._database.connection is not None
    (count,) = state._database.connection.execute("SELECT count(*) FROM tracked").fetchone()
    assert 2 == count
    assert (None, None) == (state.last_save, state.last_save_successful)
    assert state.save()
    (count,) = state._database.connection.execute("SELECT count(*) FROM tracked").fetchone()
    assert 3 == count
    assert (clock.time(), True) == (state.last_save, state.last_save_successful)
    state.close()


def test_only_changed_rows_are_written(path: Path) -> None:
    """Saved objects are not written again by the next save."""
    state = open_state(path)
    state.changed([(None, a_document(number)) for number in range(100)], durable=False)
    state.save()
    assert state._database.connection is not None
    before = state._database.connection.total_changes
    state.changed([(None, a_document(5, completed=7))], durable=False)
    state.save()
    state.save()
    assert 1 == state._database.connection.total_changes - before
    state.close()


def test_only_the_latest_change_of_an_object_waits(path: Path) -> None:
    """Pending changes are bounded by the number of objects, however often they change."""
    state = StateFile(path, ManualClock())
    for completed in range(50):
        state.changed([(None, a_document(1, completed)), (None, a_document(2, completed))], durable=True)
    assert 2 == len(state._waiting)
    state.close()
    assert 2 == count_rows(path)


def test_waiting_removals_are_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While saving fails, the number of removed objects that wait is limited, and the latest ones do."""
    monkeypatch.setattr(state_file_module, "MAX_REMOVED", 10)
    state = StateFile(path.parent / "missing" / path.name, ManualClock())
    for number in range(50):
        state.changed([(None, a_document(number))], durable=False)
        state.changed([(a_document(number), None)], durable=False)
    assert not state.save()
    assert [key_of(a_document(number)) for number in range(40, 50)] == list(state._waiting)
    state.close()


def test_age_of_progress_includes_the_downtime(path: Path, clock: ManualClock) -> None:
    """The age of the last progress includes the downtime, in monotonic seconds of the new process."""
    document = a_document(clock=clock)
    state = open_state(path, clock)
    state.changed([(None, document), (None, a_batch(document))], durable=False)
    state.close()
    later = ManualClock(start=clock.time() + 600)
    later.advance(5)
    state = open_state(path, later)
    restored = state.restore("main")
    assert 605 == later.monotonic() - restored.documents[0].last_progress_monotonic
    assert document.last_progress == restored.documents[0].last_progress
    assert later.monotonic() - later.time() == restored.batches[0].last_progress_monotonic
    state.close()


def test_milestones_are_not_restored(path: Path) -> None:
    """Milestones are not restored: they are monotonic seconds of the previous process."""
    state = open_state(path)
    state.changed([(None, replace(a_batch(), milestones=(Milestone(5.0, 1, 0),)))], durable=False)
    state.close()
    state = open_state(path)
    assert [()] == [batch.milestones for batch in state.restore("main").batches]
    state.close()


def test_a_clock_set_back_yields_no_negative_age(path: Path, clock: ManualClock) -> None:
    """A last progress in the future counts as just now."""
    state = open_state(path, clock)
    state.changed([(None, a_document(clock=clock))], durable=False)
    state.close()
    clock.step(-3600)
    clock.advance(7)
    state = open_state(path, clock)
    assert clock.monotonic() == state.restore("main").documents[0].last_progress_monotonic
    state.close()


def test_equal_texts_are_shared_after_a_restart(path: Path) -> None:
    """Restored documents use no more memory than documents from answers."""
    state = open_state(path)
    state.changed([(None, a_document(number)) for number in range(2)], durable=False)
    state.close()
    state = open_state(path)
    one, two = state.restore("main").documents
    assert one.server is two.server
    assert one.dataset_id is two.dataset_id
    assert one.batch is two.batch
    state.close()


def test_changes_are_recorded_during_a_save(path: Path) -> None:
    """With concurrent threads nothing is lost, and the last change of each object wins."""
    state = open_state(path)
    over = threading.Event()

    def record(first: int) -> None:
        for completed in range(1, 21):
            for number in range(first, first + 5):
                state.changed([(None, a_document(number, completed))], durable=number % 2 == 0)

    def save() -> None:
        while not over.is_set():
            state.save()

    threads = [threading.Thread(target=record, args=(first,)) for first in range(0, 20, 5)]
    saver = threading.Thread(target=save)
    for thread in (saver, *threads):
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    over.set()
    saver.join(DEADLINE)
    state.close()
    state = open_state(path)
    assert by_key([a_document(number, 20) for number in range(20)]) == by_key(state.restore("main"))
    state.close()


def test_an_unsavable_value_affects_no_other(path: Path) -> None:
    """A number above 64 bits or a text with a lone surrogate is skipped with one warning."""
    huge, odd = a_document(1, completed=2**70), a_document(2, server="\ud800")
    state = open_state(path)
    with capture_logs() as log:
        state.changed([(None, huge), (None, odd), (None, a_document(3))], durable=True)
        state.changed([(None, huge), (odd, None)], durable=True)
        assert state.save()
    assert ["warning"] == [line["log_level"] for line in log]
    assert huge.document_id in log[0]["id"]
    state.close()
    state = open_state(path)
    assert by_key([a_document(3)]) == by_key(state.restore("main"))
    state.close()


def test_a_symbolic_link_is_followed(tmp_path: Path, path: Path) -> None:
    """A symbolic link is followed, and a relative path is resolved at the start."""
    (tmp_path / "link.db").symlink_to(path)
    state = open_state(tmp_path / "link.db")
    state.changed([(None, a_document())], durable=True)
    state.close()
    assert 1 == count_rows(path)


def test_only_the_owner_can_read_the_file(path: Path) -> None:
    """Only the exporter's user can read the file: it contains document names."""
    open_state(path).close()
    assert 0o600 == path.stat().st_mode & 0o777


def test_changes_after_close_are_not_lost(path: Path) -> None:
    """Changes recorded after ``close`` are not lost: closing again saves them."""
    state = open_state(path)
    state.close()
    state.changed([(None, a_document())], durable=True)
    assert by_key([a_document()]) == by_key(state.restore("main"))
    state.close()
    assert 1 == count_rows(path)


def test_durable_changes_are_fast(path: Path) -> None:
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
