"""The rules of progress and stalls."""

from __future__ import annotations

import pytest

from exporter.tracking.events import Stalled
from exporter.tracking.model import Progress
from tests.tracking.batch_history import DONE, FAILED, PARSING, WAITING, BatchHistory, working


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
    history = BatchHistory()
    if progress.status == "odd":
        progress = Progress("unknown")
    history.answer(a=progress)
    history.at(limit - 0.1).again()
    assert not history.stalled
    history.at(limit).again()
    assert history.stalled
    assert history.documents["a"].stalled
    assert history.names() == ["Stalled"]
    (event,) = history.events
    assert isinstance(event, Stalled)
    assert event.since == 1_000_000.0


@pytest.mark.parametrize("progress", [DONE, FAILED, working(3, status="paused")])
def test_finished_and_paused_documents_never_stall(progress: Progress) -> None:
    """completed, error and paused never stall."""
    history = BatchHistory()
    history.answer(a=progress)
    history.at(10_000_000).again()
    assert not history.stalled
    assert history.events == []


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
    history = BatchHistory()
    history.answer(a=working(3))
    history.at(890).answer(a=change)
    history.at(1000).again()
    assert not history.stalled
    assert history.batch is not None
    assert history.batch.last_progress == 1_000_890.0


def test_a_change_of_the_error_text_alone_is_no_progress() -> None:
    """A changed error text is no progress: texts contain temporary paths that vary."""
    history = BatchHistory()
    history.answer(a=working(3))
    history.at(950).answer(a=working(3, has_error=True))
    assert history.stalled


def test_the_set_of_documents_is_progress_too() -> None:
    """A document that is added or removed is progress of the batch."""
    history = BatchHistory()
    history.answer(a=working(3), b=DONE)
    history.at(800).answer(a=working(3))
    history.at(1600).answer(a=working(3), c=DONE)
    history.at(2400).again()
    assert not history.stalled


def test_one_that_moves_keeps_all_others_of_its_batch_from_stalling() -> None:
    """One worker runs documents one after another: document 50 may wait in parsing while 1 to 49 run."""
    history = BatchHistory()
    for step in range(20):
        history.at(step * 600).answer(first=working(step, 100), last=PARSING)
        assert not history.stalled
    assert not history.documents["last"].stalled
    assert history.documents["last"].last_progress == 1_000_000.0


def test_a_paused_document_does_not_hide_one_that_hangs() -> None:
    """If one document is paused and its siblings make no progress, the batch is stalled."""
    history = BatchHistory()
    history.answer(a=working(3, status="paused"), b=PARSING)
    history.at(900).again()
    assert history.stalled
    assert (history.documents["a"].stalled, history.documents["b"].stalled) == (False, True)


def test_the_end_of_a_stall_is_reported_once() -> None:
    """Resumed is reported once: on progress, or when the remaining documents finish."""
    history = BatchHistory()
    history.answer(a=working(3))
    history.at(900).again()
    history.at(960).again()
    history.at(1000).answer(a=working(4))
    history.at(1900).again()
    history.at(2000).answer(a=DONE)
    assert history.names() == ["Stalled", "Resumed", "Stalled", "Finished", "Resumed"]
    assert not history.documents["a"].stalled
