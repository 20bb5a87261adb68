"""The phase ``queued``: from the creation of a document to the start of its first attempt, counted once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.clock import ManualClock
from exporter.dify import DocumentDetail
from exporter.polling import TargetStatuses
from exporter.tracking import Document, Merger, SavedObjects, Store
from exporter.tracking.model import Batch, DatasetCounters
from tests.polling.fake_server import DATASET, RecordingListener, item

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR, DAY = 3_600.0, 86_400.0


class Life:
    """A document whose answers arrive one after another, in seconds since the exporter's start; its API is in UTC."""

    def __init__(self, *, zone: float = 0.0) -> None:
        self.clock = ManualClock()
        self.start = self.clock.time()
        self.zone = zone
        self.listener = RecordingListener()
        self.watched = TargetStatuses("main", listener=self.listener).watched
        self.store = self.new_store()
        self.last_read: float | None = None

    def new_store(self) -> Store:
        """An empty store."""
        return Store("main", self.watched, listeners=(self.listener,), unknown=lambda _: None, clock=self.clock)

    def at(self, second: float) -> Life:
        """Advance the clock to that second."""
        self.clock.advance(self.start + second - self.clock.time())
        return self

    def api(self, second: float | None) -> int | None:
        """The time that the API gives for that second."""
        return None if second is None else int(self.start + second + self.zone)

    def batch(self, status: str, *times: float | None, batch: str = "b", stopped: float | None = None) -> Life:
        """The batch answers. ``times``: start, parsed, cleaned, split, completed."""
        names = ("processing_started_at", "parsing_completed_at", "cleaning_completed_at", "splitting_completed_at")
        known: dict[str, Any] = dict(zip((*names, "completed_at"), map(self.api, times), strict=False))
        answer = [item("1", status, stopped_at=self.api(stopped), **known)]
        Merger(self.store).apply_batch(DATASET, batch, answer, previous_success=self.last_read)
        self.last_read = self.clock.time()
        return self

    def detail(self, created: float) -> Life:
        """The detail answers."""
        answer = DocumentDetail("1", created_at=self.api(created), indexing_status="indexing")
        Merger(self.store).apply_detail(DATASET, answer, document_id="1")
        return self

    def restart(self) -> Life:
        """Go on with what the state file has."""
        saved = self.store.saved_objects()
        self.listener.objects.clear()
        self.store = self.new_store()
        self.store.restore(
            SavedObjects(
                [one for one in saved if isinstance(one, Document)],
                [one for one in saved if isinstance(one, Batch)],
                [one for one in saved if isinstance(one, DatasetCounters)],
            )
        )
        return self

    @property
    def queued(self) -> tuple[int, float]:
        """How many observations the phase has, and their sum."""
        (counters,) = self.store.counters.all()
        found = dict(counters.phases)["queued"]
        return sum(found.counts), found.total


DONE = (60.0, 61.0, 62.0, 62.0, 70.0)


def test_a_document_seen_from_the_beginning() -> None:
    """From its creation to its start, by the API's times."""
    life = Life().at(5).batch("waiting").detail(0).at(65).batch("parsing", 60).at(75).batch("completed", *DONE)
    assert life.queued == (1, 60.0)


@pytest.mark.parametrize("status", ["parsing", "splitting", "indexing"])
def test_a_document_first_seen_after_its_start(status: str) -> None:
    """A document that the first look finds in progress was just created: its time in the queue is known, too."""
    life = Life().at(65).batch(status, 60).detail(0).at(75).batch("completed", *DONE)
    assert life.queued == (1, 60.0)


@pytest.mark.parametrize("restarts", [False, True], ids=["running on", "over a restart"])
def test_a_detail_that_arrives_after_the_end(*, restarts: bool) -> None:
    """The phase is counted as soon as both times are known, once, however often the answers arrive again."""
    life = Life().at(5).batch("waiting").at(75).batch("completed", *DONE)
    assert life.queued == (0, 0.0)
    if restarts:
        life.restart().at(80).batch("completed", *DONE)
    for _ in range(3):
        life.at(90).detail(0).batch("completed", *DONE)
    assert life.queued == (1, 60.0)
    for _ in range(2):
        life.restart().batch("completed", *DONE).detail(0)
    assert life.queued == (1, 60.0)


def test_an_old_document_that_was_updated() -> None:
    """An update clears the phase times: the document looks like a new one, except for its age of 60 days."""
    life = Life().at(5).batch("waiting").detail(-60 * DAY).at(65).batch("parsing", 60).at(75).batch("completed", *DONE)
    assert life.queued == (0, 0.0)


@pytest.mark.parametrize(("age", "counted"), [(HOUR - 1, 1), (HOUR + 1, 0)])
def test_the_age_at_first_sight_decides(age: float, counted: int) -> None:
    """What was created at most an hour before its first sight is in its first attempt, however long it waits then."""
    life = Life().batch("waiting").detail(-age)
    life.at(2 * DAY).batch("completed", 2 * DAY, 2 * DAY, None, None, 2 * DAY)
    assert life.queued == (counted, counted * (2 * DAY + age))


LIVES: dict[str, Callable[[Life], object]] = {
    "a retry after an error": lambda life: (
        life.batch("error", 60, stopped=61),
        life.at(100).batch("waiting", 60, stopped=61),
        life.at(200).batch("completed", 150, 151, 151, 151, 160, stopped=61),
    ),
    "a retry of a task that was killed": lambda life: (
        life.batch("splitting", 60, 61),
        life.at(100).batch("waiting", 60, 61),
        life.at(200).batch("completed", 150, 151, 151, 151, 160),
    ),
    "a retry between two looks": lambda life: (
        life.batch("splitting", 60, 61),
        life.at(200).batch("completed", 150, 151, 151, 151, 160),
    ),
    "an update in the middle": lambda life: (
        life.batch("indexing", 60, 61, 62, 62),
        life.at(100).batch("waiting"),
        life.at(200).batch("completed", 150, 151, 151, 151, 160),
    ),
    "another upload": lambda life: (
        life.at(100).batch("waiting", batch="c"),
        life.at(200).batch("completed", 150, 151, 151, 151, 160, batch="c"),
    ),
    "a failure": lambda life: life.batch("error", 60, stopped=61),
    "a start before the creation": lambda life: life.batch("completed", -60, 61, 62, 62, 70),
}


@pytest.mark.parametrize("name", LIVES)
def test_other_attempts_are_not_counted(name: str) -> None:
    """Of a retry, an update, another upload or a failure nothing is known that belongs to the phase."""
    life = Life().at(5).batch("waiting").detail(0).at(75)
    LIVES[name](life)
    assert life.queued == (0, 0.0)


def test_an_update_of_a_completed_document() -> None:
    """Its first attempt is counted once; the next one is not, even if the detail was missing until then."""
    again = (150.0, 151.0, 151.0, 151.0, 160.0)
    for early in (True, False):
        life = Life().at(5).batch("waiting")
        life = (life.detail(0) if early else life).at(75).batch("completed", *DONE)
        life.at(100).batch("waiting").at(200).batch("completed", *again).detail(0)
        assert life.queued == ((1, 60.0) if early else (0, 0.0))


@pytest.mark.parametrize("zone", [-8 * HOUR, 8 * HOUR])
def test_an_api_in_another_time_zone(zone: float) -> None:
    """The age is corrected by the clock offset, which the transitions show: old stays old and new stays new."""
    old, new = Life(zone=zone), Life(zone=zone)
    for life, created in ((old, -7.5 * HOUR), (new, 0.0)):
        life.at(5).batch("waiting").detail(created).at(65).batch("parsing", 60).at(75).batch("completed", *DONE)
    assert (old.queued, new.queued) == ((0, 0.0), (1, 60.0))


looks = st.lists(
    st.tuples(
        st.sampled_from(["waiting", "parsing", "indexing", "completed", "error", "paused", "detail", "restart"]),
        st.sampled_from([None, 60.0, 150.0]),
        st.sampled_from(["b", "c"]),
    ),
    max_size=12,
)


@given(looks, st.sampled_from([-60 * DAY, 0.0, 100.0]))
def test_no_order_of_answers_counts_twice_or_below_zero(
    answers: list[tuple[str, float | None, str]], created: float
) -> None:
    """Whatever a document does, the phase has at most one observation of it, and no negative or absurd one."""
    life = Life().batch("waiting")
    for position, (what, started, batch) in enumerate(answers):
        life.at(200.0 + position)
        if what == "detail":
            life.detail(created)
        elif what == "restart":
            life.restart().batch("waiting", batch=batch)
        else:
            life.batch(what, started, batch=batch)
    count, total = life.queued
    assert count <= 1
    assert 0 <= total <= HOUR
