"""The rules of progress: what moved, what ended, what began again, what is stuck."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.dify.wire import IndexingStatus
from exporter.tracking.fold import Folded, fold_batch, refold_batch
from exporter.tracking.model import STATUSES, Batch, Detail, Document, Progress
from exporter.tracking.progress import Finished, Now, Restarted, Resumed, Stall, Stalled, advance
from exporter.tracking.reading import FINISHED, progress_of_list, read_item

RECORDINGS = Path(__file__).parents[1] / "recordings"
KEY = ("main", "d", "b")
STALL = Stall(after=900, queued_after=1800)


class Life:
    """A batch that is told one answer after another."""

    def __init__(self) -> None:
        self.batch: Batch | None = None
        self.documents: dict[str, Document] = {}
        self.events: list[object] = []
        self.now = Now(1_000_000.0, 0.0)

    def at(self, seconds: float) -> Life:
        """Let it be so many seconds after the start."""
        self.now = Now(1_000_000.0 + seconds, seconds)
        return self

    def answer(self, **progress: Progress) -> Folded:
        """The server answers this, by document id."""
        folded = fold_batch(KEY, self.batch, self.documents.get, progress, now=self.now, stall=STALL)
        self.batch = folded.batch
        self.documents = {found.document_id: found for found in folded.documents}
        self.events += folded.events
        return folded

    def again(self) -> None:
        """The server answers the same again."""
        assert self.batch is not None
        self.batch, documents, events = refold_batch(
            self.batch, tuple(self.documents.values()), now=self.now, stall=STALL
        )
        self.documents = {found.document_id: found for found in documents}
        self.events += events

    def names(self) -> list[str]:
        """What happened, in order."""
        return [type(event).__name__ for event in self.events]

    @property
    def stalled(self) -> bool:
        """Whether the batch is."""
        assert self.batch is not None
        return self.batch.stalled


def working(completed: int = 0, total: int = 10, status: str = "indexing", **more: Any) -> Progress:
    """A document in the middle of its first attempt."""
    return Progress(status, 100, 101, 102, 102, completed_segments=completed, total_segments=total, **more)


WAITING = Progress("waiting", completed_segments=0, total_segments=0)
PARSING = Progress("parsing", 100, completed_segments=0, total_segments=0)
DONE = Progress("completed", 100, 101, 102, 102, 110, completed_segments=10, total_segments=10)
FAILED = Progress("error", 100, stopped_at=105, completed_segments=0, total_segments=0, has_error=True)


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
    """Stalled at the limit and not before; ``queued_after`` while all wait, ``after`` otherwise."""
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
    """completed, error and paused are not stalled, however long."""
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
    """Status, phase times and segments: whichever changes sets the clock anew."""
    life = Life()
    life.answer(a=working(3))
    life.at(890).answer(a=change)
    life.at(1000).again()
    assert not life.stalled
    assert life.batch is not None
    assert life.batch.last_progress == 1_000_890.0


def test_a_change_of_the_error_text_alone_is_no_progress() -> None:
    """Texts hold temporary paths that change by themselves."""
    life = Life()
    life.answer(a=working(3))
    life.at(950).answer(a=working(3, has_error=True))
    assert life.stalled


def test_the_set_of_documents_is_progress_too() -> None:
    """A document that comes or goes moves the batch."""
    life = Life()
    life.answer(a=working(3), b=DONE)
    life.at(800).answer(a=working(3))
    life.at(1600).answer(a=working(3), c=DONE)
    life.at(2400).again()
    assert not life.stalled


def test_one_that_moves_keeps_all_others_of_its_batch_from_stalling() -> None:
    """One worker runs them one after another: document 50 is in parsing while 1 to 49 run."""
    life = Life()
    for step in range(20):
        life.at(step * 600).answer(first=working(step, 100), last=PARSING)
        assert not life.stalled
    assert not life.documents["last"].stalled
    assert life.documents["last"].last_progress == 1_000_000.0


def test_a_paused_document_does_not_hide_one_that_hangs() -> None:
    """Its siblings stay in parsing; nobody works on them, and that is said."""
    life = Life()
    life.answer(a=working(3, status="paused"), b=PARSING)
    life.at(900).again()
    assert life.stalled
    assert (life.documents["a"].stalled, life.documents["b"].stalled) == (False, True)


def test_a_stall_that_ends_is_told_once() -> None:
    """Resumed when something moves, or when the rest comes to its end."""
    life = Life()
    life.answer(a=working(3))
    life.at(900).again()
    life.at(960).again()
    life.at(1000).answer(a=working(4))
    life.at(1900).again()
    life.at(2000).answer(a=DONE)
    assert life.names() == ["Stalled", "Resumed", "Stalled", "Finished", "Resumed"]
    assert not life.documents["a"].stalled


def test_an_end_is_counted_once_with_its_phases() -> None:
    """completed: once, with the seconds that the API's own times tell."""
    life = Life()
    life.answer(a=WAITING)
    life.at(15).answer(a=working(3))
    life.at(30).answer(a=DONE)
    life.at(45).again()
    (event,) = life.events
    assert isinstance(event, Finished)
    assert dict(event.phases) == {"parsing": 1, "splitting": 1, "indexing": 8, "total": 10}


def test_the_time_in_the_queue_counts_from_the_creation_of_a_document_seen_from_its_beginning() -> None:
    """``created_at`` of an older document belongs to an earlier attempt."""
    for first, expected in ((WAITING, 60.0), (FAILED, None)):
        before, _ = advance(None, Document(*KEY[:2], "a", "b", first), Now(0, 0))
        detailed = msgspec.structs.replace(before, detail=Detail(created_at=40))
        waiting = msgspec.structs.replace(detailed, progress=WAITING)
        waiting, _ = advance(detailed, waiting, Now(1, 1))
        _, events = advance(waiting, msgspec.structs.replace(waiting, progress=DONE), Now(9, 9))
        (finished,) = [event for event in events if isinstance(event, Finished)]
        assert dict(finished.phases).get("queued") == expected


def test_first_sight_of_an_end_is_not_counted() -> None:
    """Nobody saw it happen; a restart without state must not count all of history."""
    life = Life()
    life.answer(a=DONE, b=FAILED)
    assert life.events == []


def test_a_retry_restarts_and_ends_anew() -> None:
    """Waiting with the old error and stopped_at; then completed: one restart, one end, no stale phase."""
    life = Life()
    life.answer(a=FAILED)
    life.at(15).answer(a=Progress("waiting", 100, stopped_at=105, has_error=True))
    life.at(30).answer(a=Progress("parsing", 200, stopped_at=105))
    life.at(45).answer(a=Progress("completed", 200, 201, 202, 202, 210, stopped_at=105))
    assert life.names() == ["Restarted", "Finished"]
    finished = life.events[-1]
    assert isinstance(finished, Finished)
    assert dict(finished.phases) == {"parsing": 1, "splitting": 1, "indexing": 8, "total": 10}


def test_a_fallback_from_completed_keeps_no_stale_phase() -> None:
    """A bulk change sets ``indexing`` and touches no time: only what is new may be measured."""
    life = Life()
    life.answer(a=working(3))
    life.at(15).answer(a=DONE)
    life.at(30).answer(a=msgspec.structs.replace(DONE, status="indexing"))
    life.at(45).answer(a=msgspec.structs.replace(DONE, completed_at=300))
    assert life.names() == ["Finished", "Restarted", "Finished"]
    last = life.events[-1]
    assert isinstance(last, Finished)
    assert last.phases == ()


def test_an_attempt_between_two_polls_is_seen_by_its_times() -> None:
    """Completed before and after, with another ``completed_at``: it was indexed again meanwhile."""
    life = Life()
    life.answer(a=DONE)
    life.at(15).answer(a=msgspec.structs.replace(DONE, processing_started_at=200, completed_at=210))
    assert life.names() == ["Restarted", "Finished"]


@pytest.mark.parametrize("end", [DONE, FAILED], ids=["completed", "error"])
@pytest.mark.parametrize("told", [(), ("completed_at",)], ids=["by a list", "by a detail"])
def test_an_end_is_not_counted_again_when_its_batch_tells_more_times(end: Progress, told: tuple[str, ...]) -> None:
    """A list has no times and a detail one: the others are no sign of another attempt, but what is measured by then."""
    less = Progress(end.status, has_error=end.has_error, **{name: getattr(end, name) for name in told})
    document, _ = advance(None, Document("main", "a", "b", "", WAITING), Now(0.0, 0.0))
    document, events = advance(document, Document("main", "a", "b", "", less), Now(1.0, 1.0))
    assert [Finished] == [type(event) for event in events]
    for number, known in enumerate((end, less, end)):
        document, events = advance(document, Document("main", "a", "b", "c", known), Now(2.0 + number, 2.0 + number))
        assert () == events
    document, events = advance(document, Document("main", "a", "b", "", less), Now(8.0, 8.0))
    again = msgspec.structs.replace(end, processing_started_at=500, completed_at=510, stopped_at=505)
    _, events = advance(document, Document("main", "a", "b", "c", again), Now(9.0, 9.0))
    assert [Restarted, Finished] == [type(event) for event in events]


def test_a_list_keeps_the_times_only_while_the_status_is_the_same() -> None:
    """Those of an earlier attempt would be taken for those of the end that the list tells."""
    before = msgspec.structs.replace(DONE, completed_segments=4, total_segments=5)
    assert before == progress_of_list(Progress("completed"), before)
    assert Progress("error", completed_segments=4, total_segments=5, has_error=True) == progress_of_list(
        Progress("error", has_error=True), before
    )


def test_pausing_a_finished_document_is_neither_restart_nor_end() -> None:
    """``paused`` is put in the place of the status, also of a finished one."""
    life = Life()
    life.answer(a=working(3))
    life.at(15).answer(a=DONE)
    life.at(30).answer(a=msgspec.structs.replace(DONE, status="paused", paused_at=120))
    life.at(45).answer(a=DONE)
    assert life.names() == ["Finished"]


def test_completed_before_it_started_tells_no_duration() -> None:
    """A negative span is no span."""
    life = Life()
    life.answer(a=WAITING)
    life.at(15).answer(a=Progress("completed", 300, None, None, None, 200))
    (event,) = life.events
    assert isinstance(event, Finished)
    assert event.phases == ()


@pytest.mark.parametrize("trace", sorted((RECORDINGS / "traces").glob("*.jsonl")), ids=lambda path: path.stem)
def test_real_lives_end_once_for_each_attempt(trace: Path) -> None:
    """A recorded life of a real server: every document that ends is counted once, and nothing stalls on the way."""
    life = Life()
    ends: dict[str, int] = {}
    before: dict[str, str] = {}
    for line in trace.read_text().splitlines():
        entry = json.loads(line)
        if entry["status"] != 200:
            continue
        items = msgspec.convert(entry["json"], IndexingStatus).data
        life.at(entry["t"]).answer(**{found.id: read_item(found, pytest.fail) for found in items})
        for found in items:
            if found.indexing_status in FINISHED and before.get(found.id, "completed") not in FINISHED:
                ends[found.id] = ends.get(found.id, 0) + 1
            before[found.id] = found.indexing_status
    counted: dict[str, int] = {}
    for event in life.events:
        assert not isinstance(event, Stalled)
        if isinstance(event, Finished):
            counted[event.document.document_id] = counted.get(event.document.document_id, 0) + 1
            assert all(seconds >= 0 for _, seconds in event.phases)
    assert counted == ends


times = st.none() | st.integers(0, 400)
progresses = st.builds(
    Progress,
    st.sampled_from(STATUSES),
    times,
    times,
    times,
    times,
    times,
    times,
    times,
    st.none() | st.integers(0, 20),
    st.none() | st.integers(0, 20),
    st.booleans(),
)
steps = st.lists(
    st.tuples(st.integers(0, 2000), st.dictionaries(st.sampled_from("abc"), progresses, min_size=1)), max_size=12
)


@given(steps)
def test_progress_never_moves_back_in_time_and_no_end_is_told_twice(
    lives: list[tuple[int, dict[str, Progress]]],
) -> None:
    """Any sequence of answers: last progress never falls; between two ends of a document there is a restart."""
    life = Life()
    seconds, latest = 0, 0.0
    ended: dict[str, bool] = {}
    for gap, answer in lives:
        seconds += gap
        told = len(life.events)
        life.at(seconds).answer(**answer)
        assert life.batch is not None
        assert life.batch.last_progress >= latest
        latest = life.batch.last_progress
        for document in life.documents.values():
            assert document.last_progress <= latest
        assert life.batch.eta is None or life.batch.eta >= life.now.wall - 1
        for event in life.events[told:]:
            if isinstance(event, Finished):
                assert not ended.get(event.document.document_id)
                ended[event.document.document_id] = True
            elif isinstance(event, Restarted):
                ended[event.document.document_id] = False
        # One that left the batch is a new document when it comes back.
        ended = {name: end for name, end in ended.items() if name in answer}
    verdicts = [type(event) for event in life.events if isinstance(event, (Stalled, Resumed))]
    assert verdicts == [Stalled, Resumed] * (len(verdicts) // 2) + [Stalled] * (len(verdicts) % 2)


@settings(max_examples=50)
@given(steps, st.randoms(use_true_random=False))
def test_the_order_of_documents_in_an_answer_does_not_matter(
    lives: list[tuple[int, dict[str, Progress]]], random: Any
) -> None:
    """``data`` comes in no particular order: objects and events are the same in any."""
    one, other = Life(), Life()
    seconds = 0
    for gap, answer in lives:
        seconds += gap
        shuffled = list(answer.items())
        random.shuffle(shuffled)
        one.at(seconds).answer(**answer)
        other.at(seconds).answer(**dict(shuffled))
        assert other.batch == one.batch
        assert other.documents == one.documents


@given(steps)
def test_a_document_is_stalled_only_with_its_batch_and_while_unfinished(
    lives: list[tuple[int, dict[str, Progress]]],
) -> None:
    """The verdict of a document follows from that of its batch."""
    life = Life()
    seconds = 0
    for gap, answer in lives:
        seconds += gap
        life.at(seconds).answer(**answer)
        life.at(seconds + gap / 2).again()
        for document in life.documents.values():
            unfinished = document.progress.status not in {"completed", "error", "paused"}
            assert document.stalled == (life.stalled and unfinished)
        seconds += gap
