"""A subject in a process of its own: what kills it, or never ends, is a finding too."""

from __future__ import annotations

import multiprocessing
import resource
import time
from typing import TYPE_CHECKING, Any, Final

from bench.fuzz.explore import Finding, Report, explore
from bench.fuzz.mutation import LONGEST
from bench.fuzz.subjects import SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from bench.fuzz.explore import Subject

PATIENCE: Final = 60.0
"""Seconds for one input, on a machine that does other things too."""

ADDRESS_SPACE: Final = 4 * 1024**3
"""Bytes."""


STARTING = 30.0
"""Seconds that a process may take to begin."""


class Trial:
    """One subject. To be started, and looked at until there is a report."""

    def __init__(self, name: str, seed: int, inputs: int, make: Callable[[], Subject] | None = None) -> None:
        """``make``: instead of the subject of that name."""
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._input = context.RawArray("B", LONGEST)
        self._length = context.RawValue("i", 0)
        self._number = context.RawValue("q", 0)
        self._connection, there = context.Pipe(duplex=False)
        arguments = (make or SUBJECTS[name], seed, inputs, self._input, self._length, self._number, there)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._there = there
        self._seen = -1
        self._since = self._begun = time.monotonic()

    def start(self) -> None:
        """Begin."""
        self._process.start()
        self._there.close()
        self._since = self._begun = time.monotonic()

    def look(self, timeout: float, patience: float = PATIENCE) -> Report | None:
        """The report, once there is one within ``timeout`` seconds. A process that stands still is ended."""
        if self._connection.poll(timeout):
            try:
                report: Report = self._connection.recv()
            except EOFError:
                self._process.join()
                return self._failed(f"ended the process (exit code {self._process.exitcode})")
            self._process.join()
            return report
        number = self._number.value
        if number != self._seen:
            self._seen, self._since = number, time.monotonic()
        # Before the first input the process imports what it tries.
        if time.monotonic() - self._since <= (patience if number else max(patience, STARTING)):
            return None
        self._process.kill()
        self._process.join()
        return self._failed(f"did not end within {patience:.0f} s")

    def _failed(self, why: str) -> Report:
        data = bytes(self._input[: self._length.value])
        return Report(self._number.value, time.monotonic() - self._begun, 0, 0.0, 0.0, Finding(data, why))


def _serve(  # noqa: PLR0917 of a process
    make: Callable[[], Subject], seed: int, inputs: int, shared: Any, length: Any, number: Any, report: Connection
) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def note(data: bytes) -> None:
        length.value = len(data)
        memoryview(shared).cast("B")[: len(data)] = data
        number.value += 1

    subject = make()
    try:
        report.send(explore(subject, seed=seed, inputs=inputs, note=note))
    finally:
        subject.close()
