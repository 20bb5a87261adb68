"""Access to files that the configuration names, without waiting forever for any of them.

A pipe waits for another program, a device for its hardware, a network file system for its server. A thread that waits
like this cannot be ended, and if it is the main thread, no signal is handled.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

TIMEOUT: Final = 5.0
"""Seconds that a local disk never needs, and a loaded network file system hardly ever."""

PIPE_TIMEOUT: Final = 60.0
"""Seconds for the program that writes to a pipe, which may decrypt a file and ask somebody for a password."""

_abandoned: set[str] = set()
"""The paths with a call that has not returned in time."""

_lock = threading.Lock()


def bounded(path: str | os.PathLike[str], call: Callable[[], T], timeout: float | None = None) -> T:
    """The result of ``call``, which accesses ``path``. OSError if it does not return within ``timeout`` seconds.

    It runs in a thread of its own, which is abandoned then. Until its call returns, further ones for the path fail at
    once, so that neither threads nor waiting times add up. Raises what ``call`` raises.
    """
    key = os.fspath(path)
    results: list[T] = []
    errors: list[Exception] = []

    def work() -> None:
        try:
            results.append(call())
        except Exception as error:  # noqa: BLE001 passed on to the caller
            errors.append(error)
        with _lock:
            _abandoned.discard(key)

    if key not in _abandoned:
        thread = threading.Thread(target=work, name="file access", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            raise OSError(errno.EAGAIN, "no thread can be started; raise the limit of tasks (pids)") from None
        thread.join(TIMEOUT if timeout is None else timeout)
    with _lock:
        if not results and not errors:
            _abandoned.add(key)
            raise TimeoutError(errno.ETIMEDOUT, "it does not respond; is its file system available?")
    if errors:
        raise errors.pop()
    return results[0]


def open_regular(path: str | os.PathLike[str], *, pipe: bool = False) -> BinaryIO | None:
    """Open a regular file, or with ``pipe`` a pipe, for reading. None for anything else, which is not opened.

    Opening alone would wait for the other end of a pipe, and have an effect on some devices.
    """

    def is_accepted(mode: int) -> bool:
        return stat.S_ISREG(mode) or (pipe and stat.S_ISFIFO(mode))

    if not is_accepted(Path(path).stat().st_mode):
        return None
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    stream = os.fdopen(descriptor, "rb")
    if not is_accepted(os.fstat(descriptor).st_mode):  # something else has taken its place meanwhile
        stream.close()
        return None
    os.set_blocking(descriptor, True)
    return stream
