"""When an attempt began, by the exporter's clock: from the API's time and the time in the batch id."""

from __future__ import annotations

import time

import pytest

from exporter.tracking.attempt_start import attempt_began
from exporter.tracking.clock_offset import ClockOffset
from exporter.tracking.model import Progress

UPLOADED = 1_795_282_470.0

ZONES = [0.0, 8.0, 5.5, -5.0, -8.0, 14.0]


def batch_id(uploaded: float, zone: float) -> str:
    """A batch id of a server in a time zone (hours)."""
    return time.strftime("%Y%m%d%H%M%S", time.gmtime(uploaded + zone * 3600)) + "123456"


def measured(offset: float) -> ClockOffset:
    """A clock offset that was measured as ``offset`` seconds."""
    found = ClockOffset()
    at = int(UPLOADED + offset)
    found.observe(Progress("waiting"), Progress("parsing", processing_started_at=at), since=UPLOADED, now=UPLOADED + 1)
    return found


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("known", [False, True])
def test_the_start_is_known_in_every_time_zone(zone: float, known: bool) -> None:
    """API times are too small by the zone, batch ids too large: together they tell, also before any transition."""
    offset = measured(-zone * 3600) if known else ClockOffset()
    began = attempt_began(UPLOADED + 3 - zone * 3600, batch_id(UPLOADED, zone), offset)
    assert began is not None
    assert abs(began - (UPLOADED + 3)) <= 2


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("waited", [0, 600, 2_000, 86_400, 90 * 86_400])
def test_the_start_is_never_too_late(zone: float, waited: int) -> None:
    """A document that waited for long, or was retried: an end is rather left out than counted wrongly."""
    started = UPLOADED + waited
    began = attempt_began(started - zone * 3600, batch_id(UPLOADED, zone), ClockOffset())
    assert began is not None
    assert began <= started + 1 + max(-zone, 0) * 3600 * (waited > 14 * 3600)


@pytest.mark.parametrize("zone", ZONES)
def test_the_batch_id_alone_is_corrected_by_the_offset(zone: float) -> None:
    """Documents of pipelines have no times of their own."""
    began = attempt_began(None, batch_id(UPLOADED, zone), measured(-zone * 3600))
    assert began is not None
    assert abs(began - UPLOADED) <= 2


@pytest.mark.parametrize("batch", ["", "b", "2026", "99999999999999123456", "2026112117²610123456"])
def test_an_id_without_a_time_tells_nothing(batch: str) -> None:
    """Such ids come from a configuration."""
    assert attempt_began(None, batch, ClockOffset()) is None
    assert attempt_began(5, batch, ClockOffset()) == 5
