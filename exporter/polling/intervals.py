"""How long until the next poll of a target. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.config import Polling
    from exporter.tracking.model import TargetState

MAX_BACKOFF_FACTOR = 5
"""A backoff grows up to this many times ``polling.max_interval``, but not beyond ``MAX_BACKOFF`` seconds."""

MAX_BACKOFF = 300.0
"""Alerts look back 15 minutes for the reason why a server is not read: polls have to fail within that time."""

JITTER = 0.2
"""A backoff varies by this share in both directions, so that targets that failed together do not return together."""


class PollInterval(Struct, frozen=True, gc=False):
    """The present interval of one target. ``interval``: seconds to the next poll; ``failures``: how many in a row."""

    interval: float = 0.0
    state: TargetState = "active"
    failures: int = 0


def after_answer(previous: PollInterval, polling: Polling, *, moved: bool, settled: bool) -> PollInterval:
    """The interval after an answer: short while things move, longer while nothing moves, longest when all is done."""
    if settled:
        if previous.state == "settled" and not moved:
            interval = min(previous.interval * 2, polling.max_settled_interval)
        else:
            interval = polling.settled_interval
        return PollInterval(interval, "settled")
    if moved or previous.state != "active" or not previous.interval:
        return PollInterval(polling.interval, "active")
    return PollInterval(min(previous.interval * 1.5, polling.max_interval), "active")


def after_partial_answer(previous: PollInterval, polling: Polling, *, moved: bool, settled: bool) -> PollInterval:
    """The interval after an answer of which a part was refused: as after one in full, but a failure."""
    failures = previous.failures if previous.state == "failing" else 0
    if failures:
        previous = PollInterval(previous.interval, "settled" if settled else "active")
    interval = after_answer(previous, polling, moved=moved, settled=settled).interval
    return PollInterval(interval, "failing", failures + 1)


def longest_wait(present: PollInterval, polling: Polling) -> float:
    """The longest time to wait, under new intervals, for an interval that was computed under other ones."""
    match present.state:
        case "settled":
            return polling.max_settled_interval
        case "active":
            return polling.max_interval
        case "failing" | "gone":
            return 0.0


def after_missing(previous: PollInterval, polling: Polling) -> PollInterval:
    """The interval for something that does not exist (404): as long as for something settled; it may return."""
    if previous.state == "gone":
        return PollInterval(min(previous.interval * 2, polling.max_settled_interval), "gone", previous.failures + 1)
    return PollInterval(polling.settled_interval, "gone", 1)


def after_failure(
    previous: PollInterval, polling: Polling, *, retry_after: float | None, random: Callable[[], float]
) -> PollInterval:
    """The interval after a failure: exponential with jitter, not shorter than the server's ``Retry-After``.

    ``random`` returns a number from 0 to 1.
    """
    failures = previous.failures + 1 if previous.state == "failing" else 1
    interval = backoff(failures, polling, random=random)
    if retry_after is not None:
        interval = max(interval, retry_after)
    return PollInterval(interval, "failing", failures)


def backoff(failures: int, polling: Polling, *, random: Callable[[], float]) -> float:
    """Seconds to wait after that many failures in a row."""
    exponent = min(failures - 1, 30)
    delay: float = min(polling.interval * 2**exponent, longest_backoff(polling))
    return delay * (1 + JITTER * (2 * random() - 1))


def longest_backoff(polling: Polling) -> float:
    """Seconds that a backoff grows up to, before jitter; never less than ``polling.interval``."""
    longest: float = min(MAX_BACKOFF_FACTOR * polling.max_interval, max(MAX_BACKOFF, polling.interval))
    return longest
