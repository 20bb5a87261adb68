"""Watches files that other programs write, and waits until a new version is complete."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from exporter.clock import SystemClock
from exporter.yamlconf.file_access import bounded

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from exporter.clock import Clock

Stamp = tuple[int, ...] | None
"""Version of one file, with its mtime in nanoseconds first; None if there is no file.

It differs once the file is changed, replaced or given another owner or mode.
"""

V = TypeVar("V")


def stamps(*paths: Path) -> tuple[Stamp, ...]:
    """The versions of files, without reading them. They tell apart a file that cannot be examined and no file."""
    return tuple(map(_stamp, paths))


def _stamp(path: Path) -> Stamp:
    try:
        return bounded(path, partial(stamp_of, path))
    except OSError as error:
        return 0, error.errno or 0


def stamp_of(path: Path) -> Stamp:
    """The version of one file. Unlike ``stamps``, this may wait forever for a network file system."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return 0, error.errno or 0
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev


class WatchedFile(Generic[V]):
    """Finds new versions of a file, or of several that belong together. Not thread-safe.

    Half of a file can be valid: a new version counts as complete once two consecutive calls of ``check`` have found it,
    or once ``is_complete`` says so.
    """

    def __init__(
        self,
        version: Callable[[], V],
        current: V | None = None,
        *,
        is_complete: Callable[[V, float], bool] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """``version`` returns what can be compared: ``stamps`` or the content. ``current``: the version in use.

        ``is_complete`` is called with a new version and the seconds since ``check`` first found a difference.
        """
        self._version = version
        self._current = current
        self._is_complete = is_complete
        self._clock = clock or SystemClock()
        self._previous = current
        self._differs_since: float | None = None

    def check(self, *, at_once: bool = False) -> V | None:
        """A complete version that is not in use, if there is one; with ``at_once``, even if it may be incomplete."""
        version, previous = self._version(), self._previous
        self._previous = version
        if version == self._current:
            self._differs_since = None
            return None
        now = self._clock.monotonic()
        if self._differs_since is None:
            self._differs_since = now
        if self._is_complete is None:
            complete = version == previous
        else:
            complete = self._is_complete(version, now - self._differs_since)
        return version if complete or at_once else None

    def accept(self, version: V) -> None:
        """Use ``version``: the next one to be found is another one."""
        self._current = version
        self._differs_since = None

    def invalidate(self) -> None:
        """Find the present version again, because an attempt to use it has failed."""
        self._current = None
