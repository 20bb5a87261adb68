"""The rules of indexing attempts: what finished, how long its phases took, and what restarted."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from exporter.clock import Instant
from exporter.dify.answers import IndexingStatus
from exporter.tracking import FINISHED
from exporter.tracking.events import Finished, Restarted, Stalled
from exporter.tracking.model import Document, Progress
from exporter.tracking.parse import merge_listed, parse_item
from exporter.tracking.progress import advance
from tests.tracking.batch_history import DONE, FAILED, WAITING, BatchHistory, working

RECORDINGS = Path(__file__).parents[1] / "recordings"


def test_an_end_is_counted_once_with_its_phases() -> None:
    """A completed document is counted once, with durations computed from the API's own times."""
    history = BatchHistory()
    history.answer(a=WAITING)
    history.at(15).answer(a=working(3))
    history.at(30).answer(a=DONE)
    history.at(45).again()
    (event,) = history.events
    assert isinstance(event, Finished)
    assert dict(event.phases) == {"parsing": 1, "splitting": 1, "indexing": 8, "total": 10}


def test_first_sight_of_an_end_is_not_counted() -> None:
    """An end that was not observed is not counted: a restart without state must not count all of history."""
    history = BatchHistory()
    history.answer(a=DONE, b=FAILED)
    assert history.events == []


def test_a_retry_restarts_and_finishes_again() -> None:
    """Waiting with the old error and stopped_at, then completed: one restart, one end, no stale phase."""
    history = BatchHistory()
    history.answer(a=FAILED)
    history.at(15).answer(a=Progress("waiting", 100, stopped_at=105, has_error=True))
    history.at(30).answer(a=Progress("parsing", 200, stopped_at=105))
    history.at(45).answer(a=Progress("completed", 200, 201, 202, 202, 210, stopped_at=105))
    assert history.names() == ["Restarted", "Finished"]
    finished = history.events[-1]
    assert isinstance(finished, Finished)
    assert dict(finished.phases) == {"parsing": 1, "splitting": 1, "indexing": 8, "total": 10}


def test_a_fallback_from_completed_keeps_no_stale_phase() -> None:
    """A bulk change sets ``indexing`` and changes no time: only new times may be measured."""
    history = BatchHistory()
    history.answer(a=working(3))
    history.at(15).answer(a=DONE)
    history.at(30).answer(a=msgspec.structs.replace(DONE, status="indexing"))
    history.at(45).answer(a=msgspec.structs.replace(DONE, completed_at=300))
    assert history.names() == ["Finished", "Restarted", "Finished"]
    last = history.events[-1]
    assert isinstance(last, Finished)
    assert last.phases == ()


def test_an_attempt_between_two_polls_is_detected_by_its_times() -> None:
    """Completed before and after with a different ``completed_at``: the document was indexed again in between."""
    history = BatchHistory()
    history.answer(a=DONE)
    history.at(15).answer(a=msgspec.structs.replace(DONE, processing_started_at=200, completed_at=210))
    assert history.names() == ["Restarted", "Finished"]


@pytest.mark.parametrize("end", [DONE, FAILED], ids=["completed", "error"])
@pytest.mark.parametrize("told", [(), ("completed_at",)], ids=["by a list", "by a detail"])
def test_an_end_is_not_counted_again_when_its_batch_reports_more_times(end: Progress, told: tuple[str, ...]) -> None:
    """Lists have no times and details only one: additional times do not indicate another attempt, but are measured."""
    less = Progress(end.status, has_error=end.has_error, **{name: getattr(end, name) for name in told})
    document, _ = advance(None, Document("main", "a", "b", "", WAITING), Instant(0.0, 0.0))
    document, events = advance(document, Document("main", "a", "b", "", less), Instant(1.0, 1.0))
    assert [Finished] == [type(event) for event in events]
    for number, known in enumerate((end, less, end)):
        document, events = advance(
            document, Document("main", "a", "b", "c", known), Instant(2.0 + number, 2.0 + number)
        )
        assert () == events
    document, events = advance(document, Document("main", "a", "b", "", less), Instant(8.0, 8.0))
    again = msgspec.structs.replace(end, processing_started_at=500, completed_at=510, stopped_at=505)
    _, events = advance(document, Document("main", "a", "b", "c", again), Instant(9.0, 9.0))
    assert [Restarted, Finished] == [type(event) for event in events]


def test_a_list_keeps_the_times_only_while_the_status_is_the_same() -> None:
    """A new status in a list discards the times: they belong to an earlier attempt."""
    before = msgspec.structs.replace(DONE, completed_segments=4, total_segments=5)
    assert before == merge_listed(Progress("completed"), before)
    assert Progress("error", completed_segments=4, total_segments=5, has_error=True) == merge_listed(
        Progress("error", has_error=True), before
    )


def test_pausing_a_finished_document_is_neither_restart_nor_end() -> None:
    """``paused`` replaces the status even of a finished document."""
    history = BatchHistory()
    history.answer(a=working(3))
    history.at(15).answer(a=DONE)
    history.at(30).answer(a=msgspec.structs.replace(DONE, status="paused", paused_at=120))
    history.at(45).answer(a=DONE)
    assert history.names() == ["Finished"]


def test_an_unknown_status_of_a_finished_document_is_neither_restart_nor_end() -> None:
    """An odd status in one answer must not count the end a second time; a new attempt after it counts."""
    history = BatchHistory()
    history.answer(a=working(3))
    history.at(15).answer(a=DONE)
    history.at(30).answer(a=msgspec.structs.replace(DONE, status="unknown"))
    history.at(45).answer(a=DONE)
    assert history.names() == ["Finished"]
    history.at(60).answer(a=msgspec.structs.replace(DONE, status="unknown"))
    history.at(75).answer(a=working(3))
    history.at(90).answer(a=msgspec.structs.replace(DONE, completed_at=300))
    assert history.names() == ["Finished", "Restarted", "Finished"]


def test_completed_before_started_gives_no_duration() -> None:
    """A negative duration is not counted."""
    history = BatchHistory()
    history.answer(a=WAITING)
    history.at(15).answer(a=Progress("completed", 300, None, None, None, 200))
    (event,) = history.events
    assert isinstance(event, Finished)
    assert event.phases == ()


@pytest.mark.parametrize("trace", sorted((RECORDINGS / "traces").glob("*.jsonl")), ids=lambda path: path.stem)
def test_recorded_documents_finish_once_per_attempt(trace: Path) -> None:
    """In recordings of a real server, every finished document is counted once, and nothing stalls on the way."""
    history = BatchHistory()
    ends: dict[str, int] = {}
    before: dict[str, str] = {}
    for line in trace.read_text().splitlines():
        entry = json.loads(line)
        if entry["status"] != 200:
            continue
        items = msgspec.convert(entry["json"], IndexingStatus).data
        history.at(entry["t"]).answer(**{found.id: parse_item(found, pytest.fail) for found in items})
        for found in items:
            if found.indexing_status in FINISHED and before.get(found.id, "completed") not in FINISHED:
                ends[found.id] = ends.get(found.id, 0) + 1
            before[found.id] = found.indexing_status
    counted: dict[str, int] = {}
    for event in history.events:
        assert not isinstance(event, Stalled)
        if isinstance(event, Finished):
            counted[event.document.document_id] = counted.get(event.document.document_id, 0) + 1
            assert all(seconds >= 0 for _, seconds in event.phases)
    assert counted == ends
