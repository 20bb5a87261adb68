"""What a subject is, and what one input may cost it."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST: Final = 48 * 1024
"""Bytes of an input at most."""

CPU_LIMIT: Final = 2.0
"""Seconds of CPU for one input."""

MEMORY_LIMIT: Final = 96
"""MiB by which one input may raise the peak: an answer of 16 MiB is held, and once more in pieces."""

GROWTH_LIMIT: Final = 192
"""MiB by which the peak may rise over all inputs; libFuzzer takes 24 at the first one, and more for what it keeps.

What instrumented code needs is there before.
"""

_PEAK = re.compile(rb"VmHWM:\s+(\d+) kB")


class Subject(Protocol):
    """Something that reads what others write."""

    @property
    def seeds(self) -> Sequence[bytes]:
        """Inputs to begin with."""
        ...

    @property
    def words(self) -> Sequence[bytes]:
        """What it knows."""
        ...

    @property
    def separator(self) -> bytes:
        """Between the parts of an input; empty without parts."""
        ...

    def take(self, data: bytes) -> str:
        """Read an input. What came of it in few words: a new outcome makes an input worth changing further.

        Raises only when the input broke something: documented refusals are outcomes.
        """
        ...

    def close(self) -> None:
        """The end."""
        ...


class TooMuch(Exception):
    """An input that cost more than it may."""


class Watch:
    """Gives inputs to a subject and holds each against the limits. ``close`` ends the subject too.

    ``slowest``: seconds of CPU; ``growth``: MiB of the peak of memory above the beginning.
    """

    def __init__(self, subject: Subject) -> None:
        self.slowest = 0.0
        self.subject = subject
        # Not ru_maxrss: that of a new process begins at what the one that started it held.
        self._status = os.open("/proc/self/status", os.O_RDONLY)
        self._start = self._peak = self._held()

    @property
    def growth(self) -> float:
        """So far."""
        return self._peak - self._start

    def take(self, data: bytes) -> str:
        """The outcome. TooMuch when a limit was broken; whatever else the subject raises."""
        cpu = time.process_time()
        outcome = self.subject.take(data)
        cpu = time.process_time() - cpu
        self.slowest = max(self.slowest, cpu)
        if cpu > CPU_LIMIT:
            raise TooMuch(f"took {cpu:.1f} s of CPU, the limit is {CPU_LIMIT:.0f} s")
        before, self._peak = self._peak, self._held()
        rise = self._peak - before
        if rise > MEMORY_LIMIT or self.growth > GROWTH_LIMIT:
            raise TooMuch(f"raised the peak of memory by {rise:.0f} MiB, to {self.growth:.0f} above the beginning")
        return outcome

    def close(self) -> None:
        """The end."""
        os.close(self._status)
        self.subject.close()

    def _held(self) -> float:
        """MiB that this process held at most so far."""
        found = _PEAK.search(os.pread(self._status, 4_096, 0))
        if found is None:
            raise OSError("/proc/self/status does not tell the peak of memory")
        return int(found[1]) / 1024
