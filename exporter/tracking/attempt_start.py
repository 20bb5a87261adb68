"""When the attempt of a document began, by the exporter's clock. Pure.

Needed when a document is seen for the first time and has already finished: its end is counted if the attempt began
after the exporter first looked. If in doubt the earlier time is right: an end is rather left out than counted wrongly.
"""

from __future__ import annotations

import calendar
import time
from typing import TYPE_CHECKING

from exporter.tracking.clock_offset import ZONE_STEP

if TYPE_CHECKING:
    from exporter.tracking.clock_offset import ClockOffset
    from exporter.tracking.model import Number

WIDEST_ZONE = 14 * 3_600.0
"""Seconds by which local time differs from UTC at most."""

_STAMP = "%Y%m%d%H%M%S"
_DIGITS = 14


def attempt_began(started: Number | None, batch: str, offset: ClockOffset) -> float | None:
    """Unix seconds of the exporter; None if neither is known.

    ``started``: the API's time of the attempt. ``batch``: an id of Dify's begins with the *local* time of the upload,
    while times of the API are too small by the same time zone (``clock_offset``). Half their difference is therefore
    the zone, and somewhat less if the document waited for its turn: then the result is too early.
    """
    uploaded = _uploaded(batch)
    if started is None:
        return None if uploaded is None else _corrected_upload(uploaded, offset)
    if offset.seconds is not None:
        return float(started) - offset.seconds
    if uploaded is None:
        return float(started)
    zone = round((uploaded - started) / 2 / ZONE_STEP) * ZONE_STEP
    return min(float(started), uploaded) if abs(zone) > WIDEST_ZONE else float(started) + zone


def _corrected_upload(uploaded: float, offset: ClockOffset) -> float:
    """The time in a batch id by the exporter's clock, as far as the clock offset is known."""
    if offset.seconds is None:
        return uploaded
    return uploaded + 2 * (offset.zone_hours or 0.0) * 3_600 - offset.seconds


def _uploaded(batch: str) -> float | None:
    """The local time at the beginning of a batch id, read as UTC; None if there is none."""
    stamp = batch[:_DIGITS]
    if len(stamp) < _DIGITS or not (stamp.isascii() and stamp.isdigit()):
        return None
    try:
        return float(calendar.timegm(time.strptime(stamp, _STAMP)))
    except ValueError:
        return None
