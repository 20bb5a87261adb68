"""How far the API's phase times are from the exporter's clock, measured on transitions that were seen to happen.

Dify turns naive UTC into seconds in the zone of its own API process: with TZ=Asia/Shanghai every time is 28 800 s too
small. Ages against another clock are then wrong by whole hours; durations between two such times are right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from exporter.tracking.model import Progress

KEPT = 20
"""Observations that make the estimate."""

WIDEST = 120.0
"""Seconds between two polls beyond which what happened between them tells too little."""

ZONE_STEP = 1_800.0
"""Zones are half or whole hours apart."""

ZONE_TOLERANCE = 120.0
"""Seconds by which an offset may miss a zone and still be taken for one."""

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
    """Between which the offset lies by what was seen at ``now``."""

    low: float
    high: float
    now: float

    def meet(self, other: _Bounds) -> bool:
        return self.low <= other.high and other.low <= self.high


class ClockOffset:
    """An estimate that gets narrower with each transition. One thread may observe while others read."""

    def __init__(self) -> None:
        # Replaced as a whole, for it is read at scrapes.
        self._bounds: tuple[_Bounds, ...] = ()
        self._doubt: _Bounds | None = None

    def observe(self, before: Progress, after: Progress, *, since: float, now: float) -> None:
        """``before`` was seen at ``since``, ``after`` at ``now`` (Unix seconds of the exporter)."""
        if now - since > WIDEST:
            return
        values = [(getattr(before, name), getattr(after, name)) for name in _TIMES]
        written = [new for old, new in values if new is not None and new != old]
        if not written:
            return
        # All were written between the two polls, and cut to whole seconds; if that can't be, some of them are stale, or
        # the exporter's clock was set meanwhile.
        bounds = _Bounds(max(written) - now, min(written) + 1 - since, now)
        if bounds.low <= bounds.high:
            self._add(bounds)

    @property
    def seconds(self) -> float | None:
        """API time less the exporter's; None before the first transition."""
        known = self._bounds
        if not known:
            return None
        return round((max(bounds.low for bounds in known) + min(bounds.high for bounds in known)) / 2, 3)

    @property
    def zone_hours(self) -> float | None:
        """The hours by which the API's zone is wrong, or None when no such mistake shows."""
        seconds = self.seconds
        if seconds is None:
            return None
        steps = round(seconds / ZONE_STEP)
        if not steps or abs(seconds - steps * ZONE_STEP) > ZONE_TOLERANCE:
            return None
        return steps * ZONE_STEP / 3600

    def _add(self, bounds: _Bounds) -> None:
        if all(bounds.meet(other) for other in self._bounds):
            self._bounds = (*self._bounds, bounds)[-KEPT:]
            self._doubt = None
        elif self._doubt is not None and self._doubt.now != bounds.now and bounds.meet(self._doubt):
            # Two answers agree: a clock was set, or the zone was mended.
            self._bounds = (self._doubt, bounds)
            self._doubt = None
        else:
            # Times of an earlier attempt that reappear would look like this too, for all documents of an answer.
            self._doubt = bounds
