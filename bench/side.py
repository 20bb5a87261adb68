"""The sides of a comparison, each in a process of its own so that neither pays for the other's memory."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from multiprocessing.connection import Connection

ANSWER_TIMEOUT = 120.0
"""Seconds that a side may take for one command."""

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Cost(NamedTuple):
    """Seconds on the wall and of the CPU, and what came of it."""

    wall: float
    cpu: float
    value: Any


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE


class Side:
    """A process that was told what it can do; ``ask`` lets it do so and tells the cost."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ask(self, command: str) -> Cost:
        """Do it. Raises TimeoutError, and EOFError when the process has ended."""
        self._connection.send(command)
        if not self._connection.poll(ANSWER_TIMEOUT):
            raise TimeoutError(f"{command}: no answer within {ANSWER_TIMEOUT:g} s")
        return Cost(*self._connection.recv())


@contextlib.contextmanager
def side(make: Callable[..., Mapping[str, Callable[[], Any]]], *arguments: Any) -> Iterator[Side]:
    """A process that calls ``make``, whose result is what it can do by name."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, make, arguments), daemon=True)
    process.start()
    there.close()
    try:
        yield Side(here)
    finally:
        here.close()
        process.join(10)
        if process.is_alive():
            process.kill()
            process.join()


def _serve(connection: Connection, make: Callable[..., Mapping[str, Callable[[], Any]]], arguments: Any) -> None:
    commands: Mapping[str, Callable[[], Any]] = {}
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            command = connection.recv()
            wall, cpu = time.perf_counter(), time.process_time()
            if command == "make":
                commands = make(*arguments)
                value = None
            elif command == "resident":
                gc.collect()
                value = resident()
            else:
                value = commands[command]()
            connection.send((time.perf_counter() - wall, time.process_time() - cpu, value))
            if command == "make":
                # As the exporter does once it is warm; the others gain by it too.
                gc.collect()
                gc.freeze()
