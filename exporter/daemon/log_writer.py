"""Writes the log in a thread of its own: a reader that has stopped, such as a pager, must not stop the exporter."""

from __future__ import annotations

import logging
import os
import select
import threading
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

LARGEST_QUEUE: Final = 4 * 1024 * 1024
"""Bytes that may wait to be written: some 20 000 lines."""


class LogWriter:
    """A bounded queue of lines and the thread that writes them. Thread-safe; callers never wait for the reader.

    Lines that do not fit into the queue, or that cannot be written, are dropped and counted.
    """

    def __init__(self, descriptor: int, *, on_resumed: Callable[[int], None], limit: int = LARGEST_QUEUE) -> None:
        """``descriptor``: of the file to write to. ``on_resumed`` gets the number of lines that were dropped.

        It is called in the thread of the writer once everything that waited is written.
        """
        self.dropped = 0
        """How many lines were dropped so far."""
        self._descriptor = descriptor
        self._on_resumed = on_resumed
        self._limit = limit
        self._condition = threading.Condition()
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._unreported = 0
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def put(self, line: bytes) -> None:
        """Write ``line`` soon, or drop it if too much is waiting."""
        with self._condition:
            if self._size + len(line) > self._limit:
                self._drop()
                return
            self._lines.append(line)
            self._size += len(line)
            self._condition.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds until everything is written. False if that did not suffice."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._size, timeout)

    def _drop(self) -> None:
        self.dropped += 1
        self._unreported += 1

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._lines)
                line = self._lines.popleft()
            written = self._write(line)
            with self._condition:
                resumed = 0
                if not written:
                    self._drop()
                elif not self._lines:
                    resumed, self._unreported = self._unreported, 0
            if resumed:
                self._on_resumed(resumed)
            with self._condition:
                self._size -= len(line)
                self._condition.notify_all()

    def _write(self, line: bytes) -> bool:
        """Write to the descriptor itself: Python could not end while a thread is stuck in a buffered write."""
        rest = memoryview(line)
        try:
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:
                    self._wait_until_writable()
        except OSError:
            return False
        return True

    def _wait_until_writable(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        poll.poll()


class LogHandler(logging.Handler):
    """Passes formatted records to a ``LogWriter``."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Format the record now: it may refer to objects that change."""
        try:
            line = f"{self.format(record)}\n"
        except Exception:  # noqa: BLE001 as every handler: logging must not raise
            self.handleError(record)
            return
        self._writer.put(line.encode(errors="backslashreplace"))
