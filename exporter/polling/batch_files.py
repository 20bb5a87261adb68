"""Watches files with lists of batches that other programs write, such as those that upload the documents.

Like ``file_sd`` in Prometheus: a changed file takes effect without a reload of the configuration.
"""

from __future__ import annotations

import glob
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from exporter.config.files import Unreadable, read_text
from exporter.polling.batch_list import BatchRef, read_list
from exporter.yamlconf import ConfigError, Problem
from exporter.yamlconf.problems import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

    from exporter.clock import Clock

__all__ = ["BatchFiles", "BatchRef"]

REST: Final = 2.0
"""Seconds for which a file must be unchanged before it is read: a half-written list can be valid YAML."""

PATIENCE: Final = 4.0
"""Seconds after which a changed file is read even if it keeps changing: some programs write continuously."""

_log = structlog.get_logger(__name__)

_Stamp = tuple[int, int, int, int]
"""Version of a file: mtime, ctime, size, inode. It differs once the file is changed, replaced or given a new owner."""


class BatchFiles:
    """The batches listed by all files that match the patterns. Not thread-safe; call ``look`` every few seconds.

    A change or removal takes effect once the file has been unchanged for ``REST`` seconds, but no later than
    ``PATIENCE`` seconds after it was noticed. The first look accepts every file as it is. A file that is invalid or
    unreadable keeps its previous batches.
    """

    def __init__(self, patterns: Iterable[str | PathLike[str]], *, clock: Clock) -> None:
        """``patterns``: paths with shell wildcards, except ``**``."""
        self._patterns = [str(pattern) for pattern in patterns]
        self._clock = clock
        self._files: dict[str, _File] = {}
        self._batches: list[BatchRef] | None = None

    @property
    def problems(self) -> dict[str, str]:
        """The current problems, one line per path."""
        return {path: file.problem for path, file in sorted(self._files.items()) if file.problem}

    def look(self) -> list[BatchRef] | None:
        """All batches without duplicates if they differ from the last look, else None. Never None the first time."""
        at_once = self._batches is None
        found = {path for pattern in self._patterns for path in glob.iglob(pattern)}  # noqa: PTH207 Path has no absolute patterns
        for path in sorted(found | self._files.keys()):
            file = self._files.setdefault(path, _File(path))
            file.look(self._clock, at_once=at_once)
            if file.is_gone:
                del self._files[path]
        batches = list(dict.fromkeys(batch for _, file in sorted(self._files.items()) for batch in file.batches))
        if batches == self._batches:
            return None
        self._batches = batches
        return list(batches)


class _File:
    """One file: the batches of its last valid version, and its current problem."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._read: _Stamp | None = None
        self._differs_since: float | None = None
        self.batches: list[BatchRef] = []
        self.problem = ""
        self.is_gone = False

    def look(self, clock: Clock, *, at_once: bool) -> None:
        """Read the file if it has changed and is stable; with ``at_once``, as soon as it has changed."""
        try:
            stamp = _stamp(self._path)
            if stamp is not None and stamp == self._read:
                self._differs_since = None
            elif at_once or self._may_count(stamp, clock):
                self._take(stamp)
        except FileNotFoundError:
            # Removed while it was being read: the next look decides whether it is gone.
            return
        except Unreadable as refused:
            self._read = None
            self._fail(Problem(self._path, None, "", str(refused)))

    def _may_count(self, stamp: _Stamp | None, clock: Clock) -> bool:
        now = clock.monotonic()
        if self._differs_since is None:
            self._differs_since = now
        rests = stamp is not None and clock.time() - stamp[0] / 1e9 >= REST
        return rests or now - self._differs_since >= PATIENCE

    def _take(self, stamp: _Stamp | None) -> None:
        """Accept the current content, unless the file changes while it is being read."""
        if stamp is None:
            self.is_gone = True
            return
        problems: tuple[Problem, ...] = ()
        batches = self.batches
        try:
            batches = read_list(self._path, read_text(Path(self._path)))
        except ConfigError as error:
            problems = error.problems
        except Unreadable:
            raise
        except Invalid as refused:
            problems = (Problem(self._path, None, "", str(refused)),)
        if stamp != _stamp(self._path):
            return
        self._read, self._differs_since, self.batches = stamp, None, batches
        if problems:
            self._fail(*problems)
        elif self.problem:
            self.problem = ""
            _log.info("batch file is readable again", file=self._path)

    def _fail(self, problem: Problem, *others: Problem) -> None:
        text = f"{problem} (and {len(others)} more)" if others else str(problem)
        if text != self.problem:
            self.problem = text
            _log.warning("batch file could not be read; its previous batches stay in effect", problem=text)


def _stamp(path: str) -> _Stamp | None:
    """None if there is no file. Raises ``Unreadable``, also for a pipe or device: reading it could block forever."""
    try:
        facts = Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        why = f"cannot be read: {error.strerror}"
    else:
        if stat.S_ISREG(facts.st_mode):
            return facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_ino
        why = "is not a regular file: make the pattern match only files"
    raise Unreadable(why)
