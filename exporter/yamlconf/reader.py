"""Reads a tree according to the table of keys, and collects all of its problems."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final

from exporter.yamlconf.problems import Invalid, Problem, show
from exporter.yamlconf.schema import TEXT, Given, ListOf, Section, Value
from exporter.yamlconf.tree import Mapping, Scalar, Sequence
from exporter.yamlconf.variables import expand

if TYPE_CHECKING:
    from collections.abc import Mapping as Environment
    from pathlib import Path

    from exporter.yamlconf.schema import Spot
    from exporter.yamlconf.tree import Node

MAX_PROBLEMS: Final = 1000
MAX_VALUES: Final = 1_000_000
_MAX_GUESSED: Final = 40

Place = tuple[str | int, ...]

BROKEN: Final[Any] = object()
"""Marks a value that was rejected."""

_WORDS = {
    "integer": "a number",
    "number": "a number",
    "boolean": "a boolean",
    "date": "a date",
}


class Overflow(Exception):
    """There are too many problems, or anchors expand to too many values. The last problem says which."""


class Reader:
    """Reads one file in ``folder``, and collects its ``problems`` and ``warnings``."""

    def __init__(self, file: str, folder: Path, environ: Environment[str, str]) -> None:
        self._file = file
        self.folder = folder
        self._environ = environ
        self._left = MAX_VALUES
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def read(self, node: Node, kind: Value | ListOf | Section, place: Place = (), seen: _Seen | None = None) -> Any:
        """The value of ``node``, or ``BROKEN``. ``seen``: the preceding items of a list. Raises ``Overflow``."""
        self._left -= 1
        if self._left < 0:
            self._refuse(node.line, place, f"contains more than {MAX_VALUES} values, counting each use of an anchor")
            raise Overflow
        match kind:
            case Value():
                return self._value(node, kind, place, seen)
            case ListOf():
                return self._list(node, kind, place)
            case _:
                return self._section(node, kind, place, seen)

    def _refuse(self, line: int, place: Place, message: str) -> None:
        self.problems.append(Problem(self._file, line, _render(place), message))
        if len(self.problems) >= MAX_PROBLEMS:
            self.problems.append(
                Problem(self._file, None, "", f"more than {MAX_PROBLEMS} problems: the rest is not shown")
            )
            raise Overflow

    def _value(self, node: Node, kind: Value, place: Place, seen: _Seen | None) -> Any:
        if not isinstance(node, Scalar):
            found = "a list" if isinstance(node, Sequence) else "a mapping"
            self._refuse(node.line, place, f"is {found}: write one value ({kind.name})")
            return BROKEN
        try:
            value = kind.parse(self._text(node, kind))
            if kind.locate:
                value = kind.locate(self.folder, value)
            if seen is not None:
                seen.note(value, node.line)
        except Invalid as refused:
            shown = f"{show(node.text)} " if kind.echo and node.text else ""
            self._refuse(node.line, place, f"{shown}{refused}")
            return BROKEN
        return value

    def _text(self, node: Scalar, kind: Value) -> str:
        if node.kind == "null":
            raise Invalid("has no value: give it one or remove it")
        if node.kind != "text":
            if node.kind not in kind.accepts:
                raise Invalid(_wrong_kind(node, kind))
            return node.text
        if "${" in node.text:
            return _encodable(expand(node.text, self._environ))
        if "text" not in kind.accepts:
            raise Invalid(_wrong_kind(node, kind))
        return _encodable(node.text)

    def _list(self, node: Node, kind: ListOf, place: Place) -> Any:
        if isinstance(node, Scalar) and node.kind == "null":
            return ()
        if not isinstance(node, Sequence):
            self._refuse(node.line, place, "must be a list: one item per line, each after a dash")
            return BROKEN
        seen = _Seen()
        items = [self.read(item, kind.item, (*place, index), seen) for index, item in enumerate(node.items)]
        return BROKEN if any(item is BROKEN for item in items) else tuple(items)

    def _section(self, node: Node, section: Section, place: Place, seen: _Seen | None) -> Any:
        if isinstance(node, Scalar) and node.kind == "null":
            node = Mapping(node.line, [])
        elif not isinstance(node, Mapping):
            names = ", ".join(key.name for key in section.keys)
            self._refuse(node.line, place, f"must be a mapping, with lines of key: value (keys: {names})")
            return BROKEN
        before = len(self.problems)
        given = self._given(node, section, place, seen)
        for key in section.keys:
            if key.required and key.name not in given.lines:
                self._refuse(node.line, (*place, key.name), "is missing")
        for spot, message in section.errors(given):
            self._refuse(given.lines.get(spot, node.line), (*place, *_steps(spot)), message)
        for spot, message in section.warnings(given):
            line = given.lines.get(spot, node.line)
            self.warnings.append(Problem(self._file, line, _render((*place, *_steps(spot))), message))
        return BROKEN if len(self.problems) > before else section.model(**given.values)

    def _given(self, node: Mapping, section: Section, place: Place, seen: _Seen | None) -> Given:
        lines: dict[Spot, int] = {}
        values: dict[str, Any] = {}
        for name_node, value_node in node.pairs():
            if not isinstance(name_node, Scalar) or name_node.kind == "merge":
                self._refuse(
                    name_node.line, place, "has a key that is not plain text (merge keys, <<, are not supported)"
                )
                continue
            name = name_node.text
            key = section.find(name)
            if key is None:
                self._refuse(name_node.line, place, _unknown(name, section))
            elif name in lines:
                self._refuse(name_node.line, (*place, name), f"duplicates the key in line {lines[name]}: keep one")
            else:
                lines[name] = name_node.line
                if isinstance(value_node, Sequence):
                    lines.update({(name, index): item.line for index, item in enumerate(value_node.items)})
                value = self.read(value_node, key.kind, (*place, name), seen if name == section.identity else None)
                if value is not BROKEN:
                    values[name] = value
        return Given(section.model, lines, values)


class _Seen:
    """The values of a list so far, and their lines."""

    def __init__(self) -> None:
        self._lines: dict[Any, int] = {}

    def note(self, value: Any, line: int) -> None:
        """Record a value. Raises ``Invalid`` for one that was recorded before."""
        if value in self._lines:
            raise Invalid(f"occurs twice, first in line {self._lines[value]}: values must be unique")
        self._lines[value] = line


def _steps(spot: Spot) -> Place:
    if isinstance(spot, tuple):
        return spot
    return (spot,) if spot else ()


def _render(place: Place) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{_name(part)}" for part in place)
    return text.removeprefix(".")


def _name(text: str) -> str:
    """A name, quoted only if it cannot be shown as it is."""
    shown = show(text)
    return text if shown == f"'{text}'" else shown


def _unknown(name: str, section: Section) -> str:
    names = [key.name for key in section.keys]
    close = difflib.get_close_matches(name, names, n=1) if len(name) <= _MAX_GUESSED else []
    remedy = f"did you mean {close[0]!r}?" if close else f"the keys here are {', '.join(names)}"
    return f"unknown key {show(name)}; {remedy}"


def _wrong_kind(node: Scalar, kind: Value) -> str:
    """The message for a scalar of a kind that is not accepted. Raises ``Invalid`` if the text is invalid as well."""
    word = _WORDS.get(node.kind, "not text")
    if kind.accepts == TEXT:
        return f"is {word} in YAML: put it in quotes"
    if node.kind == "text":
        # Text that is invalid without quotes as well gets that message, because removing the quotes would not help.
        kind.parse(node.text)
        return f"is text: write it without quotes ({kind.name})"
    return f"is {word}; expected: {kind.name}"


def _encodable(text: str) -> str:
    """``text`` if it can be encoded as UTF-8, which bytes from the environment may prevent. Raises ``Invalid``."""
    try:
        text.encode()
    except UnicodeEncodeError:
        text = ""
    else:
        return text
    raise Invalid("is not valid UTF-8 after variable substitution: check the variables")
