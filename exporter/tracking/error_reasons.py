"""Classifies the error text of a document as one of a few reasons. The text itself never becomes a label.

The reason says where to look: at the limits and the account of the model provider (``rate_limit``, ``quota``,
``timeout``), at the model, at the plugin daemon, at the databases and files of the server (``storage``), or at the
document (``unsupported``). The name of a component takes precedence over the way in which it failed.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MAX_TEXT = 4_096
"""Characters of an error text that are searched: an exception can have any length."""


class Pattern(NamedTuple):
    """What to search for, and its reason. The first pattern whose ``search`` returns something true wins.

    ``words``: search the text without the names and data that are quoted in it.
    """

    search: Callable[[str], object]
    reason: str
    words: bool = False


class _Row(msgspec.Struct):
    reason: str
    patterns: tuple[str, ...] = ()
    codes: tuple[int, ...] = ()


def _code(status: int) -> str:
    """Match an HTTP status, but not just any equal number."""
    return (
        rf"(?:code|status|error|http)\b[^\d\n]{{0,12}}\b{status}\b"
        rf"|\b{status}\b[ :-]{{1,3}}(?:client|server|too|payment|gateway|resource)"
        rf"|^\W*{status}\b"
    )


def _builtin_patterns() -> Iterator[Pattern]:
    """The patterns of ``error_patterns.yaml``, in its order."""
    text = resources.files("exporter.tracking").joinpath("error_patterns.yaml").read_text(encoding="utf-8")
    for row in msgspec.yaml.decode(text, type=list[_Row]):
        expressions = (*row.patterns, *map(_code, row.codes))
        yield Pattern(re.compile("|".join(expressions), re.IGNORECASE).search, row.reason, words=True)


PATTERNS = tuple(_builtin_patterns())
"""The built-in patterns."""

_FILE_TYPES = (
    r"(?:docx?|xlsx?|pptx?|pdf|csv|tsv|txt|mdx?|markdown|html?|xml|json|ya?ml|epub|eml|msg|properties|vtt|rtf|odt|py)"
)
_STATEMENT = re.compile(r"\[(?:SQL|parameters): ")
_LINK = re.compile(r"https?://([\w.:-]+)[^\s'\"<>,;()\[\]{}]*")
_QUOTED_FILE = re.compile(rf"([\"'`])[^\"'`\n]{{1,255}}?\.{_FILE_TYPES}\1", re.IGNORECASE)
_PATH = re.compile(r"(?<![\w.:/\\])(?:[a-z]:)?[/\\][^\s'\"<>,;()\[\]{}]+", re.IGNORECASE)
_FILE = re.compile(rf"(?<![\w./\\@%+~-])[\w./\\@%+~-]{{1,255}}\.{_FILE_TYPES}\b", re.IGNORECASE)


def classify(text: str | None, patterns: Iterable[Pattern] = PATTERNS) -> str:
    """The reason for ``text``; ``other`` if no pattern matches."""
    shown = (text or "")[:MAX_TEXT]
    words = _words(shown)
    found = (pattern.reason for pattern in patterns if pattern.search(words if pattern.words else shown))
    return next(found, "other")


def _words(text: str) -> str:
    """``text`` on one line, without what users named and wrote: files, paths, the text of a document in a statement.

    The host of a link is kept: it is often the only hint at the component that failed.
    """
    text = _STATEMENT.split(text, maxsplit=1)[0]
    text = _LINK.sub(r" \1 ", text)
    for quoted in (_QUOTED_FILE, _PATH, _FILE):
        text = quoted.sub(" ", text)
    return " ".join(text.split())
