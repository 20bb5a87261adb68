"""The circuit breaker of a server."""

from __future__ import annotations

import pytest

from exporter.config import Polling
from exporter.dify import ConnectFailed, DifyError, Forbidden, RateLimited, ServerFailed, TimedOut, Unauthorized
from exporter.polling.breaker import Breaker
from exporter.tracking.targets import Target

A, B, C = (Target("batch", "one", name) for name in "abc")
OTHER = Target("batch", "two", "d")


@pytest.fixture
def breaker() -> Breaker:
    """A breaker without jitter."""
    return Breaker(Polling(), random=lambda: 0.5)


@pytest.mark.parametrize("error", [Unauthorized("x"), RateLimited("x")])
def test_a_refusal_of_the_server_stops_every_target(breaker: Breaker, error: DifyError) -> None:
    """A rejected key or a rate limit applies to all targets of the server."""
    breaker.failed(A, error, 100.0)
    assert breaker.closed_until(OTHER, 100.0) == 115.0
    assert breaker.closed_until(OTHER, 115.0) is None


def test_a_403_stops_its_dataset_only(breaker: Breaker) -> None:
    """A 403 for one dataset does not affect the others."""
    breaker.failed(A, Forbidden("x"), 0.0)
    assert breaker.closed_until(B, 0.0) == 15.0
    assert breaker.closed_until(OTHER, 0.0) is None


def test_three_unreached_targets_are_a_server_that_is_down(breaker: Breaker) -> None:
    """Timeouts of one target do not open the breaker; three different targets in a row do."""
    for _ in range(5):
        breaker.failed(A, TimedOut("x"), 0.0)
    breaker.failed(B, ConnectFailed("x"), 0.0)
    assert breaker.closed_until(C, 0.0) is None
    breaker.failed(C, ConnectFailed("x"), 0.0)
    assert breaker.closed_until(OTHER, 0.0) == 15.0


def test_answers_between_time_outs_keep_it_closed(breaker: Breaker) -> None:
    """Any answer, even an error sent by the server itself, resets the count."""
    for target in (A, B):
        breaker.failed(target, TimedOut("x"), 0.0)
    breaker.failed(C, ServerFailed("x"), 0.0)
    for target in (A, B):
        breaker.failed(target, TimedOut("x"), 0.0)
    breaker.answered(C)
    breaker.failed(C, TimedOut("x"), 0.0)
    assert breaker.closed_until(A, 0.0) is None


def test_each_failed_probe_waits_longer_and_late_echoes_do_not_count(breaker: Breaker) -> None:
    """Requests that were running when the breaker opened do not extend the wait; a failed probe does."""
    breaker.failed(A, Unauthorized("x"), 0.0)
    breaker.failed(B, Unauthorized("x"), 1.0)
    assert breaker.closed_until(A, 1.0) == 15.0
    breaker.failed(A, Unauthorized("x"), 16.0)
    assert breaker.closed_until(A, 16.0) == 46.0
    breaker.answered(A)
    assert breaker.closed_until(A, 17.0) is None


def test_retry_after_is_obeyed(breaker: Breaker) -> None:
    """A ``Retry-After`` longer than the backoff wins."""
    breaker.failed(A, RateLimited("x", retry_after=120.0), 0.0)
    assert breaker.closed_until(OTHER, 0.0) == 120.0
