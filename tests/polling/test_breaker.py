"""The breaker: what waits for a scope, and in which order it goes on."""

from __future__ import annotations

from exporter.polling import BATCH_STATUS, Target
from exporter.polling.breaker import Breaker, PollFailure, Scope
from tests.polling.fake_server import DATASET


def test_targets_go_on_in_the_order_in_which_they_began_to_wait() -> None:
    """Otherwise the order would differ from one process to the next, and nobody's turn would be certain."""
    breaker = Breaker()
    scope = Scope(BATCH_STATUS)
    first, *others = (Target(BATCH_STATUS, DATASET, str(number)) for number in (50, *range(40, 0, -1)))
    breaker.open(scope, first, PollFailure("server", "500"), wait=60, now=0)
    for target in (*others, *reversed(others)):
        assert breaker.admit(target, 1) is not None
    assert others == list(breaker.close(scope))
