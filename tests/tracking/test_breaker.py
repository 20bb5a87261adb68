"""When a server is left in peace."""

from __future__ import annotations

import pytest

from exporter.config import Polling
from exporter.dify import ConnectFailed, DifyError, Forbidden, RateLimited, ServerFailed, TimedOut, Unauthorized
from exporter.tracking.breaker import Breaker
from exporter.tracking.targets import Target

A, B, C = (Target("batch", "one", name) for name in "abc")
OTHER = Target("batch", "two", "d")


@pytest.fixture
def breaker() -> Breaker:
    """One without jitter."""
    return Breaker(Polling(), random=lambda: 0.5)


@pytest.mark.parametrize("error", [Unauthorized("x"), RateLimited("x")])
def test_a_refusal_of_the_server_stops_every_target(breaker: Breaker, error: DifyError) -> None:
    """A wrong key or a rate limit is the same for all targets of the server."""
    breaker.failed(A, error, 100.0)
    assert breaker.closed_until(OTHER, 100.0) == 115.0
    assert breaker.closed_until(OTHER, 115.0) is None


def test_a_403_stops_its_dataset_only(breaker: Breaker) -> None:
    """API access that is off for one knowledge base harms no other."""
    breaker.failed(A, Forbidden("x"), 0.0)
    assert breaker.closed_until(B, 0.0) == 15.0
    assert breaker.closed_until(OTHER, 0.0) is None


def test_three_unreached_targets_are_a_server_that_is_down(breaker: Breaker) -> None:
    """One target that times out, however often, is not the server; three different ones in a row are."""
    for _ in range(5):
        breaker.failed(A, TimedOut("x"), 0.0)
    breaker.failed(B, ConnectFailed("x"), 0.0)
    assert breaker.closed_until(C, 0.0) is None
    breaker.failed(C, ConnectFailed("x"), 0.0)
    assert breaker.closed_until(OTHER, 0.0) == 15.0


def test_answers_between_time_outs_keep_it_closed(breaker: Breaker) -> None:
    """Any answer, also an error that the server itself sent, starts the count anew."""
    for target in (A, B):
        breaker.failed(target, TimedOut("x"), 0.0)
    breaker.failed(C, ServerFailed("x"), 0.0)
    for target in (A, B):
        breaker.failed(target, TimedOut("x"), 0.0)
    breaker.answered(C)
    breaker.failed(C, TimedOut("x"), 0.0)
    assert breaker.closed_until(A, 0.0) is None


def test_each_failed_probe_waits_longer_and_late_echoes_do_not_count(breaker: Breaker) -> None:
    """Requests that were under way when the refusal came do not lengthen the wait; a failed probe does."""
    breaker.failed(A, Unauthorized("x"), 0.0)
    breaker.failed(B, Unauthorized("x"), 1.0)
    assert breaker.closed_until(A, 1.0) == 15.0
    breaker.failed(A, Unauthorized("x"), 16.0)
    assert breaker.closed_until(A, 16.0) == 46.0
    breaker.answered(A)
    assert breaker.closed_until(A, 17.0) is None


def test_retry_after_is_obeyed(breaker: Breaker) -> None:
    """The server's own word counts when it is longer."""
    breaker.failed(A, RateLimited("x", retry_after=120.0), 0.0)
    assert breaker.closed_until(OTHER, 0.0) == 120.0
