"""Parses a list of batches, in YAML or JSON, that another program has written."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from exporter.config.values import batch as batch_id
from exporter.config.values import uuid_of
from exporter.yamlconf import ConfigError, Problem
from exporter.yamlconf.problems import Invalid, show
from exporter.yamlconf.tree import Malformed, Mapping, Scalar, Sequence, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.yamlconf.tree import Node

MAX_BATCHES: Final = 1_000_000
"""Batches of one list, counting each use of an anchor."""

_MAX_PROBLEMS: Final = 100
_DEPTH: Final = 4
_SHAPE: Final = "must be a list with items {dataset_id: …, batch: …} or {dataset_id: …, batches: […]}"
_RENAME: Final = "write a new file and rename it over the old one"

# Dify's batch ids have 20 digits, and programs write them unquoted. A number of that length keeps all its digits.
_DIFYS_OWN = re.compile(r"[0-9]{20}")
_dataset_id = uuid_of("the knowledge base's URL, …/datasets/<id>")


class BatchRef(NamedTuple):
    """A batch in a dataset."""

    dataset_id: str
    batch: str


def read_list(file: str, text: str) -> list[BatchRef]:
    """Return the batches of ``text`` in order: JSON if ``file`` ends in .json, else YAML. Other keys are ignored.

    Raises ``ConfigError`` with all problems: one invalid item makes the whole list suspect.
    """
    try:
        root = _from_json(text) if file.lower().endswith(".json") else parse(text)
    except Malformed as malformed:
        problem = Problem(file, malformed.line, "", str(malformed))
    else:
        if isinstance(root, Sequence):
            return _List(file).read(root)
        line, message = (root.line or None, _SHAPE) if root else (None, f"is empty: write [] for no batches, {_RENAME}")
        problem = Problem(file, line, "", message)
    raise ConfigError([problem])


class _List:
    """Collects the batches of one list and the problems in it."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._problems: list[Problem] = []
        self._left = MAX_BATCHES

    def read(self, root: Sequence) -> list[BatchRef]:
        """Return the batches. Raises ``ConfigError``."""
        batches = [found for index, item in enumerate(root.items) for found in self._item(item, f"[{index}]")]
        if self._problems:
            raise ConfigError(self._problems)
        return batches

    def _refuse(self, node: Node, place: str, message: str) -> None:
        # Nodes from JSON have no line numbers.
        self._problems.append(Problem(self._file, node.line or None, place, message))
        if len(self._problems) >= _MAX_PROBLEMS:
            raise ConfigError(self._problems)

    def _item(self, item: Node, place: str) -> Iterator[BatchRef]:
        if not isinstance(item, Mapping):
            self._refuse(item, place, "must be {dataset_id: …, batch: …} or {dataset_id: …, batches: […]}")
            return
        values: dict[str, Node] = {}
        for key, value in item.pairs():
            if isinstance(key, Scalar) and key.text in {"dataset_id", "batch", "batches"}:
                if key.text in values:
                    self._refuse(key, f"{place}.{key.text}", "is set twice: keep one")
                values[key.text] = value
        if "dataset_id" not in values:
            self._refuse(item, f"{place}.dataset_id", "is missing")
        if "batch" not in values and "batches" not in values:
            self._refuse(item, f"{place}.batch", "is missing: set batch or batches")
        dataset = self._dataset(values["dataset_id"], f"{place}.dataset_id") if "dataset_id" in values else ""
        for where, node in self._nodes(values, place):
            yield BatchRef(dataset, self._batch(node, where))

    def _nodes(self, values: dict[str, Node], place: str) -> Iterator[tuple[str, Node]]:
        """Yield each node that should be a batch id, with its path."""
        if "batch" in values:
            yield f"{place}.batch", values["batch"]
        batches = values.get("batches")
        if isinstance(batches, Sequence):
            yield from ((f"{place}.batches[{index}]", node) for index, node in enumerate(batches.items))
        elif batches is not None:
            self._refuse(batches, f"{place}.batches", "must be a list")

    def _dataset(self, node: Node, place: str) -> str:
        if not isinstance(node, Scalar):
            self._refuse(node, place, "must be a UUID")
            return ""
        try:
            return _dataset_id(node.text)
        except Invalid as refused:
            self._refuse(node, place, f"{show(node.text)} {refused}")
            return ""

    def _batch(self, node: Node, place: str) -> str:
        self._left -= 1
        if self._left < 0:
            self._refuse(node, place, f"exceeds the limit of {MAX_BATCHES} batches per list")
            raise ConfigError(self._problems)
        if not isinstance(node, Scalar):
            self._refuse(node, place, "must be the id of a batch")
            return ""
        if node.kind != "text" and not _DIFYS_OWN.fullmatch(node.text):
            self._refuse(node, place, f"{show(node.text)} is not text: put it in quotes")
            return ""
        try:
            return batch_id(node.text)
        except Invalid as refused:
            self._refuse(node, place, f"{show(node.text)} {refused}")
            return ""


class _Pairs(list[tuple[str, Any]]):
    """The keys and values of a JSON object, including duplicates."""


class _Number(str):
    """A JSON number as written."""

    __slots__ = ()


def _from_json(text: str) -> Node:
    """Convert a JSON text to nodes, all with line 0. Raises ``Malformed``."""
    try:
        value = json.loads(
            text, object_pairs_hook=_Pairs, parse_int=_Number, parse_float=_Number, parse_constant=_Number
        )
    except json.JSONDecodeError as error:
        failure = Malformed(error.lineno, f"is not valid JSON: {error.msg}; {_RENAME}")
    except RecursionError:
        failure = Malformed(None, "is nested too deeply")
    else:
        return _node(value, _DEPTH)
    # Raised outside the handlers: a chained JSON error would carry the whole text.
    raise failure


def _node(value: Any, depth: int) -> Node:
    """Convert ``value`` to a node. Anything nested deeper than the keys in use becomes null."""
    if depth == 0:
        return Scalar(0, "null", "")
    if isinstance(value, _Pairs):
        return Mapping(0, [node for key, inner in value for node in (Scalar(0, "text", key), _node(inner, depth - 1))])
    if isinstance(value, list):
        return Sequence(0, [_node(inner, depth - 1) for inner in value])
    if isinstance(value, str):
        return Scalar(0, "integer" if isinstance(value, _Number) else "text", str(value))
    return Scalar(0, "null" if value is None else "boolean", json.dumps(value))
