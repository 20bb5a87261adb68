"""The machine of the exporter: a wall clock that is set, and a suspended machine."""

from __future__ import annotations

import signal
import threading
import time
from itertools import cycle
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from bench.soak.watch import Exporter

STEPS: Final = (-1.0, 1.0, -600.0, 600.0, -3_600.0, 3_600.0, -86_400.0, 86_400.0)
"""Seconds by which the wall clock is set, in this order: it is right again after every second step."""

SUSPENDED_FOR: Final = (3.0, 6.0)
ASLEEP_FOR: Final = 3_600.0
"""Seconds by which the wall clock is ahead after a suspension in which the monotonic clock stood still."""


class Machine:
    """The wall clock and the running of one exporter."""

    def __init__(self, folder: Path, exporter: Exporter, random: Random) -> None:
        """``folder`` has the file ``clock``, which the exporter's clock follows."""
        self._file = folder / "clock"
        self._exporter = exporter
        self._random = random
        self._steps = cycle(STEPS)
        self._ahead = 0.0
        self.suspensions: list[tuple[float, float]] = []
        """Monotonic seconds of the beginning and the end of each."""

    def set_clock(self) -> str:
        """Set the wall clock; returns by how much."""
        step = next(self._steps)
        self._set(self._ahead + step)
        return f"wall clock set by {step:+g} s"

    def suspend(self) -> str:
        """Suspend the exporter for some seconds; sometimes the machine was asleep for an hour."""
        seconds = self._random.uniform(*SUSPENDED_FOR)
        asleep = len(self.suspensions) % 2 == 1
        begun = time.monotonic()
        self._exporter.process.send_signal(signal.SIGSTOP)
        try:
            threading.Event().wait(seconds)
            if asleep:
                self._set(self._ahead + ASLEEP_FOR)
        finally:
            self._exporter.process.send_signal(signal.SIGCONT)
        self.suspensions.append((begun, time.monotonic()))
        return f"suspended for {seconds:.1f} s" + (f", wall clock {ASLEEP_FOR:+g} s" if asleep else "")

    def reset(self) -> None:
        """Set the wall clock right."""
        self._set(0.0)

    def _set(self, ahead: float) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(f"{time.time() + ahead}\n", encoding="utf-8")
        new.replace(self._file)
        self._ahead = ahead
