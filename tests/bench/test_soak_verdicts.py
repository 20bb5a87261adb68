"""The soak's verdicts on counts, stalls, the undisturbed server and the state file: each of them can fail."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from bench.soak.config import AFTER, QUEUED_AFTER
from bench.soak.counts import differences, explain, parse_line, traces
from bench.soak.faults import name_of, rounds
from bench.soak.knowledge import PERMANENT
from bench.soak.report import check_end, check_ends, check_faults, check_file, check_good_server, check_kill
from bench.soak.run import Run, file_problems
from bench.soak.stalls import Report, false_stalls, unreported
from bench.soak.truth import End, Event, History, Movement
from bench.soak.watch import PageNote

if TYPE_CHECKING:
    from pathlib import Path

BASE = PERMANENT[-1].id
SERVER = PERMANENT[-1].server
KEY = (SERVER, BASE, "error")
LINE = 'ts=x level=warning msg="document failed" reason=quota server={} dataset_id={} batch=b document_id={}'


def history(*movements: Movement, ends: tuple[End, ...] = (), document: str = "d") -> History:
    """The history of one document of a batch."""
    return History(ends, {document: movements}, {document: BASE}, {(BASE, "b"): frozenset({document})})


def end(document: str = "d", at: float = 100.0) -> End:
    """A failure."""
    return End(at, BASE, document, "b", "error", "upload")


def run(counted: int, *ends: End, logged: int | None = None) -> Run:
    """A run in which ``counted`` failures were counted."""
    lines = [
        parse_line(101.0 + number, LINE.format(SERVER, BASE, "d"))
        for number in range(counted if logged is None else logged)
    ]
    return Run(begun=90.0, histories={SERVER: history(ends=ends)}, counted={KEY: counted}, lines=lines)


def test_an_end_counted_once_is_right() -> None:
    """No difference, no trace."""
    (finding,) = check_ends(run(1, end()))
    assert finding.met
    assert not finding.traces


@pytest.mark.parametrize(("counted", "text"), [(0, "counted never"), (2, "counted 11.0, 12.0")])
def test_a_lost_or_repeated_end_is_found(counted: int, text: str) -> None:
    """With the document, the attempt and the times, in seconds from the start."""
    (finding,) = check_ends(run(counted, end()))
    assert not finding.met
    ((_, trace),) = finding.traces
    assert "error by upload in batch b at 10.0" in trace
    assert text in trace


def test_an_end_of_the_other_status_is_found() -> None:
    """A failure counted as completed is two differences, although the sum is right."""
    wrong = differences({SERVER: history(ends=(end(),))}, {(SERVER, BASE, "completed"): 1})
    assert {KEY: (1, 0), (SERVER, BASE, "completed"): (0, 1)} == wrong


def test_an_end_that_never_happened_is_found() -> None:
    """A document that did not end was counted."""
    ((at, trace),) = traces(KEY, run(1).histories, run(1).lines, 90.0)
    assert 101.0 == at
    assert "by never; counted 11.0" in trace


def test_what_happened_before_explains_a_finding() -> None:
    """The events of the last half minute."""
    events = [Event(50.0, "old"), Event(95.0, "fault"), Event(150.0, "later")]
    assert "5.0 fault" == explain(100.0, events, 90.0)


def report(at: float, kind: str = "document", source: str = "page") -> Report:
    """The exporter calls the document or its batch stalled."""
    return Report(at, source, SERVER, BASE, kind, "d" if kind == "document" else "b")


@pytest.mark.parametrize("kind", ["document", "batch"])
@pytest.mark.parametrize("source", ["page", "log"])
@pytest.mark.parametrize(
    ("movements", "at", "is_true"),
    [
        ([Movement(0.0, "indexing", "b")], AFTER + 1, True),
        ([Movement(0.0, "indexing", "b")], AFTER - 3, False),
        ([Movement(0.0, "waiting", "b")], AFTER + 5, False),
        ([Movement(0.0, "waiting", "b")], QUEUED_AFTER + 1, True),
        ([Movement(0.0, "indexing", "b"), Movement(5.0, "indexing", "b")], AFTER + 1, False),
        ([Movement(0.0, "indexing", "b"), Movement(AFTER + 5, "completed", "b")], AFTER + 7, True),
        ([Movement(0.0, "indexing", "b"), Movement(5.0, "completed", "b")], AFTER + 60, False),
        ([Movement(0.0, "indexing", "b"), Movement(AFTER + 5, "completed", "b")], AFTER + 40, False),
        ([Movement(0.0, "parsing", "b"), Movement(5.0, "paused", "b")], AFTER + 60, False),
        ([Movement(0.0, "error", "b")], AFTER + 60, False),
        ([Movement(0.0, "parsing", "b"), Movement(5.0, "deleted", "")], AFTER + 60, False),
        ([], 50.0, False),
    ],
    ids=[
        "still",
        "not long enough",
        "waits",
        "waits for too long",
        "moved",
        "moves just now",
        "is completed",
        "has long been completed",
        "is paused",
        "has failed",
        "is deleted",
        "does not exist",
    ],
)
def test_a_false_stall_is_found(movements: list[Movement], at: float, *, is_true: bool, kind: str, source: str) -> None:
    """A stall is true when nothing moved for the limit, at some moment shortly before it was reported."""
    found = list(false_stalls([report(at, kind, source)], {SERVER: history(*movements)}))
    assert is_true == (not found)


def test_a_stall_that_is_never_reported_is_found() -> None:
    """An exporter that calls nothing stalled does not pass."""
    still = history(Movement(0.0, "parsing", "b"))
    assert ["parsing document d"] == [text[:18] for _, text in unreported([], still, 200.0)]
    assert [] == list(unreported([report(30.0)], still, 200.0))
    assert [] == list(unreported([report(30.0, "batch")], still, 200.0))
    assert [] == list(unreported([], still, AFTER + 5.0))
    assert [] == list(unreported([], history(Movement(0.0, "parsing", "b"), Movement(30.0, "error", "b")), 200.0))


def note(
    at: float, *, lag: float = 0.0, up: float = 1.0, polls: float | None = None, failures: float = 0.0
) -> PageNote:
    """What a page says of the undisturbed server."""
    return PageNote(at, {"good": lag}, {"good": up}, {"good": at if polls is None else polls}, {"good": failures})


@pytest.mark.parametrize(
    ("odd", "met"),
    [
        ({}, True),
        ({"lag": 4.0}, False),
        ({"up": 0.0}, False),
        ({"failures": 1.0}, False),
    ],
)
def test_a_disturbed_good_server_is_found(odd: dict[str, Any], *, met: bool) -> None:
    """Late polls, an outage and failures are findings; late polls are none after a suspension."""
    notes = [note(1.0), note(2.0, **odd), note(3.0, failures=odd.get("failures", 0.0))]
    (finding,) = check_good_server(notes, [], 10.0)
    assert met == finding.met
    (after_suspension,) = check_good_server(notes, [(0.0, 1.5)], 10.0)
    assert after_suspension.met or odd.get("failures")


def test_a_server_that_is_not_polled_is_found() -> None:
    """Its lag may well be 0: a target that is in no schedule is never late."""
    notes = [note(at, polls=min(at, 3.0)) for at in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)]
    (finding,) = check_good_server(notes, [], 10.0)
    assert not finding.met


def test_a_second_exporter_that_gets_the_file_is_found() -> None:
    """One refusal too few, or no try at all."""
    assert [True, True] == [each.met for each in check_file([(1.0, "")], [])]
    assert [False, True] == [each.met for each in check_file([(1.0, ""), (2.0, "got it")], [])]
    assert [False, True] == [each.met for each in check_file([], [])]
    assert [True, False] == [each.met for each in check_file([(1.0, "")], ["damaged"])]


def test_a_damaged_file_is_found(tmp_path: Path) -> None:
    """One that SQLite refuses, or that was set aside."""
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,)] * 100)
        connection.commit()
    assert [] == file_problems(tmp_path)
    (tmp_path / "state.db.corrupt-1").touch()
    assert ["set aside: state.db.corrupt-1"] == file_problems(tmp_path)
    (tmp_path / "state.db.corrupt-1").unlink()
    content = bytearray(path.read_bytes())
    content[5000:9000] = b"\xff" * 4000
    path.write_bytes(content)
    assert file_problems(tmp_path)


def test_counts_lost_by_a_kill_are_found() -> None:
    """Every counted end is there after a restart."""
    assert check_kill({KEY: 5}, {KEY: 5}).met
    assert not check_kill({KEY: 5}, {KEY: 4}).met
    assert not check_kill({KEY: 5}, {}).met


@pytest.mark.parametrize("text", ["Traceback (most recent call last):", "key dataset-soak", "poll of dataset-good"])
def test_a_bug_or_a_key_in_the_log_is_found(text: str) -> None:
    """Keys of either server."""
    assert [True, True] == [each.met for each in check_end("fine\n", 1.0)]
    assert [False, True] == [each.met for each in check_end(f"{text}\n", 1.0)]
    assert [True, False] == [each.met for each in check_end("fine\n", 11.0)]


def test_every_fault_comes() -> None:
    """In the first rounds, each comes once."""
    groups = rounds(Random(1))  # noqa: S311 the same course again
    drawn = {name_of(fault): 1 for _ in range(13) for fault in next(groups)}
    assert check_faults(drawn).met
    assert not check_faults({**drawn, next(iter(drawn)): 0}).met
