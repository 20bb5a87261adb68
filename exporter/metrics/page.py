"""The answer to one scrape, ready to be sent in chunks, deflated or plain."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from exporter.metrics.crc import combine
from exporter.metrics.deflate import HEADER, trailer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.metrics.deflate import Run

CHUNK = 64 * 1024
"""Minimum size of a chunk in bytes, except the last one."""


class Page:
    """A page at one instant. Pages share the pieces of the exposition: many pages cost the memory of one."""

    __slots__ = ("_runs", "_trailer", "gzip_length", "plain_length")

    def __init__(self, *runs: Run) -> None:
        self._runs = runs
        crc = 0
        for run in runs:
            crc = combine(crc, run.crc, run.operator)
        self.plain_length = sum(run.length for run in runs)
        self._trailer = trailer(crc, self.plain_length)
        self.gzip_length = len(HEADER) + sum(run.size for run in runs) + len(self._trailer)

    def gzip_chunks(self) -> Iterator[bytes]:
        """The page as one gzip member of ``gzip_length`` bytes."""
        waiting, size = [HEADER], len(HEADER)
        for run in self._runs:
            for data in run.data:
                waiting.append(data)
                size += len(data)
                if size >= CHUNK:
                    yield b"".join(waiting)
                    waiting, size = [], 0
        waiting.append(self._trailer)
        yield b"".join(waiting)

    def plain_chunks(self) -> Iterator[bytes]:
        """The page as UTF-8 text of ``plain_length`` bytes."""
        inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS).decompress
        waiting: list[bytes] = []
        size = 0
        for run in self._runs:
            for data in run.data:
                text = inflate(data)
                waiting.append(text)
                size += len(text)
                if size >= CHUNK:
                    yield b"".join(waiting)
                    waiting, size = [], 0
        if waiting:
            yield b"".join(waiting)
