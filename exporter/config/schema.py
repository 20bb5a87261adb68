"""What a configuration file may say: kinds of values, and sections as tables of keys. Defaults are the model's own."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

TEXT = frozenset({"text"})
NUMBERS = frozenset({"integer", "number"})
BOOLEANS = frozenset({"boolean"})
ANY = TEXT | NUMBERS | BOOLEANS | {"date"}
"""For text that nothing but text can be right for: its own message says more than that of the wrong kind."""


@dataclass(frozen=True, slots=True)
class Value:
    """A single value. ``name`` describes it in the documentation, with its range.

    ``accepts``: the kinds of YAML scalars it is written as. ``parse`` raises ``Invalid``. ``render`` writes a default.
    ``locate``: the value is a path; this puts it into the folder of the file, examines it, raises ``Invalid``.
    ``echo``: a message may show the value as it stands in the file.
    """

    name: str
    parse: Callable[[str], Any]
    accepts: frozenset[str] = TEXT
    render: Callable[[Any], str] = str
    locate: Callable[[Path, Any], Any] | None = None
    echo: bool = True


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list whose items are all different: values, or sections by their ``identity``."""

    item: Value | Section


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a section; its name is a field of the section's model.

    ``default``: what the documentation says of its default, where the value itself says too little. ``restart``: a
    change takes effect after a restart, and not with a reload.
    """

    name: str
    kind: Value | ListOf | Section
    description: str
    required: bool = False
    default: str = ""
    restart: bool = False


Spot = str | tuple[str, int]
"""Where in a section: a key, the item of a list (key, index), or "" for the section as a whole."""


@dataclass(frozen=True, slots=True)
class Given:
    """A section as it was read: the lines of the keys (and items) that are there, the values of those that are right.

    A list with a wrong item is wrong as a whole.
    """

    model: type[Any]
    lines: Mapping[Spot, int]
    values: Mapping[str, Any]

    def effective(self, name: str) -> Any:
        """The value of a key, or its default; None for a key that is there and wrong."""
        if name in self.lines:
            return self.values.get(name)
        return default_of(self.model, name)


def _nothing(_given: Given) -> Iterator[tuple[Spot, str]]:
    return iter(())


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping that becomes one ``model``, a dataclass. ``identity``: the key that tells the items of a list apart.

    ``errors`` and ``warnings`` look at several keys at once and yield (spot, message).
    """

    model: type[Any]
    keys: tuple[Key, ...]
    identity: str = ""
    errors: Callable[[Given], Iterator[tuple[Spot, str]]] = _nothing
    warnings: Callable[[Given], Iterator[tuple[Spot, str]]] = _nothing

    def find(self, name: str) -> Key | None:
        """The key of that name."""
        return next((key for key in self.keys if key.name == name), None)


def default_of(model: type[Any], name: str) -> Any:
    """The default of a field; None when it has none of its own, as sections do."""
    field = next(field for field in dataclasses.fields(model) if field.name == name)
    return None if field.default is dataclasses.MISSING else field.default
