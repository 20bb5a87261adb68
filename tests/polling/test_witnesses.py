"""Whether the server or one of its endpoints is at fault, and how a server that refuses everything is polled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from exporter.config import DatasetConfig
from exporter.dify import DifyError, Forbidden, RateLimited, ServerFailed, Stopped, TimedOut, Unauthorized
from exporter.polling import BATCH_STATUS, Target
from exporter.tracking import ServerStatus
from tests.polling.discovery_server import discovering
from tests.polling.fake_server import DATASET, PollerHarness, item

if TYPE_CHECKING:
    from collections.abc import Callable

BATCHES = tuple(f"b{number}" for number in range(10))
HOUR = 3_600.0
TYPES = 5
"""Batches, details, the list of knowledge bases, the knowledge base, and the heartbeat."""


def batch(name: str) -> Target:
    """A batch target."""
    return Target(BATCH_STATUS, DATASET, name)


def watching(names: tuple[str, ...] = BATCHES, *, status: str = "completed") -> PollerHarness:
    """A server with discovery and batches of one document each, all polled once."""
    harness = discovering(DatasetConfig(DATASET, batches=names))
    harness.client.batches = {name: [item(f"d{name}", status, 1, 9)] for name in names}
    harness.poll()
    assert harness.health.status.up is True
    harness.client.asked.clear()
    return harness


def refusing(harness: PollerHarness, error: Callable[[], DifyError], *endpoints: str) -> None:
    """Let every request to the endpoints fail; none named: to all."""

    def refuse(endpoint: str) -> None:
        if not endpoints or endpoint in endpoints:
            raise error()

    harness.client.refuse = refuse


@pytest.mark.parametrize(
    "error",
    [
        lambda: Unauthorized("401", status=401, by_dify=True),
        lambda: ServerFailed("500", status=500),
        lambda: TimedOut("late"),
        lambda: Forbidden("403 of a gateway", status=403),
    ],
)
def test_a_server_that_refuses_everything_is_down_once(error: Callable[[], DifyError]) -> None:
    """It is reported within seconds of the first failures, in one line, and asked once per type and backoff."""
    harness = watching(status="indexing")
    refusing(harness, error)
    with capture_logs() as log:
        harness.pass_time(20.0)
        assert harness.health.status.up is False
        harness.pass_time(HOUR)
    assert ["Dify server unavailable"] == [line["event"] for line in log if "available" in line["event"]]
    backoffs = 5 + (HOUR - 465) / 300 + 1
    assert len(harness.client.asked) <= TYPES * (3 + backoffs)
    harness.client.refuse = lambda _: None
    harness.pass_time(361.0)
    assert harness.health.status.up is True
    assert all(status.success for status in harness.statuses.all().values())


def test_a_revoked_key_costs_one_request_per_type() -> None:
    """One 401 closes a type; the next type is asked until none is left that might answer."""
    harness = watching(status="indexing")
    refusing(harness, lambda: Unauthorized("401", status=401, by_dify=True))
    harness.pass_time(18.0)
    assert harness.health.status.up is False
    assert len(harness.client.asked) <= TYPES
    assert harness.client.count("batch") == 1


def test_a_gateway_that_refuses_details_does_not_make_the_server_flap() -> None:
    """Settled batches are read every ten minutes and more: one of them is asked as a witness, and answers."""
    harness = watching()
    for name in BATCHES:
        harness.client.batches[name] = [item(f"d{name}", "indexing", 1, 9)]
    refusing(harness, lambda: Unauthorized("401", status=401), "document")
    calls = len(harness.listener.calls)
    harness.pass_time(3 * HOUR, tick=5.0)
    seen = [new for call in harness.listener.calls[calls:] for _, new in call if isinstance(new, ServerStatus)]
    assert [] == seen


@pytest.mark.parametrize("error", [lambda: ServerFailed("503", status=503), lambda: TimedOut("late")])
def test_batches_that_all_fail_are_polled_less_while_lists_answer(error: Callable[[], DifyError]) -> None:
    """Another endpoint that answers keeps the server up, but not the rate of the endpoint that does not."""
    harness = watching(status="indexing")
    refusing(harness, error, "batch")
    harness.pass_time(HOUR)
    assert harness.health.status.up is True
    assert harness.client.count("batch") <= 3 + 5 + (HOUR - 465) / 300 + 1
    harness.client.refuse = lambda _: None
    harness.pass_time(301.0)
    assert all(harness.statuses.get(batch(name)).success for name in BATCHES)  # type: ignore[union-attr]


def test_after_retry_after_one_probe_goes_out() -> None:
    """While it is under way all others wait; once it has succeeded they are due at once."""
    harness = watching(status="indexing")
    refusing(harness, lambda: RateLimited("429", status=429, retry_after=100.0), "batch")
    harness.pass_time(15.0)
    assert harness.client.count("batch") == 1
    harness.client.refuse = lambda _: None
    harness.client.asked.clear()
    seen: list[int] = []

    def look(_: str) -> None:
        harness.client.before_answer = lambda _: None
        harness.poll()
        seen.append(harness.client.count("batch"))

    harness.client.before_answer = look
    harness.clock.advance(100.0)
    harness.poll()
    assert [1] == seen
    assert len(BATCHES) == harness.client.count("batch")


def test_a_probe_that_ends_without_a_result_blocks_nobody() -> None:
    """A target that is removed during its poll, which then stops, leaves the probe to another one."""
    harness = watching(("b0", "b1"), status="indexing")
    refusing(harness, lambda: RateLimited("429", status=429), "batch")
    harness.pass_time(15.0)

    def stop(endpoint: str) -> None:
        assert endpoint == "batch"
        harness.client.refuse = lambda _: None
        harness.poller.unwatch([batch(harness.client.asked[-1][1])])
        raise Stopped

    harness.client.refuse = stop
    harness.pass_time(25.0)
    (other,) = (target for target in harness.poller.watched if target.type is BATCH_STATUS)
    assert harness.statuses.get(other).success  # type: ignore[union-attr]


def test_broken_objects_are_not_the_probe_for_others() -> None:
    """Three broken batches that fail in a row delay the others by one backoff only."""
    harness = watching(status="indexing")
    for name in BATCHES[:3]:
        harness.client.batches[name] = ServerFailed("500", status=500)
    harness.pass_time(40.0)
    assert all(harness.statuses.get(batch(name)).success for name in BATCHES[3:])  # type: ignore[union-attr]
    harness.client.asked.clear()
    harness.pass_time(HOUR)
    for name in BATCHES[3:]:
        assert sum(key == name for _, key in harness.client.asked) >= HOUR / 60 - 10


def test_a_403_on_the_list_of_knowledge_bases_concerns_the_list() -> None:
    """The list has no dataset id: its refusal is not that of the server."""
    harness = watching(status="indexing")
    refusing(harness, lambda: Forbidden("403", status=403, by_dify=True), "datasets")
    harness.pass_time(HOUR)
    assert harness.client.count("batch") >= len(BATCHES) * (HOUR / 60 - 5)
    assert harness.client.count("datasets") <= 20
    assert harness.health.status.up is True
