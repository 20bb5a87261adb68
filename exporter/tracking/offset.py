"""How far the API's phase times are from the exporter's clock, measured on transitions that were seen to happen.

Dify turns naive UTC into seconds in the zone of its own API process: with TZ=Asia/Shanghai every time is 28 800 s too
small. Ages against another clock are then wrong by whole hours; durations between two such times are right.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

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


class ClockOffset:
    """An estimate that gets narrower with each transition. Not thread-safe."""

    def __init__(self) -> None:
        self._bounds: deque[tuple[float, float]] = deque(maxlen=KEPT)

    def observe(self, before: Progress, after: Progress, *, since: float, now: float) -> None:
        """``before`` was seen at ``since``, ``after`` at ``now`` (Unix seconds of the exporter)."""
        if now - since > WIDEST:
            return
        for name in _TIMES:
            value = getattr(after, name)
            if value is not None and value != getattr(before, name):
                # It was written between the two polls, and cut to a whole second.
                self._add(value - now, value + 1 - since)

    @property
    def seconds(self) -> float | None:
        """API time less the exporter's; None before the first transition."""
        if not self._bounds:
            return None
        low = max(low for low, _ in self._bounds)
        high = min(high for _, high in self._bounds)
        return round((low + high) / 2, 3)

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

    def _add(self, low: float, high: float) -> None:
        if any(low > other_high or high < other_low for other_low, other_high in self._bounds):
            self._bounds.clear()  # a clock was set, or the zone was mended
        self._bounds.append((low, high))
