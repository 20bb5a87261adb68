"""A file shared by two processes: the input being tried, and the cost so far."""

from __future__ import annotations

import mmap
import struct
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from bench.fuzz.limits import LONGEST

if TYPE_CHECKING:
    from pathlib import Path

_BEGUN: Final = struct.Struct("<QQ")
_SPENT: Final = struct.Struct("<dd")
_HEAD: Final = _BEGUN.size + _SPENT.size


class Record(Struct, frozen=True):
    """``number`` and ``data`` of the last input that was started; ``slowest`` and ``growth`` as in ``Watch``."""

    number: int
    data: bytes
    slowest: float
    growth: float


class Recorder:
    """Writes the record to shared memory, which survives the process."""

    def __init__(self, path: Path) -> None:
        with path.open("w+b") as file:
            file.truncate(_HEAD + LONGEST)
            self._shared = mmap.mmap(file.fileno(), 0)
        self._number = 0

    def begin(self, data: bytes) -> None:
        """Record the start of the next input."""
        self._number += 1
        stored = data[:LONGEST]
        _BEGUN.pack_into(self._shared, 0, self._number, len(stored))
        self._shared[_HEAD : _HEAD + len(stored)] = stored

    def spend(self, slowest: float, growth: float) -> None:
        """Record the cost so far."""
        _SPENT.pack_into(self._shared, _BEGUN.size, slowest, growth)


def read(path: Path) -> Record | None:
    """The record. None when no input was started."""
    if not path.exists():
        return None
    written = path.read_bytes()
    number, length = _BEGUN.unpack_from(written)
    data = written[_HEAD : _HEAD + length]
    return Record(number, data, *_SPENT.unpack_from(written, _BEGUN.size)) if number else None
