"""Estimates the offset between API times and the exporter's clock from observed status transitions.

Dify converts naive UTC to Unix seconds in the time zone of its API process: with TZ=Asia/Shanghai every time is
28 800 s too small. Ages measured against another clock are then wrong by whole hours; durations between two API times
are right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from exporter.tracking.model import Progress

OBSERVATIONS = 20
"""Number of observations that the estimate is based on."""

WIDEST = 120.0
"""Longest gap between two polls, in seconds, that still allows a useful observation."""

ZONE_STEP = 1_800.0
"""Time zones are half or whole hours apart."""

ZONE_TOLERANCE = 120.0
"""Seconds by which an offset may differ from a time zone and still count as one."""

_TIMES = (
    "processing_started_at",
    "parsing_completed_at",
    "cleaning_completed_at",
    "splitting_completed_at",
    "completed_at",
    "paused_at",
    "stopped_at",
)


class _Bounds(NamedTuple):
    """Limits of the offset according to one observation at ``now``."""

    low: float
    high: float
    now: float

    def meet(self, other: _Bounds) -> bool:
        return self.low <= other.high and other.low <= self.high


class ClockOffset:
    """An estimate that narrows with each transition. One thread may observe while others read."""

    def __init__(self) -> None:
        # Replaced as a whole: scrapes read it without a lock.
        self._bounds: tuple[_Bounds, ...] = ()
        self._doubt: _Bounds | None = None

    def observe(self, before: Progress, after: Progress, *, since: float, now: float) -> None:
        """Add an observation: ``before`` at ``since`` and ``after`` at ``now``, in Unix seconds of the exporter."""
        if now - since > WIDEST:
            return
        values = [(getattr(before, name), getattr(after, name)) for name in _TIMES]
        written = [new for old, new in values if new is not None and new != old]
        if not written:
            return
        # All were written between the two polls and truncated to whole seconds. If that is impossible, some of them are
        # stale, or the exporter's clock was set in between.
        bounds = _Bounds(max(written) - now, min(written) + 1 - since, now)
        if bounds.low <= bounds.high:
            self._add(bounds)

    @property
    def seconds(self) -> float | None:
        """API time minus exporter time; None before the first transition."""
        known = self._bounds
        if not known:
            return None
        return round((max(bounds.low for bounds in known) + min(bounds.high for bounds in known)) / 2, 3)

    @property
    def zone_hours(self) -> float | None:
        """The time zone error of the API in hours; None if there is none."""
        seconds = self.seconds
        if seconds is None:
            return None
        steps = round(seconds / ZONE_STEP)
        if not steps or abs(seconds - steps * ZONE_STEP) > ZONE_TOLERANCE:
            return None
        return steps * ZONE_STEP / 3600

    def _add(self, bounds: _Bounds) -> None:
        if all(bounds.meet(other) for other in self._bounds):
            self._bounds = (*self._bounds, bounds)[-OBSERVATIONS:]
            self._doubt = None
        elif self._doubt is not None and self._doubt.now != bounds.now and bounds.meet(self._doubt):
            # Two answers agree: a clock was set, or the time zone was fixed.
            self._bounds = (self._doubt, bounds)
            self._doubt = None
        else:
            # Reappearing times of an earlier attempt would look the same, for all documents of an answer.
            self._doubt = bounds
