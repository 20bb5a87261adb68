"""The rate limit of requests."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.clock import ManualClock
from exporter.dify.budget import Budget


@given(
    rate=st.floats(min_value=0.1, max_value=500),
    gaps=st.lists(st.floats(min_value=0, max_value=3), min_size=1, max_size=60),
)
def test_no_two_requests_are_closer_than_the_rate_allows(rate: float, gaps: list[float]) -> None:
    """Slots are at least 1/rate apart and never in the past, whatever the pauses between callers."""
    clock = ManualClock()
    budget = Budget(rate, clock)
    slots = []
    for gap in gaps:
        clock.advance(gap)
        wait = budget.reserve()
        assert wait >= 0
        slots.append(clock.monotonic() + wait)
    assert all(later - earlier >= 1 / rate - 1e-9 for earlier, later in pairwise(slots))


@given(rate=st.integers(min_value=1, max_value=200), count=st.integers(min_value=1, max_value=400))
def test_no_second_has_more_requests_than_the_rate(rate: int, count: int) -> None:
    """At most ``rate`` requests are sent in any one second, including the first and after a pause."""
    clock = ManualClock()
    budget = Budget(rate, clock)
    clock.advance(1000)
    slots = [clock.monotonic() + budget.reserve() for _ in range(count)]
    busiest = max(sum(start <= slot < start + 1 - 1e-9 for slot in slots) for start in slots)
    assert busiest <= rate


def test_continuous_callers_achieve_the_full_rate() -> None:
    """Callers that send continuously achieve the full rate."""
    clock = ManualClock()
    budget = Budget(5, clock)
    for _ in range(50):
        clock.advance(budget.reserve())
    assert pytest.approx(49 / 5) == clock.monotonic()


def test_a_request_after_a_pause_does_not_wait() -> None:
    """After a pause longer than the spacing, a request need not wait."""
    clock = ManualClock()
    budget = Budget(2, clock)
    assert 0 == budget.reserve()
    clock.advance(0.5)
    assert 0 == budget.reserve()
    assert pytest.approx(0.5) == budget.reserve()


def test_threads_never_get_the_same_slot() -> None:
    """Concurrent reservations of many threads all get different slots."""
    budget = Budget(1000, ManualClock())
    slots: list[float] = []
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        slots.extend(budget.reserve() for _ in range(200))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pytest.approx([number / 1000 for number in range(1600)]) == sorted(slots)
