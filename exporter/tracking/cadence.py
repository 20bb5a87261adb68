"""How long to wait until the next poll of a target. Pure: state in, state out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.config import Polling
    from exporter.tracking.model import TargetState

MAX_BACKOFF_FACTOR = 5
"""A back-off grows up to this many times ``polling.max_interval``, but not beyond ``MAX_BACKOFF`` seconds."""

MAX_BACKOFF = 300.0
"""Alerts look a quarter of an hour back for the reason why a server is not read: polls have to fail within that."""

JITTER = 0.2
"""A back-off is spread by this share to both sides, so that targets that failed together do not return together."""


class Cadence(Struct, frozen=True, gc=False):
    """The pace of one target. ``interval``: seconds to the next poll; ``failures``: how many in a row."""

    interval: float = 0.0
    state: TargetState = "active"
    failures: int = 0


def after_answer(previous: Cadence, polling: Polling, *, moved: bool, settled: bool) -> Cadence:
    """The pace after an answer: fast while things move, slower while they rest, slowest when all is done."""
    if settled:
        if previous.state == "settled" and not moved:
            interval = min(previous.interval * 2, polling.max_settled_interval)
        else:
            interval = polling.settled_interval
        return Cadence(interval, "settled")
    if moved or previous.state != "active" or not previous.interval:
        return Cadence(polling.interval, "active")
    return Cadence(min(previous.interval * 1.5, polling.max_interval), "active")


def longest(pace: Cadence, polling: Polling) -> float:
    """How long at most to wait at a pace that was found at other intervals."""
    match pace.state:
        case "settled":
            return polling.max_settled_interval
        case "active":
            return polling.max_interval
        case "failing" | "gone":
            return 0.0


def after_gone(previous: Cadence, polling: Polling) -> Cadence:
    """The pace for something that does not exist (404): as slow as something settled; its return is noticed."""
    if previous.state == "gone":
        return Cadence(min(previous.interval * 2, polling.max_settled_interval), "gone", previous.failures + 1)
    return Cadence(polling.settled_interval, "gone", 1)


def after_failure(
    previous: Cadence, polling: Polling, *, retry_after: float | None, random: Callable[[], float]
) -> Cadence:
    """The pace after a failure: exponential with jitter, not before the server's ``Retry-After``.

    ``random`` gives a number from 0 to 1.
    """
    failures = previous.failures + 1 if previous.state == "failing" else 1
    interval = backoff(failures, polling, random=random)
    if retry_after is not None:
        interval = max(interval, retry_after)
    return Cadence(interval, "failing", failures)


def backoff(failures: int, polling: Polling, *, random: Callable[[], float]) -> float:
    """Seconds to wait after that many failures in a row."""
    exponent = min(failures - 1, 30)
    delay: float = min(polling.interval * 2**exponent, longest_backoff(polling))
    return delay * (1 + JITTER * (2 * random() - 1))


def longest_backoff(polling: Polling) -> float:
    """Seconds that a back-off grows up to, but for its jitter; never less than ``polling.interval``."""
    longest: float = min(MAX_BACKOFF_FACTOR * polling.max_interval, max(MAX_BACKOFF, polling.interval))
    return longest
