"""The interface of a subject, and the limits for one input."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST: Final = 48 * 1024
"""Maximum bytes of an input."""

CPU_LIMIT: Final = 2.0
"""Maximum CPU seconds for one input."""

MEMORY_LIMIT: Final = 96
"""MiB by which one input may raise the peak: an answer of 16 MiB is held twice, once in pieces."""

GROWTH_LIMIT: Final = 192
"""MiB by which the peak may rise over all inputs; libFuzzer uses 24 for the first input, and more for its corpus.

The memory of instrumented code is allocated before.
"""

_PEAK = re.compile(rb"VmHWM:\s+(\d+) kB")


class Subject(Protocol):
    """Something that parses external data."""

    @property
    def seeds(self) -> Sequence[bytes]:
        """Initial inputs."""
        ...

    @property
    def words(self) -> Sequence[bytes]:
        """Words that the parser knows."""
        ...

    @property
    def separator(self) -> bytes:
        """Separator between the parts of an input; empty if there are no parts."""
        ...

    def take(self, data: bytes) -> str:
        """Parse an input and return a short outcome: an input with a new outcome is mutated further.

        Raises only when the input broke something: documented refusals are outcomes.
        """
        ...

    def close(self) -> None:
        """Close the subject."""
        ...


class TooMuch(Exception):
    """An input exceeded a limit."""


class Watch:
    """Passes inputs to a subject and checks the limits for each. ``close`` also closes the subject.

    ``slowest``: CPU seconds; ``growth``: MiB of peak memory above the start.
    """

    def __init__(self, subject: Subject) -> None:
        self.slowest = 0.0
        self.subject = subject
        # Not ru_maxrss: a new process inherits that of its parent.
        self._status = os.open("/proc/self/status", os.O_RDONLY)
        self._start = self._peak = self._held()

    @property
    def growth(self) -> float:
        """The maximum so far."""
        return self._peak - self._start

    def take(self, data: bytes) -> str:
        """Return the outcome. Raises TooMuch when a limit is exceeded, and whatever the subject raises."""
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
        """Close the subject."""
        os.close(self._status)
        self.subject.close()

    def _held(self) -> float:
        """Peak memory of this process in MiB."""
        found = _PEAK.search(os.pread(self._status, 4_096, 0))
        if found is None:
            raise OSError("/proc/self/status has no peak memory")
        return int(found[1]) / 1024
