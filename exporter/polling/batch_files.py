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
    bounded,
    read_text,
    read_tree,
    stamp_of,
    stamps,
)
from exporter.yamlconf.files import nothing_matches
from exporter.yamlconf.tree import Malformed, Mapping, Scalar, parse, parse_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from os import PathLike

    from exporter.clock import Clock
    from exporter.yamlconf import Spot
    from exporter.yamlconf.tree import Node

REST: Final = 2.0
"""Seconds for which a file must be unchanged before it is read: a half-written list can be valid YAML."""

MAX_WAIT: Final = 4.0
"""Seconds after which a changed file is read even if it keeps changing: some programs write continuously."""

_RENAME: Final = "write a new file and rename it over the old one"
_UPLOAD_ANSWER: Final = (
    "is Dify's answer to an upload: add dataset_id, which it does not contain, and make it an item of a list, such as "
    '[{"dataset_id": "…", "batch": "…"}]'
)

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
    if "dataset_id" not in given.lines:
        yield "dataset_id", "is missing: add it; Dify's answer to an upload does not contain it"
    if not {"batch", "batches"} & given.lines.keys():
        yield "batch", "is missing: set batch or batches"


# Dify's batch ids have 20 digits, and programs write them unquoted. A number of that length keeps all its digits.
_BATCH: Final = replace(BATCH, name="batch ID", unquoted=re.compile("[0-9]{20}"))

_LIST: Final = ListOf(
    Section(
        _Item,
        keys=(
            Key("dataset_id", DATASET_ID, "ID of the knowledge base."),
            Key("batch", _BATCH, "ID of a batch."),
            Key("batches", ListOf(_BATCH, generated=True), "IDs of batches."),
        ),
        errors=_item_errors,
        extensible=True,
    ),
    generated=True,
)


class BatchList(NamedTuple):
    """The batches of a list in order, and what is odd about them: one of another program may be right."""

    batches: list[BatchRef]
    warnings: tuple[Problem, ...]


def read_list(file: str, text: str) -> BatchList:
    """The batches of ``text``: JSON if ``file`` ends in .json, else YAML. Other keys are ignored.

    Raises ``ConfigError`` with all problems: one invalid item makes the whole list suspect.
    """
    try:
        root = parse_json(text) if file.lower().endswith(".json") else parse(text)
    except Malformed as malformed:
        problem = Problem(file, malformed.line, "", f"{malformed}; {_RENAME}")
    else:
        if root is None:
            problem = Problem(file, None, "", f"is empty: write [] for no batches, {_RENAME}")
        elif _is_answer_to_upload(root):
            problem = Problem(file, root.line or None, "", _UPLOAD_ANSWER)
        else:
            items, warnings = read_tree(file, root, _LIST)
            return BatchList([*_batches(items)], warnings)
    raise ConfigError([problem])


def _is_answer_to_upload(root: Node) -> bool:
    """Whether ``root`` is what Dify answers to an upload: a document and its batch, outside of a list."""
    names = {name.text for name, _ in root.pairs() if isinstance(name, Scalar)} if isinstance(root, Mapping) else set()
    return "batch" in names and bool({"document", "documents"} & names)


def _batches(items: Iterable[_Item]) -> Iterator[BatchRef]:
    for item in items:
        if item.batch:
            yield BatchRef(item.dataset_id, item.batch)
        yield from (BatchRef(item.dataset_id, batch) for batch in item.batches)


class BatchFiles:
    """The batches listed by all files that match the patterns. Not thread-safe; call ``update`` every few seconds.

    A change or removal takes effect once the file has been unchanged for ``REST`` seconds, but no later than
    ``MAX_WAIT`` seconds after it was detected. The first call accepts every file as it is. A file that is invalid or
    unreadable keeps its previous batches. A pattern that matches nothing may match later; until then it is reported.
    """

    def __init__(self, patterns: Iterable[str | PathLike[str]], *, clock: Clock) -> None:
        """``patterns``: paths with shell wildcards, except ``**``."""
        self._matches: dict[str, set[str]] = {str(pattern): set() for pattern in patterns}
        self._clock = clock
        self._files: dict[str, _File] = {}
        self._batches: list[BatchRef] | None = None
        self._unavailable: set[str] = set()
        self.unmatched: dict[str, str] = {}
        """The patterns that match nothing or cannot be searched, each with a message."""
        self.problem_count = 0
        """Files that cannot be read, and patterns that match nothing. Can be read by any thread."""

    @property
    def problems(self) -> dict[str, str]:
        """The current problems of files, one line per path."""
        return {path: file.problem for path, file in sorted(self._files.items()) if file.problem}

    @property
    def warnings(self) -> list[str]:
        """What is odd about lists that are in effect, one line per path."""
        return [file.warning for _, file in sorted(self._files.items()) if file.warning]

    def update(self) -> list[BatchRef] | None:
        """All batches without duplicates if they have changed since the last call, else None. Never None at first."""
        at_once = self._batches is None
        versions: dict[str, Stamp] = {}
        for pattern, matches in self._matches.items():
            try:
                found = bounded(pattern, partial(_versions, pattern, [*matches]))
            except OSError as error:
                self._report_unavailable(pattern, error.strerror)
            else:
                matches.update(found)
                versions |= found
                self._unavailable.discard(pattern)
        for path, version in sorted(versions.items()):
            file = self._files.setdefault(path, _File(path, self._clock))
            file.update(version, at_once=at_once)
            if file.is_gone:
                del self._files[path]
        self._examine_patterns()
        self.problem_count = len(self.problems) + len(self.unmatched)
        batches = list(dict.fromkeys(batch for _, file in sorted(self._files.items()) for batch in file.batches))
        if batches == self._batches:
            return None
        self._batches = batches
        return list(batches)

    def _examine_patterns(self) -> None:
        """Report patterns that match nothing. A file that is missing for a moment still counts as a match."""
        for pattern, matches in self._matches.items():
            matches.intersection_update(self._files)
            if pattern in self._unavailable:
                continue
            if matches and pattern in self.unmatched:
                del self.unmatched[pattern]
                _log.info("batch file pattern matches now", pattern=pattern, files=len(matches))
            elif not matches and pattern not in self.unmatched:
                self.unmatched[pattern] = f"{pattern}: {nothing_matches(pattern)}"
                _log.warning("batch file pattern matches nothing", problem=self.unmatched[pattern])

    def _report_unavailable(self, pattern: str, reason: str | None) -> None:
        """Report, once, files whose file system does not respond. Their previous batches stay in effect."""
        if pattern not in self._unavailable:
            self._unavailable.add(pattern)
            self.unmatched[pattern] = f"{pattern}: cannot be searched: {reason}"
            _log.warning("batch files are not available; their previous batches stay", problem=self.unmatched[pattern])


def _versions(pattern: str, known: Iterable[str]) -> dict[str, Stamp]:
    """The versions of all files that match, and of the ``known`` ones. May wait forever for a network file system."""
    found = {*known, *glob.iglob(pattern)}  # noqa: PTH207 Path has no absolute patterns
    return {path: stamp_of(Path(path)) for path in found}


class _File:
    """One file: the batches of its last valid version, and its current problem."""

    def __init__(self, path: str, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._version: Stamp = None
        self._watched = WatchedFile(lambda: (self._version,), is_complete=self._is_complete, clock=clock)
        self.batches: list[BatchRef] = []
        self.problem = ""
        self.warning = ""
        self.is_gone = False

    def update(self, present: Stamp, *, at_once: bool) -> None:
        """Read the file if it has changed and is complete; with ``at_once``, as soon as it has changed."""
        self._version = present
        version = self._watched.check(at_once=at_once)
        if version is None:
            return
        if version == (None,):
            self.is_gone = True
            return
        problems: tuple[Problem, ...] = ()
        found = None
        try:
            found = read_list(self._path, read_text(Path(self._path)))
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
        if version != stamps(Path(self._path)):
            return  # changed while it was being read
        self._watched.accept(version)
        if found is None:
            self._fail(*problems)
        else:
            self._use(found)

    def _use(self, found: BatchList) -> None:
        self.batches = found.batches
        before, self.warning = self.warning, _summary(*found.warnings)
        if self.problem:
            self.problem = ""
            _log.info("batch file is readable again", file=self._path)
        if self.warning and self.warning != before:
            _log.warning("batch file lists odd ids", problem=self.warning)

    def _is_complete(self, version: tuple[Stamp, ...], differs_for: float) -> bool:
        (stamp,) = version
        return differs_for >= MAX_WAIT or (stamp is not None and self._clock.time() - stamp[0] / 1e9 >= REST)

    def _fail(self, *problems: Problem) -> None:
        text = _summary(*problems)
        if text != self.problem:
            self.problem = text
            _log.warning("batch file could not be read; its previous batches stay in effect", problem=text)


def _summary(*problems: Problem) -> str:
    """The first of several problems, and how many there are."""
    if len(problems) > 1:
        return f"{problems[0]} (and {len(problems) - 1} more)"
    return "".join(map(str, problems))
