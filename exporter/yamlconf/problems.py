"""Problems of a configuration: reported all at once, each with its place and remedy, never with a secret."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_KEY_LIKE = re.compile(r"(dataset|app)-", re.IGNORECASE)
# Dollar signs may be doubled for Docker Compose, and the first one is easily omitted.
_HASH_LIKE = re.compile(r"2[abxy]?\$+[0-9]{2}\$")
_PEM_LIKE = re.compile(r"-----BEGIN|PRIVATE KEY")
_MAX_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """An error, or as a warning a setting without effect, at one place. ``path`` is "" for the file as a whole."""

    file: str
    line: int | None
    path: str
    message: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"


class ConfigError(Exception):
    """The configuration is invalid. ``problems`` has at least one entry; the text has one line per problem."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class Invalid(ValueError):
    """A value is rejected. The text continues a sentence that starts with the value ("is not a UUID; …").

    It never contains the value itself.
    """


def hash_like(text: str) -> bool:
    """Whether ``text`` contains a bcrypt hash or the beginning of one."""
    return _HASH_LIKE.search(text) is not None


def show(text: str) -> str:
    """``text`` quoted for a message: escaped, truncated, and masked if it looks like a misplaced secret.

    Secrets are API keys, bcrypt hashes and private keys.
    """
    if _KEY_LIKE.search(text) or _PEM_LIKE.search(text) or hash_like(text):
        return "'…'"
    return repr(text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…")


def show_path(path: Path) -> str:
    """``path`` as one printable line."""
    text = str(path)
    return text if text.isprintable() else repr(text)
