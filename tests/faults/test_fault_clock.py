"""Changes of the wall clock and daylight saving time: polling continues, and no stall is reported."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.faults.page import MAIN, Page
from tests.integration.harness import ROOT, get, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.conftest import Launch

DAY = 86_400.0
BEFORE_AUTUMN = datetime(2027, 10, 31, 0, 59, 59, tzinfo=UTC).timestamp()
"""One second before clocks in Berlin go back from 3:00 to 2:00."""
BEFORE_SPRING = datetime(2027, 3, 28, 0, 59, 59, tzinfo=UTC).timestamp()
"""One second before clocks go forward from 2:00 to 3:00."""
MOMENTS = [BEFORE_SPRING + seconds for seconds in (0, DAY, 0, -600, -3000, -DAY)]
"""Steps of ten minutes, of less than an hour, and of a day."""


@pytest.mark.slow
def test_the_clock_is_set_while_it_runs(launch: Launch, tmp_path: Path) -> None:
    """Steps of minutes and days, back and forth, and both changes of daylight saving time in a zone that has it."""
    file = tmp_path / "clock"
    file.write_text(f"{BEFORE_AUTUMN}\n")
    folder = ROOT / "tests" / "faults" / "turned_clock"
    variables = {"TURNED_CLOCK": str(file), "TZ": "Europe/Berlin", "PYTHONPATH": f"{folder}:{ROOT}"}
    program = launch(variables=variables)
    port = program.port()
    until(lambda: Page.of(port).is_known(MAIN))
    last = Page.of(port).target("last_success_timestamp_seconds", MAIN)
    assert last is not None
    assert BEFORE_AUTUMN < last < BEFORE_AUTUMN + 60
    for moment in MOMENTS:
        file.write_text(f"{moment}\n")
        until(lambda: _now(port) < moment + 60 and _now(port) > moment)  # noqa: B023 called at once
        polls = Page.of(port).polls(MAIN)
        until(lambda: Page.of(port).polls(MAIN) >= polls + 1, why=lambda: program.log)  # noqa: B023
        page = Page.of(port)
        assert 1 == page.target("success", MAIN)
        assert {0.0} == {value for series, value in page.server(MAIN).items() if "_stalled" in series}
        assert 200 == get(port, "/-/healthy").status
    assert {} == Page.of(port).failures(MAIN)
    assert "Traceback" not in program.log
    assert 0 == program.stop()


def _now(port: int) -> float:
    """The exporter's clock at its last poll."""
    return Page.of(port).target("last_success_timestamp_seconds", MAIN) or 0.0
