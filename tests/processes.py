"""Processes of this machine, as ``/proc`` shows them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class Process(NamedTuple):
    """A running process. ``session``: the id of the process that began its session."""

    pid: int
    parent: int
    session: int
    command: str


def running() -> Iterator[Process]:
    """Every process that has not ended."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            state, parent, _, session = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[:4]
            command = (folder / "cmdline").read_text(errors="replace").replace("\0", " ").strip()
            if state not in "ZX":
                yield Process(int(folder.name), int(parent), int(session), command)
