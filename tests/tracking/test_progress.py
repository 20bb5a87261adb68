"""The rules of progress and stalls."""

from __future__ import annotations

import pytest

from exporter.tracking.events import Stalled
from exporter.tracking.model import Progress
from tests.tracking.batch_history import DONE, FAILED, PARSING, WAITING, Life, working


@pytest.mark.parametrize(
    ("progress", "limit"),
    [
        (WAITING, 1800),
        (PARSING, 900),
        (working(3), 900),
        (working(status="splitting"), 900),
        (working(status="odd"), 900),
    ],
)
def test_nothing_moves_for_too_long(progress: Progress, limit: float) -> None:
    """A batch is stalled at the limit, not before: ``queued_after`` while all documents wait, else ``after``."""
    life = Life()
    if progress.status == "odd":
        progress = Progress("unknown")
    life.answer(a=progress)
    life.at(limit - 0.1).again()
    assert not life.stalled
    life.at(limit).again()
    assert life.stalled
    assert life.documents["a"].stalled
    assert life.names() == ["Stalled"]
    (event,) = life.events
    assert isinstance(event, Stalled)
    assert event.since == 1_000_000.0


@pytest.mark.parametrize("progress", [DONE, FAILED, working(3, status="paused")])
def test_what_is_at_rest_never_stalls(progress: Progress) -> None:
    """completed, error and paused never stall."""
    life = Life()
    life.answer(a=progress)
    life.at(10_000_000).again()
    assert not life.stalled
    assert life.events == []


@pytest.mark.parametrize(
    "change",
    [
        working(4),
        working(3, 11),
        working(3, status="splitting"),
        Progress("indexing", 100, 101, 102, 103, completed_segments=3, total_segments=10),
        working(3, stopped_at=7),
    ],
)
def test_any_change_is_progress(change: Progress) -> None:
    """Any change of status, phase times or segments restarts the stall clock."""
    life = Life()
    life.answer(a=working(3))
    life.at(890).answer(a=change)
    life.at(1000).again()
    assert not life.stalled
    assert life.batch is not None
    assert life.batch.last_progress == 1_000_890.0


def test_a_change_of_the_error_text_alone_is_no_progress() -> None:
    """A changed error text is no progress: texts contain temporary paths that vary."""
    life = Life()
    life.answer(a=working(3))
    life.at(950).answer(a=working(3, has_error=True))
    assert life.stalled


def test_the_set_of_documents_is_progress_too() -> None:
    """A document that is added or removed is progress of the batch."""
    life = Life()
    life.answer(a=working(3), b=DONE)
    life.at(800).answer(a=working(3))
    life.at(1600).answer(a=working(3), c=DONE)
    life.at(2400).again()
    assert not life.stalled


def test_one_that_moves_keeps_all_others_of_its_batch_from_stalling() -> None:
    """One worker runs documents one after another: document 50 may wait in parsing while 1 to 49 run."""
    life = Life()
    for step in range(20):
        life.at(step * 600).answer(first=working(step, 100), last=PARSING)
        assert not life.stalled
    assert not life.documents["last"].stalled
    assert life.documents["last"].last_progress == 1_000_000.0


def test_a_paused_document_does_not_hide_one_that_hangs() -> None:
    """If one document is paused and its siblings make no progress, the batch is stalled."""
    life = Life()
    life.answer(a=working(3, status="paused"), b=PARSING)
    life.at(900).again()
    assert life.stalled
    assert (life.documents["a"].stalled, life.documents["b"].stalled) == (False, True)


def test_a_stall_that_ends_is_told_once() -> None:
    """Resumed is reported once: on progress, or when the remaining documents finish."""
    life = Life()
    life.answer(a=working(3))
    life.at(900).again()
    life.at(960).again()
    life.at(1000).answer(a=working(4))
    life.at(1900).again()
    life.at(2000).answer(a=DONE)
    assert life.names() == ["Stalled", "Resumed", "Stalled", "Finished", "Resumed"]
    assert not life.documents["a"].stalled
