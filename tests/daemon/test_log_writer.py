"""The thread that writes the log: nothing waits for a reader that has stopped."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from typing import TYPE_CHECKING

import pytest

from exporter.daemon.log_writer import LogWriter

if TYPE_CHECKING:
    from collections.abc import Iterator

DEADLINE = 60.0
PIPE = 4096
LINE = b"x" * 99 + b"\n"


FIT = 10


class Pipe:
    """A pipe, and the writer at its end, whose queue has room for ``FIT`` lines."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, PIPE)
        self.resumed: list[int] = []
        self.writer = LogWriter(self.writing, on_resumed=self._report, limit=FIT * len(LINE))

    def _report(self, lines: int) -> None:
        self.resumed.append(lines)
        self.writer.put(b"dropped %d\n" % lines)

    def fill(self) -> None:
        """Nothing more can be written until ``drain`` has read as much."""
        assert PIPE == os.write(self.writing, b"-" * PIPE)

    def drain(self) -> None:
        """Read what ``fill`` has written."""
        assert b"-" * PIPE == os.read(self.reading, PIPE)

    def read_lines(self, count: int) -> list[bytes]:
        """Read until there are that many lines."""
        data = b""
        while data.count(b"\n") < count:
            data += os.read(self.reading, PIPE)
        return data.splitlines(keepends=True)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A pipe that nobody reads yet."""
    pipe = Pipe()
    yield pipe
    os.close(pipe.reading)


def test_everything_is_written_in_order(pipe: Pipe) -> None:
    """Lines are written in the order in which they were logged; a flush waits for all of them."""
    lines = [b"line %d\n" % number for number in range(FIT)]
    for line in lines:
        pipe.writer.put(line)

    assert pipe.writer.flush(DEADLINE)
    assert lines == pipe.read_lines(FIT)
    assert 0 == pipe.writer.dropped


def test_a_reader_that_has_stopped(pipe: Pipe) -> None:
    """Logging never waits: what does not fit is dropped and counted, and one line reports it once the reader resumes.

    A flush gives up.
    """
    pipe.fill()
    for _ in range(FIT + 7):
        pipe.writer.put(LINE)
    assert not pipe.writer.flush(0.01)
    pipe.drain()

    assert [*[LINE] * FIT, b"dropped 7\n"] == pipe.read_lines(FIT + 1)
    assert 7 == pipe.writer.dropped
    assert pipe.writer.flush(DEADLINE)
    pipe.writer.put(LINE)
    assert [LINE] == pipe.read_lines(1)
    assert [7] == pipe.resumed


def test_a_descriptor_that_does_not_wait(pipe: Pipe) -> None:
    """A pipe that another program has set to non-blocking is written as completely as others."""
    os.set_blocking(pipe.writing, False)
    pipe.fill()
    for _ in range(FIT + 1):
        pipe.writer.put(LINE)
    pipe.drain()

    assert [*[LINE] * FIT, b"dropped 1\n"] == pipe.read_lines(FIT + 1)


def test_a_write_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk lines are dropped and counted; the first one that is written again comes before the report."""
    written: list[bytes] = []
    full = True
    done = threading.Event()

    def write(_: int, data: memoryview) -> int:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(bytes(data))
        return len(data)

    def report(lines: int) -> None:
        written.append(b"dropped %d" % lines)
        done.set()

    monkeypatch.setattr(os, "write", write)
    writer = LogWriter(-1, on_resumed=report)
    writer.put(LINE)
    writer.put(LINE)
    assert writer.flush(DEADLINE)
    full = False
    writer.put(LINE)

    assert done.wait(DEADLINE)
    assert [LINE, b"dropped 2"] == written
    assert 2 == writer.dropped
