"""The sides of a comparison, each in a separate process, so that neither pays for the other's memory."""

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
"""Time limit of a command in seconds."""

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Cost(NamedTuple):
    """Wall and CPU seconds, and the result."""

    wall: float
    cpu: float
    value: Any


def resident() -> int:
    """Resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE


class Side:
    """A process with named commands; ``ask`` runs one of them and returns its cost."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ask(self, command: str) -> Cost:
        """Run a command. Raises TimeoutError, and EOFError when the process has ended."""
        self._connection.send(command)
        if not self._connection.poll(ANSWER_TIMEOUT):
            raise TimeoutError(f"{command}: no answer within {ANSWER_TIMEOUT:g} s")
        return Cost(*self._connection.recv())


@contextlib.contextmanager
def side(make: Callable[..., Mapping[str, Callable[[], Any]]], *arguments: Any) -> Iterator[Side]:
    """Start a process that calls ``make``, whose result maps names to commands."""
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
                # The exporter does the same once it is warm; the other sides benefit from it too.
                gc.collect()
                gc.freeze()
