"""Reads a tree according to the table of keys, and collects all of its problems."""

from __future__ import annotations

import difflib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from exporter.yamlconf import tree
from exporter.yamlconf.files import Missing, folder_of, read_text
from exporter.yamlconf.problems import ConfigError, Invalid, Problem, show, show_path
from exporter.yamlconf.schema import TEXT, Given, ListOf, Section, Value
from exporter.yamlconf.tree import Mapping, Scalar, Sequence

if TYPE_CHECKING:
    from collections.abc import Mapping as Environment

    from exporter.yamlconf.schema import Spot
    from exporter.yamlconf.tree import Node

_Seen = dict[Any, int] | None
"""The lines of the preceding values of a list, if its values must be unique."""

MAX_PROBLEMS: Final = 1000
MAX_VALUES: Final = 1_000_000
_MAX_GUESSED: Final = 40

Place = tuple[str | int, ...]

BROKEN: Final[Any] = object()
"""Marks a value that was rejected."""

_REFERENCE = re.compile(
    r"(?P<escaped>\$\$\{)"
    r"|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}"
    r"|(?P<bad>\$\{)"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_WORDS = {"integer": "a number", "number": "a number", "boolean": "a boolean", "date": "a date"}


def read_file(
    path: Path, environ: Environment[str, str], section: Section, *, absent: str, empty: str | None, pipe: bool = False
) -> tuple[Any, tuple[Problem, ...]]:
    """The value of the YAML file ``path`` according to ``section``, and the warnings.

    ``absent`` and ``empty`` are the remedies for a file that does not exist or has no content; with ``empty`` None, the
    latter is valid and has no keys. ``pipe``: it may be a pipe; relative paths in it then start at the working
    directory. Raises ``ConfigError`` with all problems.
    """
    file, line, root = show_path(path), None, None
    try:
        root = tree.parse(read_text(path, pipe=pipe)) or (Mapping(1, []) if empty is None else None)
        message = f"is empty; {empty}"
    except Missing:
        message = f"does not exist; {absent}"
    except Invalid as refused:
        message = str(refused)
    except tree.Malformed as malformed:
        message, line = str(malformed), malformed.line
    if root is None:  # outside the handlers: no traceback may show the content of the file
        raise ConfigError([Problem(file, line, "", message)])
    return read_tree(file, root, section, folder=folder_of(path), environ=environ)


def read_tree(
    file: str,
    root: Node,
    kind: ListOf | Section,
    *,
    folder: Path | None = None,
    environ: Environment[str, str] | None = None,
) -> tuple[Any, tuple[Problem, ...]]:
    """The value of ``root`` according to ``kind``, and the warnings. Raises ``ConfigError`` with all problems.

    ``folder``: where relative paths start. Without ``environ``, variables are not substituted.
    """
    reader = Reader(file, folder or Path(), environ)
    value = reader.read(root, kind)
    if reader.problems:
        raise reader.error()
    return value, tuple(reader.warnings)


class Reader:
    """Reads one file in ``folder``, and collects its ``problems`` and ``warnings``."""

    def __init__(self, file: str, folder: Path, environ: Environment[str, str] | None) -> None:
        self._file = file
        self.folder = folder
        self._environ = environ
        self._remaining = MAX_VALUES
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def read(self, node: Node, kind: Value | ListOf | Section, place: Place = (), seen: _Seen = None) -> Any:
        """The value of ``node``, or ``BROKEN``. Raises ``ConfigError`` for too many values or problems."""
        self._remaining -= 1
        if self._remaining < 0:
            self._refuse(node.line, place, f"contains more than {MAX_VALUES} values, counting each use of an anchor")
            raise self.error()
        match kind:
            case Value():
                return self._value(node, kind, place, seen)
            case ListOf():
                return self._list(node, kind, place)
            case _:
                return self._section(node, kind, place, seen)

    def error(self) -> ConfigError:
        """All problems so far, in the order of the file."""
        return ConfigError(sorted(self.problems, key=lambda problem: problem.line or sys.maxsize))

    def _refuse(self, line: int, place: Place, message: str) -> None:
        self.problems.append(Problem(self._file, line or None, _render(place), message))
        if len(self.problems) >= MAX_PROBLEMS:
            self.problems.append(
                Problem(self._file, None, "", f"more than {MAX_PROBLEMS} problems: the rest is not shown")
            )
            raise self.error()

    def _warn(self, line: int, place: Place, message: str) -> None:
        if len(self.warnings) < MAX_PROBLEMS:
            self.warnings.append(Problem(self._file, line or None, _render(place), message))

    def _value(self, node: Node, kind: Value, place: Place, seen: _Seen) -> Any:
        if not isinstance(node, Scalar):
            found = "a list" if isinstance(node, Sequence) else "a mapping"
            self._refuse(node.line, place, f"is {found}: write one value ({kind.name})")
            return BROKEN
        shown = f"{show(node.text)} " if kind.echo and node.text else ""
        try:
            value = kind.parse(self._text(node, kind))
            if kind.locate:
                value = kind.locate(self.folder, value)
            if seen is not None:
                _require_new(value, node.line, seen)
        except Invalid as refused:
            self._refuse(node.line, place, f"{shown}{refused}")
            return BROKEN
        if kind.doubt and (reason := kind.doubt(value)):
            self._warn(node.line, place, f"{shown}{reason}")
        return value

    def _text(self, node: Scalar, kind: Value) -> str:
        if node.kind == "null":
            hint = "" if node.text else "; one that starts with # or & must be in quotes"
            raise Invalid(f"has no value: give it one or remove it{hint}")
        if node.kind != "text":
            if node.kind not in kind.accepts and not (kind.unquoted and kind.unquoted.fullmatch(node.text)):
                raise Invalid(_wrong_kind(node, kind))
            return node.text
        text = node.text
        if self._environ is not None and "${" in text:
            text = expand(text, self._environ)
        elif "text" not in kind.accepts:
            raise Invalid(_wrong_kind(node, kind))
        if _SURROGATE.search(text):
            raise Invalid("cannot be encoded as UTF-8: check its escapes and variables")
        return text

    def _list(self, node: Node, kind: ListOf, place: Place) -> Any:
        if kind.single and isinstance(node, Scalar):
            value = self.read(node, kind.item, place)
            return value if value is BROKEN else (value,)
        if isinstance(node, Scalar) and node.kind == "null" and not kind.generated:
            return ()
        if not isinstance(node, Sequence):
            item = _keys(kind.item) if isinstance(kind.item, Section) else kind.item.name
            self._refuse(node.line, place, f"must be a list: one item per line, each after a dash ({item})")
            return BROKEN
        if kind.single and not node.items:
            self._refuse(node.line, place, "is empty: name at least one, or remove the key")
            return BROKEN
        seen: _Seen = None if kind.generated else {}
        items = [self.read(item, kind.item, (*place, index), seen) for index, item in enumerate(node.items)]
        return BROKEN if any(item is BROKEN for item in items) else tuple(items)

    def _section(self, node: Node, section: Section, place: Place, seen: _Seen) -> Any:
        if isinstance(node, Scalar) and node.kind == "null":
            node = Mapping(node.line, [])
        elif not isinstance(node, Mapping):
            self._refuse(node.line, place, f"must be a mapping, with lines of key: value ({_keys(section)})")
            return BROKEN
        before = len(self.problems)
        given = self._given(node, section, place, seen)
        for key in section.keys:
            if key.required and key.name not in given.lines:
                self._refuse(node.line, (*place, key.name), "is missing")
        for spot, message in section.errors(given):
            self._refuse(given.lines.get(spot, node.line), (*place, *_steps(spot)), message)
        for spot, message in section.warnings(given):
            self._warn(given.lines.get(spot, node.line), (*place, *_steps(spot)), message)
        return BROKEN if len(self.problems) > before else section.model(**given.values)

    def _given(self, node: Mapping, section: Section, place: Place, seen: _Seen) -> Given:
        lines: dict[Spot, int] = {}
        values: dict[str, Any] = {}
        for name_node, value_node in node.pairs():
            key = None
            if isinstance(name_node, Scalar) and name_node.kind != "merge":
                key = section.find(name_node.text)
            if key is None:
                if not section.extensible:
                    self._refuse(name_node.line, place, _unknown(name_node, section))
                continue
            name = key.name
            if name in lines:
                first = f" in line {lines[name]}" if lines[name] else ""
                self._refuse(name_node.line, (*place, name), f"duplicates the key{first}: keep one")
            else:
                lines[name] = name_node.line
                if isinstance(value_node, Sequence):
                    lines.update({(name, index): item.line for index, item in enumerate(value_node.items)})
                value = self.read(value_node, key.kind, (*place, name), seen if name == section.identity else None)
                if value is not BROKEN:
                    values[name] = value
        return Given(section.model, lines, values)


def _require_new(value: Any, line: int, seen: dict[Any, int]) -> None:
    if value in seen:
        raise Invalid(f"occurs twice, first in line {seen[value]}: values must be unique")
    seen[value] = line


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


def _keys(section: Section) -> str:
    return f"keys: {', '.join(key.name for key in section.keys)}"


def _unknown(node: Node, section: Section) -> str:
    if not isinstance(node, Scalar) or node.kind == "merge":
        return "has a key that is not plain text (merge keys, <<, are not supported)"
    names = [key.name for key in section.keys]
    close = difflib.get_close_matches(node.text, names, n=1) if len(node.text) <= _MAX_GUESSED else []
    remedy = f"did you mean {close[0]!r}?" if close else f"the keys here are {', '.join(names)}"
    return f"unknown key {show(node.text)}; {remedy}"


def _wrong_kind(node: Scalar, kind: Value) -> str:
    """The message for a scalar of a kind that is not accepted. Raises ``Invalid`` if the text is invalid as well."""
    word = _WORDS.get(node.kind, "not text")
    if node.kind == "number" and "e" in node.text.lower():
        return "is a number with an exponent, whose last digits may be lost: write the original text, in quotes"
    if kind.accepts == TEXT:
        return f"is {word} in YAML: put it in quotes"
    if node.kind == "text":
        # Text that is invalid without quotes as well gets that message, because removing the quotes would not help.
        kind.parse(node.text)
        return f"is text: write it without quotes ({kind.name})"
    return f"is {word}; expected: {kind.name}"


def expand(text: str, environ: Environment[str, str]) -> str:
    """``text`` with its variables (``${VAR}``, ``${VAR:-default}``) substituted; ``$${`` stands for a literal ``${``.

    As in a shell, the default after ``:-`` also applies to a variable that is set but empty.
    Raises ``Invalid`` for an unset variable and for a ``${`` in none of the three forms.
    """

    def value_of(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "${"
        if match["bad"]:
            raise Invalid("has a ${ that is neither ${NAME} nor ${NAME:-default}; write $${ for a literal ${")
        name, default = match["name"], match["default"]
        value = environ.get(name)
        if default is not None:
            return value or default
        if value is None:
            raise Invalid(
                f"needs the environment variable {name}, which is not set: set it or write ${{{name}:-default}}"
            )
        return value

    return _REFERENCE.sub(value_of, text)
