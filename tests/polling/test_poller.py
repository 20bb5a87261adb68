"""Polling, on a manually advanced clock."""

from __future__ import annotations

import pytest

from exporter.config import Polling, ServerConfig
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
from tests.polling.fake_server import DATASET, PollerHarness, item


def batch(name: str = "b") -> Target:
    """A batch target."""
    return Target(BATCH_STATUS, DATASET, name)


def test_a_moving_batch_is_polled_each_interval_without_drift(harness: PollerHarness) -> None:
    """A batch that progresses at each poll is polled every 15 s, to the second."""
    harness.client.batches["b"] = [item("1", "indexing", 0, 1000)]
    harness.poller.watch([batch()])
    harness.poll()

    def move(_: str) -> None:
        done = len(harness.client.asked)
        harness.client.batches["b"] = [item("1", "indexing", done, 1000)]

    times = []
    move("")
    harness.client.before_answer = move
    for _ in range(300):
        asked = harness.client.count("batch")
        harness.pass_time(1.0)
        if harness.client.count("batch") > asked:
            times.append(harness.clock.monotonic())
    assert times == [15.0 * n for n in range(1, 21)]


def test_an_idle_batch_is_polled_more_rarely_until_it_moves(harness: PollerHarness) -> None:
    """Without progress the interval grows by half, up to a minute; any progress resets it."""
    harness.client.batches["b"] = [item("1", "indexing", 1, 9)]
    harness.poller.watch([batch()])
    harness.poll()
    assert harness.times_of("b", 300) == [15, 38, 72, 122, 182, 242]
    harness.client.batches["b"] = [item("1", "indexing", 2, 9)]
    assert harness.times_of("b", 90) == [2, 17, 40, 74]


def test_a_settled_batch_costs_next_to_nothing(harness: PollerHarness) -> None:
    """A finished batch is polled nine times on its first day, after ten minutes and then doubling; its detail once."""
    harness.client.batches["b"] = [item("1", "completed", 9, 9)]
    harness.poller.watch([batch()])
    harness.poll()
    harness.pass_time(86_400, tick=5.0)
    assert (harness.client.count("batch"), harness.client.count("document")) == (9, 1)
    assert harness.statuses.get(batch()) == TargetStatus(
        "main", "batch", DATASET, "b", True, harness.clock.time() - (86_400 - 81_000), 21_600.0
    )


def test_the_detail_follows_first_sight_status_and_time(harness: PollerHarness) -> None:
    """A detail is fetched at first sight, at status changes and every ten minutes, but not after the end."""
    harness.client.batches["b"] = [item("1", "waiting")]
    harness.poller.watch([batch()])
    harness.poll()
    assert harness.client.count("document") == 1
    harness.pass_time(700)
    assert harness.client.count("document") == 2
    harness.client.batches["b"] = [item("1", "indexing", 0, 9)]
    harness.pass_time(70)
    assert harness.client.count("document") == 3
    harness.client.batches["b"] = [item("1", "indexing", 5, 9)]
    harness.pass_time(70)
    assert harness.client.count("document") == 3
    harness.client.batches["b"] = [item("1", "completed", 9, 9)]
    harness.pass_time(3600)
    assert harness.client.count("document") == 4
    assert [found.detail.name for found in harness.listener.of(Document)] == ["a.txt"]


def test_a_stall_is_reported_in_the_very_second() -> None:
    """A poll takes place exactly when missing progress becomes a stall, and the stall is reported once."""
    harness = PollerHarness(Polling(interval=70.0, max_interval=700.0))
    harness.client.batches["b"] = [item("1", "indexing", 1, 5)]
    harness.poller.watch([Target(BATCH_STATUS, DATASET, "b")])
    harness.poll()
    assert [70.0, 175.0, 333.0, 569.0, 900.0] == [round(at) for at in harness.times_of("b", 905)]
    assert [True] == [batch.stalled for batch in harness.listener.of(Batch)]
    assert 1 == len(harness.times_of("b", 700))


def test_a_configured_document_is_polled_by_its_detail(harness: PollerHarness) -> None:
    """Without a batch the detail is all there is: polled like a batch, with series of its own."""
    target = Target(CONFIGURED_DOCUMENT, DATASET, "1")
    harness.client.details["1"] = DocumentDetail("1", name="a", indexing_status="indexing")
    harness.poller.watch([target])
    harness.poll()
    assert harness.times_of("1", 40) == [15, 38]
    harness.client.details["1"] = NotFound("x", gone=True)
    harness.pass_time(60)
    assert harness.listener.of(Document) == []
    assert harness.poller.snapshot().targets == {("document", "gone"): 1}


def test_a_gone_batch_loses_its_series_and_is_looked_for_slowly(harness: PollerHarness) -> None:
    """A 404 from Dify removes the objects; after ten minutes the batch is retried and restored if it exists again."""
    answer = [item("1", "indexing", 1, 9)]
    harness.client.batches["b"] = answer
    harness.poller.watch([batch()])
    harness.poll()
    harness.client.batches["b"] = NotFound("Documents not found.", gone=True)
    harness.pass_time(15)
    assert harness.listener.of(Document) + harness.listener.of(Batch) == []
    assert harness.statuses.get(batch()).success is False  # type: ignore[union-attr]
    assert harness.observer.failures == {("batch", "not_found"): 1}
    assert harness.times_of("b", 700) == [600]
    harness.client.batches["b"] = answer
    harness.pass_time(1200)
    assert [found.document_id for found in harness.listener.of(Document)] == ["1"]


def test_a_404_of_a_proxy_removes_nothing(harness: PollerHarness) -> None:
    """Only a 404 from Dify itself removes objects; an HTML 404 from a proxy is an ordinary failure."""
    harness.client.batches["b"] = [item("1", "indexing", 1, 9)]
    harness.poller.watch([batch()])
    harness.poll()
    harness.client.batches["b"] = NotFound("HTML", gone=False)
    harness.pass_time(60)
    assert len(harness.listener.of(Document)) == 1
    assert harness.poller.snapshot().targets == {("batch", "failing"): 1}


def test_a_failing_target_keeps_its_values_and_backs_off(harness: PollerHarness) -> None:
    """After a 5xx the last values stay, marked as not current; retries after 15, 30, 60 … s until one succeeds."""
    harness.client.batches["b"] = [item("1", "indexing", 1, 9)]
    harness.poller.watch([batch()])
    harness.poll()
    seen = harness.clock.time()
    harness.client.batches["b"] = ServerFailed("Internal Server Error", status=500)
    assert harness.times_of("b", 240) == [15, 30, 60, 120, 240]
    target = harness.statuses.get(batch())
    assert target is not None
    assert (target.success, target.last_success) == (False, seen)
    assert len(harness.listener.of(Document)) == 1
    harness.client.batches["b"] = [item("1", "indexing", 1, 9)]
    harness.pass_time(300)
    assert harness.poller.snapshot().targets == {("batch", "active"): 1}


def test_a_wrong_key_stops_the_whole_server(harness: PollerHarness) -> None:
    """After a 401 there is one probe per backoff step for all targets, and all targets are marked as not current."""
    targets = [batch(str(number)) for number in range(50)]
    for target in targets:
        harness.client.batches[target.id] = Unauthorized("Access token is invalid", status=401)
    harness.poller.watch(targets)
    harness.poll()
    assert len(harness.client.asked) == 1
    harness.pass_time(60)
    assert len(harness.client.asked) == 3
    assert {found.success for found in harness.listener.of(TargetStatus)} <= {False, None}
    assert harness.health.status.up is False
    for target in targets:
        harness.client.batches[target.id] = [item(target.id, "completed", 1, 1)]
    harness.pass_time(121)
    assert {found.success for found in harness.listener.of(TargetStatus)} == {True}
    assert harness.health.status.up is True


def test_a_rate_limit_is_obeyed(harness: PollerHarness) -> None:
    """``Retry-After`` sets the wait; a rate limit says nothing about the key."""
    harness.client.batches["b"] = RateLimited("slow down", status=429, retry_after=100.0)
    harness.poller.watch([batch()])
    harness.poll()
    assert harness.times_of("b", 150) == [100]
    assert harness.health.status.up is None


def test_a_403_leaves_other_datasets_alone_and_the_key_is_good(harness: PollerHarness) -> None:
    """API access off for a dataset: its own targets wait, ``dify_up`` stays 1."""
    harness.client.batches["b"] = Forbidden("Dataset api access is not enabled.", status=403, by_dify=True)
    harness.client.batches["c"] = [item("1", "indexing", 1, 9)]
    harness.poller.watch([batch("b"), batch("c")])
    harness.poll()
    assert harness.client.count("batch") == 1
    assert harness.health.status.up is True


def test_a_dead_server_is_probed_and_not_hammered(harness: PollerHarness) -> None:
    """After three targets without an answer, the others are not polled until the backoff is over."""
    targets = [batch(str(number)) for number in range(20)]
    for target in targets:
        harness.client.batches[target.id] = ConnectFailed("connection refused")
    harness.poller.watch(targets)
    harness.poll()
    assert len(harness.client.asked) == 3
    assert harness.poller.unpolled == 0
    assert harness.health.status.up is False


def test_details_that_an_old_server_lacks_are_asked_for_rarely(harness: PollerHarness) -> None:
    """If details are a 404 (before 1.5.1), the document stays and its detail is retried after ten minutes or more."""
    harness.client.batches["b"] = [item("1", "waiting")]
    harness.client.details["1"] = NotFound("HTML", gone=False)
    harness.poller.watch([batch()])
    harness.poll()
    assert harness.times_of("1", 2000) == [600, 1800]
    assert len(harness.listener.of(Document)) == 1


def test_the_detail_of_a_document_that_is_gone_is_not_asked_for_again(harness: PollerHarness) -> None:
    """A document that leaves its batch ends its follow-ups too."""
    harness.client.batches["b"] = [item("1", "waiting"), item("2", "waiting")]
    harness.poller.watch([batch()])
    harness.poll()
    harness.client.batches["b"] = [item("2", "waiting")]
    harness.pass_time(60)
    assert harness.times_of("1", 2000) == []
    assert len(harness.poller.schedule) == 2


def test_the_failure_of_a_removed_document_is_cleared(harness: PollerHarness) -> None:
    """What documents leave behind does not pile up."""
    detail = Target(DOCUMENT_DETAIL, DATASET, "1")
    harness.client.batches["b"] = [item("1", "waiting"), item("2", "waiting")]
    harness.client.details["1"] = ServerFailed("Internal Server Error", status=500)
    harness.poller.watch([batch()])
    harness.poll()
    assert harness.poller.health.problem(detail) == "Internal Server Error"
    harness.client.batches["b"] = [item("2", "waiting")]
    harness.pass_time(60)
    assert harness.poller.health.problem(detail) == ""


def test_a_bug_in_one_poll_does_not_end_the_others(harness: PollerHarness) -> None:
    """An unexpected exception is a failure with the reason ``internal``."""
    harness.client.batches["b"] = ZeroDivisionError("bug")
    harness.client.batches["c"] = [item("1", "completed", 1, 1)]
    harness.poller.watch([batch("b"), batch("c")])
    harness.poll()
    assert harness.observer.failures == {("batch", "internal"): 1}
    assert harness.statuses.get(batch("c")).success is True  # type: ignore[union-attr]


def test_a_bug_in_what_follows_an_answer_does_not_end_the_others(
    harness: PollerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever happens after the request: the target is polled again, and so are all others."""
    harness.client.batches["b"] = [item("1", "indexing", 1, 2)]
    harness.client.batches["c"] = [item("2", "indexing", 1, 2)]
    harness.poller.watch([batch("b"), batch("c")])
    with monkeypatch.context() as patch:
        patch.setattr(harness.poller._event_log, "write", lambda _: 1 / 0)
        harness.poll()
    assert harness.observer.failures["batch", "internal"] == 2
    harness.pass_time(60)
    for name in ("b", "c"):
        assert harness.statuses.get(batch(name)).success is True  # type: ignore[union-attr]


def test_stopping_in_the_middle_loses_no_target(harness: PollerHarness) -> None:
    """A poll aborted by the shutdown is still due."""
    harness.client.batches["b"] = Stopped()
    harness.poller.watch([batch()])
    harness.poll()
    assert harness.poller.has_due()
    assert harness.poller.unpolled == 1
    harness.stop.set()
    harness.poll()
    assert len(harness.client.asked) == 1


def test_watching_twice_polls_once(harness: PollerHarness) -> None:
    """A target that is already watched keeps its interval."""
    harness.client.batches["b"] = [item("1", "waiting")]
    harness.poller.watch([batch()])
    harness.poll()
    harness.poller.watch([batch()])
    harness.poll()
    assert harness.client.count("batch") == 1


@pytest.mark.parametrize("error", [TimedOut("x"), ServerFailed("x", status=502)])
def test_lateness_shows(harness: PollerHarness, error: Exception) -> None:
    """The lag is that of the most overdue target; a failing target that waits for its backoff is not late."""
    harness.client.batches["b"] = error
    harness.poller.watch([batch()])
    harness.clock.advance(40.0)
    assert harness.poller.snapshot().lag == 40.0
    harness.poll()
    assert harness.poller.snapshot().lag == 0.0


def test_polls_that_no_thread_starts_are_a_problem(harness: PollerHarness) -> None:
    """Two minutes after they were due, while threads are free; a poll that runs late otherwise is none."""
    harness.client.batches["b"] = [item("1", "waiting")]
    harness.poller.watch([batch()])
    harness.clock.advance(120.0)
    assert harness.poller.problem() is None
    harness.clock.advance(1.0)
    text = "server main: polls are due, but none has started for 121 s: restart the exporter and report its log"
    assert text == harness.poller.problem()
    harness.poll()
    assert harness.poller.problem() is None


@pytest.mark.parametrize(("rate", "limit"), [(5.0, 2_080.0), (0.1, 6_000.0)])
def test_polls_that_never_end_are_a_problem(rate: float, limit: float) -> None:
    """Once every thread has been in one poll for longer than the slowest server and budget can explain."""
    server = ServerConfig("main", "http://x/v1", requests_per_second=rate)
    harness = PollerHarness(server=server)
    harness.client.batches = {str(number): [item(str(number), "waiting")] for number in range(server.concurrency)}
    harness.poller.watch(batch(name) for name in harness.client.batches)
    seen: list[str | None] = []

    def hang(_: str) -> None:
        harness.poll()
        if not seen:
            seen.append(harness.poller.problem())
            harness.clock.advance(limit)
            seen.append(harness.poller.problem())
            harness.clock.advance(1.0)
            seen.append(harness.poller.problem())

    harness.client.before_answer = hang
    harness.poll()
    assert seen[:2] == [None, None]
    assert "server main: all threads have been in one poll each" in str(seen[2])
    assert harness.poller.problem() is None


def test_a_failure_with_a_former_key_says_nothing_about_the_new_one(harness: PollerHarness) -> None:
    """A request under way when the key changes is sent again."""
    harness.client.batches["b"] = Unauthorized("401", status=401)
    harness.poller.watch([batch()])

    def change(_: str) -> None:
        harness.client.before_answer = lambda _: None
        harness.poller.start_over()
        harness.client.batches["b"] = [item("1", "waiting")]

    harness.client.before_answer = change
    harness.poll()
    assert harness.health.status.up is True
    assert harness.statuses.get(batch()).success is True  # type: ignore[union-attr]


def test_another_key_makes_everything_due(harness: PollerHarness) -> None:
    """Also what was not found with the former key, which may be that of another workspace."""
    harness.client.batches["b"] = NotFound("Dataset not found.", gone=True)
    harness.client.batches["c"] = [item("2", "completed", 1, 1)]
    harness.poller.watch([batch("b"), batch("c")])
    harness.poll()
    harness.pass_time(60)
    harness.client.batches["b"] = [item("1", "waiting")]
    harness.client.asked.clear()
    harness.poller.start_over()
    harness.poll()
    assert {"b", "c"} <= {key for kind, key in harness.client.asked if kind == "batch"}
