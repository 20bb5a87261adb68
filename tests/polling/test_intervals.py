"""Poll intervals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import Polling
from exporter.polling.intervals import (
    PollInterval,
    after_answer,
    after_failure,
    after_missing,
    backoff,
    longest_backoff,
)

POLLING = Polling()


def test_moving_batch_keeps_the_shortest_interval() -> None:
    """Any progress resets the interval to ``interval``."""
    slow = PollInterval(60.0, "active")
    assert after_answer(slow, POLLING, moved=True, settled=False) == PollInterval(15.0, "active")


def test_idle_batch_is_polled_more_and_more_rarely() -> None:
    """Without progress the interval grows by half each time, up to ``max_interval``."""
    pace, intervals = PollInterval(), []
    for _ in range(6):
        pace = after_answer(pace, POLLING, moved=False, settled=False)
        intervals.append(pace.interval)
    assert intervals == [15.0, 22.5, 33.75, 50.625, 60.0, 60.0]


def test_settled_batch_doubles_up_to_the_maximum() -> None:
    """A finished batch starts at ``settled_interval``, doubling up to ``max_settled_interval``."""
    pace, intervals = PollInterval(15.0, "active"), []
    for moved in (True, False, False, False, False, False, False, False):
        pace = after_answer(pace, POLLING, moved=moved, settled=True)
        intervals.append(pace.interval)
    assert intervals == [600, 1200, 2400, 4800, 9600, 19200, 21600, 21600]


def test_settled_batch_that_moves_again_is_active_again() -> None:
    """A re-indexed batch is polled at the short interval immediately."""
    assert after_answer(PollInterval(21600, "settled"), POLLING, moved=True, settled=False) == PollInterval(
        15.0, "active"
    )


def test_gone_is_rechecked_slowly() -> None:
    """404: as slow as something settled."""
    first = after_missing(PollInterval(15.0, "active"), POLLING)
    assert (first.interval, first.state) == (600, "gone")
    assert after_missing(first, POLLING).interval == 1200


def test_failures_back_off_exponentially_and_obey_retry_after() -> None:
    """Each failure doubles the wait; a longer ``Retry-After`` wins, a shorter one does not."""
    pace, waits = PollInterval(60.0, "active"), []
    for _ in range(6):
        pace = after_failure(pace, POLLING, retry_after=None, random=lambda: 0.5)
        waits.append(pace.interval)
    assert waits == [15, 30, 60, 120, 240, 300]
    assert after_failure(PollInterval(), POLLING, retry_after=100, random=lambda: 0.5).interval == 100
    assert after_failure(PollInterval(), POLLING, retry_after=1, random=lambda: 0.5).interval == 15


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_backoff_stays_within_its_jitter(failures: int, random: float) -> None:
    """The backoff stays within 20 % of the exponential value and is bounded for any number of failures."""
    exact = min(15.0 * 2 ** min(failures - 1, 30), 300.0)
    assert 0.8 * exact <= backoff(failures, POLLING, random=lambda: random) <= 1.2 * exact


@pytest.mark.parametrize(
    ("polling", "longest_wait"),
    [
        (Polling(interval=1.0, max_interval=1.0), 5.0),
        (Polling(), 300.0),
        (Polling(max_interval=3_600.0), 300.0),
        (Polling(interval=600.0, max_interval=3_600.0), 600.0),
    ],
    ids=["quick", "default", "rare", "never often"],
)
def test_what_fails_is_tried_again_within_minutes_however_rarely_the_rest_is_polled(
    polling: Polling, longest_wait: float
) -> None:
    """Five minutes are the limit; only an ``interval`` that is longer itself is kept."""
    assert longest_wait == longest_backoff(polling)
    assert longest_wait == backoff(30, polling, random=lambda: 0.5)
