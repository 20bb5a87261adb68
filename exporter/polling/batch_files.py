"""Files with lists of batches that other programs write, such as those that upload the documents.

Like ``file_sd`` in Prometheus: a changed file takes effect without a reload of the configuration.
"""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from exporter.config.keys import BATCH, DATASET_ID
from exporter.yamlconf import (
    ConfigError,
    Given,
    Invalid,
    Key,
    ListOf,
    Missing,
    Problem,
    Section,
    Stamp,
    Unreadable,
    WatchedFile,
    read_text,
    read_tree,
    stamps,
)
from exporter.yamlconf.tree import Malformed, parse, parse_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from os import PathLike

    from exporter.clock import Clock
    from exporter.yamlconf import Spot

REST: Final = 2.0
"""Seconds for which a file must be unchanged before it is read: a half-written list can be valid YAML."""

MAX_WAIT: Final = 4.0
"""Seconds after which a changed file is read even if it keeps changing: some programs write continuously."""

_RENAME: Final = "write a new file and rename it over the old one"

_log = structlog.get_logger(__name__)


class BatchRef(NamedTuple):
    """A batch in a dataset."""

    dataset_id: str
    batch: str


@dataclass(frozen=True, slots=True)
class _Item:
    dataset_id: str
    batch: str | None = None
    batches: tuple[str, ...] = ()


def _item_errors(given: Given) -> Iterator[tuple[Spot, str]]:
    if not {"batch", "batches"} & given.lines.keys():
        yield "batch", "is missing: set batch or batches"


# Dify's batch ids have 20 digits, and programs write them unquoted. A number of that length keeps all its digits.
_BATCH: Final = replace(BATCH, name="batch ID", unquoted=re.compile("[0-9]{20}"))

_LIST: Final = ListOf(
    Section(
        _Item,
        keys=(
            Key("dataset_id", DATASET_ID, "ID of the knowledge base.", required=True),
            Key("batch", _BATCH, "ID of a batch."),
            Key("batches", ListOf(_BATCH, generated=True), "IDs of batches."),
        ),
        errors=_item_errors,
        extensible=True,
    ),
    generated=True,
)


def read_list(file: str, text: str) -> list[BatchRef]:
    """Return the batches of ``text`` in order: JSON if ``file`` ends in .json, else YAML. Other keys are ignored.

    Raises ``ConfigError`` with all problems: one invalid item makes the whole list suspect.
    """
    try:
        root = parse_json(text) if file.lower().endswith(".json") else parse(text)
    except Malformed as malformed:
        problem = Problem(file, malformed.line, "", f"{malformed}; {_RENAME}")
    else:
        if root is not None:
            items, _ = read_tree(file, root, _LIST)
            return [
                BatchRef(item.dataset_id, batch)
                for item in items
                for batch in (*([item.batch] if item.batch else []), *item.batches)
            ]
        problem = Problem(file, None, "", f"is empty: write [] for no batches, {_RENAME}")
    raise ConfigError([problem])


class BatchFiles:
    """The batches listed by all files that match the patterns. Not thread-safe; call ``update`` every few seconds.

    A change or removal takes effect once the file has been unchanged for ``REST`` seconds, but no later than
    ``MAX_WAIT`` seconds after it was detected. The first call accepts every file as it is. A file that is invalid or
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

    def update(self) -> list[BatchRef] | None:
        """All batches without duplicates if they have changed since the last call, else None. Never None at first."""
        at_once = self._batches is None
        found = {path for pattern in self._patterns for path in glob.iglob(pattern)}  # noqa: PTH207 Path has no absolute patterns
        for path in sorted(found | self._files.keys()):
            file = self._files.setdefault(path, _File(path, self._clock))
            file.update(at_once=at_once)
            if file.is_gone:
                del self._files[path]
        batches = list(dict.fromkeys(batch for _, file in sorted(self._files.items()) for batch in file.batches))
        if batches == self._batches:
            return None
        self._batches = batches
        return list(batches)


class _File:
    """One file: the batches of its last valid version, and its current problem."""

    def __init__(self, path: str, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._stamps = partial(stamps, Path(path))
        self._watched = WatchedFile(self._stamps, is_complete=self._is_complete, clock=clock)
        self.batches: list[BatchRef] = []
        self.problem = ""
        self.is_gone = False

    def update(self, *, at_once: bool) -> None:
        """Read the file if it has changed and is complete; with ``at_once``, as soon as it has changed."""
        version = self._watched.check(at_once=at_once)
        if version is None:
            return
        if version == (None,):
            self.is_gone = True
            return
        problems: tuple[Problem, ...] = ()
        batches = self.batches
        try:
            batches = read_list(self._path, read_text(Path(self._path)))
        except Missing:
            return  # removed while it was being read: the next call decides whether it is gone
        except ConfigError as error:
            problems = error.problems
        except Unreadable as refused:
            self._watched.invalidate()
            self._fail(Problem(self._path, None, "", str(refused)))
            return
        except Invalid as refused:
            problems = (Problem(self._path, None, "", str(refused)),)
        if version != self._stamps():
            return  # changed while it was being read
        self._watched.accept(version)
        self.batches = batches
        if problems:
            self._fail(*problems)
        elif self.problem:
            self.problem = ""
            _log.info("batch file is readable again", file=self._path)

    def _is_complete(self, version: tuple[Stamp, ...], differs_for: float) -> bool:
        (stamp,) = version
        return differs_for >= MAX_WAIT or (stamp is not None and self._clock.time() - stamp[0] / 1e9 >= REST)

    def _fail(self, problem: Problem, *others: Problem) -> None:
        text = f"{problem} (and {len(others)} more)" if others else str(problem)
        if text != self.problem:
            self.problem = text
            _log.warning("batch file could not be read; its previous batches stay in effect", problem=text)
