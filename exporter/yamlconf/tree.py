"""Parses YAML text to a tree of nodes with line numbers, and JSON text to one without.

PyYAML parses; the tree is built here because PyYAML's composer recurses in C and crashes the process on deep nesting.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import yaml
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Loader: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_DEPTH: Final = 32

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_QUOTED = re.compile(r"'[^']{2,}'|\"[^\"]{2,}\"")
_UNQUOTED = re.compile(r"(?:^\s*|[:-]\s+|[\[{,]\s*)(?:(?P<start>[*&!%@`|>:])|\[[^\]]*\]\s*[^\s,\]}#])")
_HALF_QUOTED = re.compile(r"""(?:^\s*|[:-]\s+|[\[{,]\s*)(?:"[^"]*"|'[^']*')\s*[^\s,\]}:#]""")
_ONE_LIST = "put several values into one list: [{…}, {…}], or each after a dash"
_STANDARD = "tag:yaml.org,2002:"
_KINDS = {"str": "text", "int": "integer", "float": "number", "bool": "boolean", "timestamp": "date", "value": "text"}


class Scalar(Struct, gc=False):
    """A single value. ``kind``: its type in YAML: text, integer, number, boolean, date, null or merge."""

    line: int
    kind: str
    text: str


class Sequence(Struct):
    """A list."""

    line: int
    items: list[Node]


class Mapping(Struct):
    """Keys and values in the order of the file, including duplicates."""

    line: int
    children: list[Node]

    def pairs(self) -> Iterator[tuple[Node, Node]]:
        """The pairs of key and value."""
        return zip(self.children[::2], self.children[1::2], strict=True)


Node = Scalar | Sequence | Mapping


class Malformed(Exception):
    """Invalid YAML, or YAML features that no configuration needs. The text contains no values of the file."""

    def __init__(self, line: int | None, message: str) -> None:
        super().__init__(message)
        self.line = line


def parse(text: str) -> Node | None:
    """The tree of ``text``; None if there is no content. Raises ``Malformed``."""
    if bad := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, bad.start()) + 1
        raise Malformed(line, f"contains a control character (U+{ord(bad[0]):04X}): remove it; is this a text file?")
    failure = None
    try:
        return _compose(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        failure = Malformed(line, _explain(error, text.split("\n")[line - 1 : line]))
    except (yaml.YAMLError, ValueError, OverflowError):
        failure = Malformed(None, "is not valid YAML")
    # Raised outside the handlers: PyYAML's errors quote the offending line, and no traceback may show it.
    raise failure


def parse_json(text: str) -> Node:
    """The tree of a JSON text, with 0 for all line numbers. Raises ``Malformed``."""
    try:
        return _from_json(
            json.loads(
                text,
                object_pairs_hook=lambda pairs: Mapping(0, [_from_json(part) for pair in pairs for part in pair]),
                parse_int=lambda number: Scalar(0, "integer", number),
                parse_float=lambda number: Scalar(0, "number", number),
                parse_constant=lambda number: Scalar(0, "number", number),
            )
        )
    except json.JSONDecodeError as error:
        hint = f"; {_ONE_LIST}" if error.msg == "Extra data" else ""
        failure = Malformed(error.lineno, f"is not valid JSON: {error.msg}{hint}")
    except RecursionError:
        failure = Malformed(None, "is nested too deeply")
    # Raised outside the handlers: a chained JSON error would contain the whole text.
    raise failure


def _from_json(value: Any) -> Node:
    match value:
        case Scalar() | Mapping():
            return value
        case list():
            return Sequence(0, [_from_json(item) for item in value])
        case str():
            return Scalar(0, "text", value)
        case _:
            return Scalar(0, "null" if value is None else "boolean", json.dumps(value))


def _explain(error: yaml.MarkedYAMLError, at: list[str]) -> str:
    """PyYAML's message without its quotations, and the usual remedy."""
    problem = _QUOTED.sub("…", error.problem or "")
    said = f"is not valid YAML: {problem} {error.context or ''}".rstrip()
    source = "".join(at)
    if "\t" in source[: len(source) - len(source.lstrip())]:
        return f"{said}; indent with spaces, not with tabs"
    if found := _UNQUOTED.search(source):
        return f"{said}; put the value that starts with {found['start'] or '['} in quotes"
    if _HALF_QUOTED.search(source):
        return f"{said}; put the whole value in quotes, not only its beginning"
    if "<document start>" in said or said.endswith("but found '{'"):
        return f"{said}; {_ONE_LIST}"
    if "cannot start" in said or "mapping values" in said:
        return f"{said}; check the indentation, and put a value with special characters in quotes"
    return f"{said}; check indentation, quotes and brackets at this line and above"


def _compose(text: str) -> Node | None:
    loader = _Loader(text)
    try:
        return _Composer(loader).run()
    finally:
        loader.dispose()


class _Composer:
    """Converts events to nodes, without recursion."""

    def __init__(self, loader: yaml.SafeLoader | yaml.CSafeLoader) -> None:
        self._loader = loader
        self._root: Node | None = None
        self._open: list[Sequence | Mapping] = []
        self._anchors: dict[str, Node] = {}

    def run(self) -> Node | None:
        documents = 0
        while not isinstance(event := self._loader.get_event(), yaml.StreamEndEvent):
            match event:
                case yaml.ScalarEvent():
                    self._add(event, Scalar(_line(event), self._kind(event), event.value))
                case yaml.CollectionStartEvent():
                    self._enter(event)
                case yaml.CollectionEndEvent():
                    self._open.pop()
                case yaml.AliasEvent():
                    self._add(None, self._aliased(event))
                case yaml.DocumentStartEvent():
                    documents += 1
                    if documents > 1:
                        raise Malformed(_line(event), "a second YAML document starts here: remove the ---")
        return self._root

    def _enter(self, event: yaml.CollectionStartEvent) -> None:
        line = _line(event)
        if event.tag not in {None, "!"}:
            raise Malformed(line, "has a YAML tag (!…): remove it, or put a value that starts with ! in quotes")
        if len(self._open) >= MAX_DEPTH:
            raise Malformed(line, f"is nested deeper than {MAX_DEPTH} levels")
        node = Sequence(line, []) if isinstance(event, yaml.SequenceStartEvent) else Mapping(line, [])
        self._add(event, node)
        self._open.append(node)

    def _add(self, event: yaml.NodeEvent | None, node: Node) -> None:
        if event is not None and event.anchor:
            self._anchors[event.anchor] = node
        if not self._open:
            self._root = node
        elif isinstance(parent := self._open[-1], Sequence):
            parent.items.append(node)
        else:
            parent.children.append(node)

    def _aliased(self, event: yaml.AliasEvent) -> Node:
        line = _line(event)
        node = self._anchors.get(event.anchor or "")
        if node is None:
            raise Malformed(
                line, "refers to an anchor (*…) that is not defined above; quote a value that starts with *"
            )
        if any(node is ancestor for ancestor in self._open):
            raise Malformed(line, "refers to an anchor (*…) that contains the reference itself")
        return node

    def _kind(self, event: yaml.ScalarEvent) -> str:
        if event.tag not in {None, "!", _STANDARD + "str"}:
            raise Malformed(_line(event), "has a YAML tag (!…): remove it, or put a value that starts with ! in quotes")
        if not event.implicit[0]:
            return "text"
        resolve: Callable[..., str] = self._loader.resolve
        tag = resolve(yaml.ScalarNode, event.value, (True, False)).removeprefix(_STANDARD)
        return _KINDS.get(tag, tag)


def _line(event: Any) -> int:
    """The line number, from 1. Every event of a parser has a mark, although the stubs do not guarantee it."""
    return int(event.start_mark.line) + 1
