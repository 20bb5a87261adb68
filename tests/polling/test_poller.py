"""Polling, on a manually advanced clock."""

from __future__ import annotations

import pytest

from exporter.config import Polling
from exporter.dify import (
    ConnectFailed,
    DocumentDetail,
    Forbidden,
    NotFound,
    RateLimited,
    ServerFailed,
    Stopped,
    TimedOut,
    Unauthorized,
)
from exporter.polling import BATCH_STATUS, CONFIGURED_DOCUMENT, DOCUMENT_DETAIL, Target
from exporter.tracking import Batch, Document, TargetStatus
from tests.polling.fake_server import DATASET, Rig, item


def batch(name: str = "b") -> Target:
    """A batch target."""
    return Target(BATCH_STATUS, DATASET, name)


def test_a_moving_batch_is_polled_each_interval_without_drift(rig: Rig) -> None:
    """A batch that progresses at each poll is polled every 15 s, to the second."""
    rig.client.batches["b"] = [item("1", "indexing", 0, 1000)]
    rig.poller.watch([batch()])
    rig.poll()

    def move(_: str) -> None:
        done = len(rig.client.asked)
        rig.client.batches["b"] = [item("1", "indexing", done, 1000)]

    times = []
    move("")
    rig.client.before_answer = move
    for _ in range(300):
        asked = rig.client.count("batch")
        rig.pass_time(1.0)
        if rig.client.count("batch") > asked:
            times.append(rig.clock.monotonic())
    assert times == [15.0 * n for n in range(1, 21)]


def test_a_resting_batch_is_polled_more_rarely_and_a_moving_one_at_once_again(rig: Rig) -> None:
    """Without progress the interval grows by half, up to a minute; any progress resets it."""
    rig.client.batches["b"] = [item("1", "indexing", 1, 9)]
    rig.poller.watch([batch()])
    rig.poll()
    assert rig.times_of("b", 300) == [15, 38, 72, 122, 182, 242]
    rig.client.batches["b"] = [item("1", "indexing", 2, 9)]
    assert rig.times_of("b", 90) == [2, 17, 40, 74]


def test_a_settled_batch_costs_next_to_nothing(rig: Rig) -> None:
    """A finished batch is polled nine times on its first day, after ten minutes and then doubling; its detail once."""
    rig.client.batches["b"] = [item("1", "completed", 9, 9)]
    rig.poller.watch([batch()])
    rig.poll()
    rig.pass_time(86_400, tick=5.0)
    assert (rig.client.count("batch"), rig.client.count("document")) == (9, 1)
    assert rig.statuses.get(batch()) == TargetStatus(
        "main", "batch", DATASET, "b", True, rig.clock.time() - (86_400 - 81_000), 21_600.0
    )


def test_the_detail_follows_first_sight_status_and_time(rig: Rig) -> None:
    """A detail is fetched at first sight, at status changes and every ten minutes, but not after the end."""
    rig.client.batches["b"] = [item("1", "waiting")]
    rig.poller.watch([batch()])
    rig.poll()
    assert rig.client.count("document") == 1
    rig.pass_time(700)
    assert rig.client.count("document") == 2
    rig.client.batches["b"] = [item("1", "indexing", 0, 9)]
    rig.pass_time(70)
    assert rig.client.count("document") == 3
    rig.client.batches["b"] = [item("1", "indexing", 5, 9)]
    rig.pass_time(70)
    assert rig.client.count("document") == 3
    rig.client.batches["b"] = [item("1", "completed", 9, 9)]
    rig.pass_time(3600)
    assert rig.client.count("document") == 4
    assert [found.detail.name for found in rig.listening.of(Document)] == ["a.txt"]


def test_a_stall_is_told_in_the_very_second() -> None:
    """A poll takes place exactly when missing progress becomes a stall, and the stall is reported once."""
    rig = Rig(Polling(interval=70.0, max_interval=700.0))
    rig.client.batches["b"] = [item("1", "indexing", 1, 5)]
    rig.poller.watch([Target(BATCH_STATUS, DATASET, "b")])
    rig.poll()
    assert [70.0, 175.0, 333.0, 569.0, 900.0] == [round(at) for at in rig.times_of("b", 905)]
    assert [True] == [batch.stalled for batch in rig.listening.of(Batch)]
    assert 1 == len(rig.times_of("b", 700))


def test_a_configured_document_is_polled_by_its_detail(rig: Rig) -> None:
    """Without a batch the detail is all there is: polled like a batch, with series of its own."""
    target = Target(CONFIGURED_DOCUMENT, DATASET, "1")
    rig.client.details["1"] = DocumentDetail("1", name="a", indexing_status="indexing")
    rig.poller.watch([target])
    rig.poll()
    assert rig.times_of("1", 40) == [15, 38]
    rig.client.details["1"] = NotFound("x", gone=True)
    rig.pass_time(60)
    assert rig.listening.of(Document) == []
    assert rig.poller.snapshot().targets == {("document", "gone"): 1}


def test_a_gone_batch_loses_its_series_and_is_looked_for_slowly(rig: Rig) -> None:
    """A 404 from Dify removes the objects; after ten minutes the batch is retried and restored if it exists again."""
    answer = [item("1", "indexing", 1, 9)]
    rig.client.batches["b"] = answer
    rig.poller.watch([batch()])
    rig.poll()
    rig.client.batches["b"] = NotFound("Documents not found.", gone=True)
    rig.pass_time(15)
    assert rig.listening.of(Document) + rig.listening.of(Batch) == []
    assert rig.statuses.get(batch()).success is False  # type: ignore[union-attr]
    assert rig.observer.failures == {("batch", "not_found"): 1}
    assert rig.times_of("b", 700) == [600]
    rig.client.batches["b"] = answer
    rig.pass_time(1200)
    assert [found.document_id for found in rig.listening.of(Document)] == ["1"]


def test_a_404_of_a_proxy_forgets_nothing(rig: Rig) -> None:
    """Only a 404 from Dify itself removes objects; an HTML 404 from a proxy is an ordinary failure."""
    rig.client.batches["b"] = [item("1", "indexing", 1, 9)]
    rig.poller.watch([batch()])
    rig.poll()
    rig.client.batches["b"] = NotFound("HTML", gone=False)
    rig.pass_time(60)
    assert len(rig.listening.of(Document)) == 1
    assert rig.poller.snapshot().targets == {("batch", "failing"): 1}


def test_a_failing_target_keeps_its_values_and_backs_off(rig: Rig) -> None:
    """After a 5xx the last values stay, marked as not current; retries after 15, 30, 60 … s until one succeeds."""
    rig.client.batches["b"] = [item("1", "indexing", 1, 9)]
    rig.poller.watch([batch()])
    rig.poll()
    seen = rig.clock.time()
    rig.client.batches["b"] = ServerFailed("Internal Server Error", status=500)
    assert rig.times_of("b", 240) == [15, 30, 60, 120, 240]
    target = rig.statuses.get(batch())
    assert target is not None
    assert (target.success, target.last_success) == (False, seen)
    assert len(rig.listening.of(Document)) == 1
    rig.client.batches["b"] = [item("1", "indexing", 1, 9)]
    rig.pass_time(300)
    assert rig.poller.snapshot().targets == {("batch", "active"): 1}


def test_a_wrong_key_stops_the_whole_server(rig: Rig) -> None:
    """After a 401 there is one probe per backoff step for all targets, and all targets are marked as not current."""
    targets = [batch(str(number)) for number in range(50)]
    for target in targets:
        rig.client.batches[target.id] = Unauthorized("Access token is invalid", status=401)
    rig.poller.watch(targets)
    rig.poll()
    assert len(rig.client.asked) == 1
    rig.pass_time(60)
    assert len(rig.client.asked) == 3
    assert {found.success for found in rig.listening.of(TargetStatus)} <= {False, None}
    assert rig.health.status.up is False
    for target in targets:
        rig.client.batches[target.id] = [item(target.id, "completed", 1, 1)]
    rig.pass_time(121)
    assert {found.success for found in rig.listening.of(TargetStatus)} == {True}
    assert rig.health.status.up is True


def test_a_rate_limit_is_obeyed(rig: Rig) -> None:
    """``Retry-After`` sets the wait; a rate limit says nothing about the key."""
    rig.client.batches["b"] = RateLimited("slow down", status=429, retry_after=100.0)
    rig.poller.watch([batch()])
    rig.poll()
    assert rig.times_of("b", 150) == [100]
    assert rig.health.status.up is None


def test_a_403_leaves_other_datasets_alone_and_the_key_is_good(rig: Rig) -> None:
    """API access off for a dataset: its own targets wait, ``dify_up`` stays 1."""
    rig.client.batches["b"] = Forbidden("Dataset api access is not enabled.", status=403, by_dify=True)
    rig.client.batches["c"] = [item("1", "indexing", 1, 9)]
    rig.poller.watch([batch("b"), batch("c")])
    rig.poll()
    assert rig.client.count("batch") == 1
    assert rig.health.status.up is True


def test_a_dead_server_is_probed_and_not_hammered(rig: Rig) -> None:
    """After three targets without an answer, the others are not polled until the backoff is over."""
    targets = [batch(str(number)) for number in range(20)]
    for target in targets:
        rig.client.batches[target.id] = ConnectFailed("connection refused")
    rig.poller.watch(targets)
    rig.poll()
    assert len(rig.client.asked) == 3
    assert rig.poller.unpolled == 0
    assert rig.health.status.up is False


def test_details_that_an_old_server_lacks_are_asked_for_rarely(rig: Rig) -> None:
    """If details are a 404 (before 1.5.1), the document stays and its detail is retried after ten minutes or more."""
    rig.client.batches["b"] = [item("1", "waiting")]
    rig.client.details["1"] = NotFound("HTML", gone=False)
    rig.poller.watch([batch()])
    rig.poll()
    assert rig.times_of("1", 2000) == [600, 1800]
    assert len(rig.listening.of(Document)) == 1


def test_the_detail_of_a_document_that_is_gone_is_not_asked_for_again(rig: Rig) -> None:
    """A document that leaves its batch ends its follow-ups too."""
    rig.client.batches["b"] = [item("1", "waiting"), item("2", "waiting")]
    rig.poller.watch([batch()])
    rig.poll()
    rig.client.batches["b"] = [item("2", "waiting")]
    rig.pass_time(60)
    assert rig.times_of("1", 2000) == []
    assert len(rig.poller.schedule) == 2


def test_the_problem_of_a_document_that_is_gone_is_forgotten(rig: Rig) -> None:
    """What documents leave behind does not pile up."""
    detail = Target(DOCUMENT_DETAIL, DATASET, "1")
    rig.client.batches["b"] = [item("1", "waiting"), item("2", "waiting")]
    rig.client.details["1"] = ServerFailed("Internal Server Error", status=500)
    rig.poller.watch([batch()])
    rig.poll()
    assert rig.poller.health.problem(detail) == "Internal Server Error"
    rig.client.batches["b"] = [item("2", "waiting")]
    rig.pass_time(60)
    assert rig.poller.health.problem(detail) == ""


def test_a_bug_in_one_poll_does_not_end_the_others(rig: Rig) -> None:
    """An unexpected exception is a failure with the reason ``internal``."""
    rig.client.batches["b"] = ZeroDivisionError("bug")
    rig.client.batches["c"] = [item("1", "completed", 1, 1)]
    rig.poller.watch([batch("b"), batch("c")])
    rig.poll()
    assert rig.observer.failures == {("batch", "internal"): 1}
    assert rig.statuses.get(batch("c")).success is True  # type: ignore[union-attr]


def test_stopping_in_the_middle_loses_no_target(rig: Rig) -> None:
    """A poll aborted by the shutdown is still due."""
    rig.client.batches["b"] = Stopped()
    rig.poller.watch([batch()])
    rig.poll()
    assert rig.poller.has_due()
    assert rig.poller.unpolled == 1
    rig.stop.set()
    rig.poll()
    assert len(rig.client.asked) == 1


def test_watching_twice_polls_once(rig: Rig) -> None:
    """A target that is already watched keeps its interval."""
    rig.client.batches["b"] = [item("1", "waiting")]
    rig.poller.watch([batch()])
    rig.poll()
    rig.poller.watch([batch()])
    rig.poll()
    assert rig.client.count("batch") == 1


@pytest.mark.parametrize("error", [TimedOut("x"), ServerFailed("x", status=502)])
def test_lateness_shows(rig: Rig, error: Exception) -> None:
    """The lag is that of the most overdue target; a failing target that waits for its backoff is not late."""
    rig.client.batches["b"] = error
    rig.poller.watch([batch()])
    rig.clock.advance(40.0)
    assert rig.poller.snapshot().lag == 40.0
    rig.poll()
    assert rig.poller.snapshot().lag == 0.0
