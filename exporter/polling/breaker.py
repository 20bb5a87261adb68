"""The breaker of one server: which targets wait for a while, and which single poll shows that the wait is over.

A failure concerns a *scope*: the whole server, one target type (that is, one endpoint), or one target type in one
dataset. While a scope is open its targets wait. After the backoff it is half-open: one poll, the *probe*, is sent, and
the others wait for its result.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from exporter.polling.targets import Target, TargetType

PROBE_CHECK = 5.0
"""Seconds after which a target that waits for a probe looks again. It is polled at once when the probe succeeds."""

LONGEST_AWAITED = 60.0
"""Seconds up to which the first wait of a scope is short enough for ``check`` and ``once`` to wait for the probe."""


class PollFailure(NamedTuple):
    """Why the last poll of a target failed: the label ``reason`` of the metrics, and a text for people.

    ``refusal``: the server does not answer such requests at all; otherwise it may do so later.
    """

    reason: str
    text: str
    refusal: bool = False


class Scope(NamedTuple):
    """What a failure concerns. None: all types, all datasets."""

    type: TargetType | None = None
    dataset_id: str | None = None


SERVER = Scope()


def scopes_of(target: Target) -> tuple[Scope, Scope, Scope]:
    """The scopes that contain a target."""
    return SERVER, Scope(target.type), Scope(target.type, target.dataset_id)


@dataclass(slots=True)
class _OpenScope:
    """``failed``: the targets whose failures opened it.

    ``waiting``: the targets that were not polled because of it, in the order in which they began to wait.
    """

    failure: PollFailure
    failures: int
    until: float
    awaited: bool
    failed: set[Target]
    waiting: dict[Target, None] = field(default_factory=dict)
    probe: Target | None = None

    def blocked_until(self, target: Target, now: float) -> float:
        """The second before which ``target`` waits; it may be polled if that is not after ``now``."""
        if self.until > now:
            return self.until
        is_probe_under_way = self.probe not in (None, target)
        # A target that failed itself shows little: it may be what is broken.
        has_better_probe = target in self.failed and not self.waiting.keys() <= self.failed
        return now + PROBE_CHECK if is_probe_under_way or has_better_probe else now


class Breaker:
    """The open scopes of one server. Times are monotonic seconds. Not thread-safe."""

    def __init__(self) -> None:
        self._scopes: dict[Scope, _OpenScope] = {}

    def admit(self, target: Target, now: float) -> float | None:
        """None: poll ``target`` now, as the probe of its open scopes; otherwise the second until which it waits."""
        scopes = [*self._open_scopes(target)]
        until = max((scope.blocked_until(target, now) for scope in scopes), default=now)
        if until > now:
            for scope in scopes:
                if scope.blocked_until(target, now) == until:
                    scope.waiting[target] = None
            return until
        for scope in scopes:
            scope.probe = target
            scope.waiting.pop(target, None)
        return None

    def blocked_until(self, target: Target, now: float) -> float | None:
        """As ``admit``, without consequences."""
        until = max((scope.blocked_until(target, now) for scope in self._open_scopes(target)), default=now)
        return until if until > now else None

    def open(
        self,
        scope: Scope,
        target: Target,
        failure: PollFailure,
        *,
        wait: float,
        now: float,
        also: Iterable[Target] = (),
        final: bool = False,
    ) -> bool:
        """Open a scope for ``wait`` seconds, or again after a failed probe. ``also``: targets that failed before.

        ``final``: the first failure leaves no doubt. False: ``target`` was polled before the scope opened.
        """
        before = self._scopes.get(scope)
        if before is not None and (before.until > now or before.probe not in (None, target)):
            before.failed.add(target)
            return False
        failures, failed, waiting = (before.failures, before.failed, before.waiting) if before else (0, set(), {})
        awaited = not final and not failures and wait <= LONGEST_AWAITED
        self._scopes[scope] = _OpenScope(
            failure, failures + 1, now + wait, awaited, failed={*failed, target, *also}, waiting=waiting
        )
        return True

    def close(self, *scopes: Scope) -> list[Target]:
        """Close scopes. Returns the targets that waited."""
        closed = (self._scopes.pop(scope, None) for scope in scopes)
        return [target for scope in closed if scope for target in scope.waiting]

    def close_all(self) -> list[Target]:
        """Close every scope. Returns the targets that waited."""
        return self.close(*self._scopes)

    def end_waits(self) -> list[Target]:
        """Let each scope send its probe now. Returns the targets that wait."""
        for scope in self._scopes.values():
            scope.until = min(scope.until, 0.0)
        return [target for scope in self._scopes.values() for target in scope.waiting]

    def poll_ended(self, target: Target) -> None:
        """The poll of ``target`` has ended, perhaps without a result: it is no probe any more."""
        for scope in self._open_scopes(target):
            if scope.probe == target:
                scope.probe = None

    def remove(self, target: Target) -> None:
        """``target`` is no longer polled."""
        for scope in self._open_scopes(target):
            scope.failed.discard(target)
            scope.waiting.pop(target, None)

    def probed(self, target: Target) -> list[Scope]:
        """The scopes whose probe is the poll of ``target``."""
        return [scope for scope in scopes_of(target) if scope in self._scopes and self._scopes[scope].probe == target]

    def failures(self, target: Target) -> int:
        """How often in a row the widest open scope of ``target`` has failed; 0 when none is open."""
        return next((scope.failures for scope in self._open_scopes(target)), 0)

    def failures_of(self, scope: Scope) -> int:
        """How often in a row a scope has failed; 0 when it is not open."""
        return self._scopes[scope].failures if scope in self._scopes else 0

    def failure(self, target: Target) -> PollFailure | None:
        """Why ``target`` is not polled; None when no scope of it is open."""
        return next((scope.failure for scope in self._open_scopes(target)), None)

    def awaits_probe(self, target: Target | None = None) -> bool:
        """Whether a first probe is still to show if what waits can be read: ``target``, or anything."""
        scopes = self._scopes.values() if target is None else self._open_scopes(target)
        return any(scope.awaited and (target is not None or scope.waiting) for scope in scopes)

    def _open_scopes(self, target: Target) -> Iterator[_OpenScope]:
        if self._scopes:
            for scope in scopes_of(target):
                if (found := self._scopes.get(scope)) is not None:
                    yield found
