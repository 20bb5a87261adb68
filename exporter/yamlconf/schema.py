"""Schema of a configuration file: kinds of values, and sections as tables of keys. The model defines the defaults."""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING, dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

TEXT = frozenset({"text"})
NUMBERS = frozenset({"integer", "number"})
BOOLEANS = frozenset({"boolean"})
ANY = TEXT | NUMBERS | BOOLEANS | {"date"}
"""For values whose parser rejects wrong input with a better message than one about the kind of scalar."""


@dataclass(frozen=True, slots=True)
class Value:
    """A single value. ``name`` describes it in the documentation, including its range.

    ``accepts``: the kinds of YAML scalars that are allowed. ``parse`` raises ``Invalid``. ``render`` formats a default.
    ``locate``: for paths; resolves the path in the folder of the file, checks it, raises ``Invalid``.
    ``echo``: whether a message may show the value as written in the file. ``unquoted``: a form of scalars that are
    allowed whatever their kind. ``doubt``: why a valid value is probably not intended, None if it is not in doubt.
    """

    name: str
    parse: Callable[[str], Any]
    accepts: frozenset[str] = TEXT
    render: Callable[[Any], str] = str
    locate: Callable[[Path, Any], Any] | None = None
    echo: bool = True
    unquoted: re.Pattern[str] | None = None
    doubt: Callable[[Any], str | None] | None = None


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list of unique items: values, or sections that their ``identity`` distinguishes.

    ``generated``: for lists that programs write: items may be repeated, and null, which stands for an empty list where
    people comment out all items, is refused. ``single``: one item may be written as a value without a list, and there
    must be at least one.
    """

    item: Value | Section
    generated: bool = False
    single: bool = False


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a section; its name is a field of the section's model.

    ``default``: how the documentation describes the default if the value alone is not clear. ``restart``: a change
    takes effect only after a restart, not on a reload.
    """

    name: str
    kind: Value | ListOf | Section
    description: str
    required: bool = False
    default: str = ""
    restart: bool = False


Spot = str | tuple[str, int]
"""A place in a section: a key, an item of a list (key, index), or "" for the section as a whole."""


@dataclass(frozen=True, slots=True)
class Given:
    """A section as read: the lines of the keys (and items) that are present, and the values of the valid ones.

    A list with an invalid item is invalid as a whole.
    """

    model: type[Any]
    lines: Mapping[Spot, int]
    values: Mapping[str, Any]

    def effective(self, name: str) -> Any:
        """The value of a key, or its default; None for a key that is present but invalid."""
        if name in self.lines:
            return self.values.get(name)
        return default_of(self.model, name)


def _nothing(_given: Given) -> Iterator[tuple[Spot, str]]:
    return iter(())


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping that becomes one ``model``, a dataclass. ``identity``: the key that distinguishes the items of a list.

    ``errors`` and ``warnings`` check several keys together and yield (spot, message). ``extensible``: other keys are
    ignored.
    """

    model: type[Any]
    keys: tuple[Key, ...]
    identity: str = ""
    errors: Callable[[Given], Iterator[tuple[Spot, str]]] = _nothing
    warnings: Callable[[Given], Iterator[tuple[Spot, str]]] = _nothing
    extensible: bool = False

    def find(self, name: str) -> Key | None:
        """The key with that name, or None."""
        return next((key for key in self.keys if key.name == name), None)


def key(
    kind: Value | ListOf | Section,
    description: str,
    *,
    default: Any = MISSING,
    default_factory: Any = MISSING,
    required: bool = False,
    shown_default: str = "",
    restart: bool = False,
    in_repr: bool = True,
) -> Any:
    """A field of a ``model`` that is a key with the field's name: required unless it has a default.

    ``shown_default``: the ``default`` of ``Key``, which explains the other arguments. ``in_repr``: whether the
    model's repr shows the value.
    """
    required = required or (default is MISSING and default_factory is MISSING)
    row = Key("", kind, description, required, shown_default, restart)
    return field(default=default, default_factory=default_factory, repr=in_repr, metadata={"key": row})


_Model = TypeVar("_Model")


@dataclass_transform(frozen_default=True, field_specifiers=(key, field))
def model(cls: type[_Model]) -> type[_Model]:
    """Make a class the model of a section: an immutable dataclass whose fields are keys."""
    return dataclass(frozen=True, slots=True)(cls)


def section_of(
    cls: type[Any],
    identity: str = "",
    *,
    errors: Callable[[Given], Iterator[tuple[Spot, str]]] = _nothing,
    warnings: Callable[[Given], Iterator[tuple[Spot, str]]] = _nothing,
) -> Section:
    """The section whose keys are the fields of a ``model``."""
    rows = {found.name: found.metadata.get("key") for found in dataclasses.fields(cls)}
    keys = tuple(dataclasses.replace(row, name=name) for name, row in rows.items() if row)
    return Section(cls, keys, identity, errors, warnings)


def default_of(model: type[Any], name: str) -> Any:
    """The default of a field; None if the field has no plain default, as for sections."""
    field = next(field for field in dataclasses.fields(model) if field.name == name)
    return None if field.default is dataclasses.MISSING else field.default
