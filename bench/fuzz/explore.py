"""Tries a subject with one input after another, and stops at the first that it does not bear."""

from __future__ import annotations

import resource
import time
import traceback
from random import Random
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

from bench.fuzz.mutation import Mutator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CPU_LIMIT: Final = 2.0
"""Seconds of CPU for one input."""

MEMORY_LIMIT: Final = 96
"""MiB by which one input may raise the peak: an answer of 16 MiB is held, and once more in pieces."""

GROWTH_LIMIT: Final = 192
"""MiB by which the peak may rise over all inputs."""

LARGEST_CORPUS: Final = 1_000
LONGEST_KEPT: Final = 4_096


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


class Finding(Struct, frozen=True):
    """An input that was not borne. ``why``: a traceback, or the limit that it broke."""

    data: bytes
    why: str


class Report(Struct, frozen=True):
    """What was tried. ``slowest``: seconds of CPU; ``growth``: MiB of the peak of memory above the beginning."""

    inputs: int
    seconds: float
    outcomes: int
    slowest: float
    growth: float
    finding: Finding | None = None


def explore(subject: Subject, *, seed: int, inputs: int, note: Callable[[bytes], None] = lambda _data: None) -> Report:
    """Give ``subject`` its seeds, then changed ones, ``inputs`` in all. ``note`` is called before each."""
    random = Random(seed)  # noqa: S311 the same inputs again
    mutator = Mutator(random, subject.seeds, subject.words, subject.separator)
    outcomes: set[int] = set()  # hashes: the texts are long, and the memory of the tests is not to hide a leak
    slowest, number = 0.0, 0
    begun = time.monotonic()
    start = peak = _peak()
    finding = None
    for number in range(1, inputs + 1):
        data = subject.seeds[number - 1] if number <= len(subject.seeds) else mutator.draw()
        note(data)
        cpu = time.process_time()
        try:
            outcome = subject.take(data)
        except Exception:  # noqa: BLE001 that is what is looked for
            finding = Finding(data, traceback.format_exc())
            break
        cpu = time.process_time() - cpu
        slowest = max(slowest, cpu)
        before, peak = peak, _peak()
        if cpu > CPU_LIMIT:
            finding = Finding(data, f"took {cpu:.1f} s of CPU, the limit is {CPU_LIMIT:.0f} s")
            break
        if peak - before > MEMORY_LIMIT or peak - start > GROWTH_LIMIT:
            finding = Finding(data, f"raised the peak of memory by {peak - before:.0f} to {peak - start:.0f} MiB")
            break
        if hash(outcome) not in outcomes:
            outcomes.add(hash(outcome))
            if len(data) <= LONGEST_KEPT and len(mutator.corpus) < LARGEST_CORPUS + len(subject.seeds):
                mutator.corpus.append(data)
    return Report(number, time.monotonic() - begun, len(outcomes), slowest, peak - start, finding)


def _peak() -> float:
    """MiB that this process held at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
