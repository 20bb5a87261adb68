"""How long until the next poll of a target: pure rules, and the present interval of every target of a server."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.config import Polling
    from exporter.polling.targets import Target
    from exporter.tracking.model import Kind, TargetState

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


class PollIntervals:
    """The present interval of every target, and how many targets are in which state. Thread-safe.

    Follow-up targets have intervals, too, but are not counted.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._intervals: dict[Target, PollInterval] = {}
        self._unpolled: set[Target] = set()
        self._counts: dict[tuple[Kind, TargetState], int] = {}

    def __contains__(self, target: Target) -> bool:
        return target in self._intervals

    def of(self, target: Target) -> PollInterval:
        """The interval of ``target``; the first one when it has none."""
        return self._intervals.get(target) or PollInterval()

    def add(self, target: Target) -> bool:
        """Begin with the first interval. False when ``target`` has one already, which stays."""
        with self._lock:
            if target in self._intervals:
                return False
            self._put(target, PollInterval())
            self._unpolled.add(target)
            return True

    def put(self, target: Target, interval: PollInterval) -> None:
        """Store the interval of ``target``, which has been polled."""
        with self._lock:
            self._unpolled.discard(target)
            self._put(target, interval)

    def remove(self, target: Target) -> None:
        """Remove the interval of ``target``."""
        with self._lock:
            self._unpolled.discard(target)
            old = self._intervals.pop(target, None)
            if old is not None:
                self._count(target, old, -1)

    @property
    def unpolled(self) -> int:
        """How many targets were added and have not been polled yet."""
        return len(self._unpolled)

    @property
    def watched(self) -> int:
        """How many targets there are, without follow-ups."""
        return sum(self._counts.values())

    def counts(self) -> dict[tuple[Kind, TargetState], int]:
        """How many targets are in each state, by the label ``kind`` and the state; only numbers above 0."""
        with self._lock:
            return {key: count for key, count in self._counts.items() if count}

    def targets(self) -> set[Target]:
        """Every target except follow-ups."""
        with self._lock:
            return {target for target in self._intervals if not target.type.is_follow_up}

    def all(self) -> dict[Target, PollInterval]:
        """Every target with its interval, including follow-ups."""
        with self._lock:
            return dict(self._intervals)

    def _put(self, target: Target, interval: PollInterval) -> None:
        old = self._intervals.get(target)
        if old is not None:
            self._count(target, old, -1)
        self._intervals[target] = interval
        self._count(target, interval, 1)

    def _count(self, target: Target, interval: PollInterval, more: int) -> None:
        if not target.type.is_follow_up:
            key = (target.type.label, interval.state)
            self._counts[key] = self._counts.get(key, 0) + more
