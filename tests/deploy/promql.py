"""Metrics and labels that a PromQL expression refers to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_SELECTOR = re.compile(r"\b(?P<metric>(?:dify|process|python|scrape)_\w+|up)\b(?:\{(?P<matchers>[^}]*)\})?")
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right) \(([^)]*)\)")
_MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')
_REPLACED = re.compile(r'"(\w+)", "\$1", "(\w+)", "')


class Selector(NamedTuple):
    """A metric and the labels in its label matchers."""

    metric: str
    labels: frozenset[str]


def selectors(expression: str) -> Iterator[Selector]:
    """Every metric selector of the expression."""
    for found in _SELECTOR.finditer(_GROUPING.sub("", expression)):
        yield Selector(found["metric"], frozenset(_MATCHER.findall(found["matchers"] or "")))


def grouping_labels(expression: str) -> set[str]:
    """Labels that the expression aggregates by, joins on, copies or replaces."""
    named = {label.strip() for group in _GROUPING.findall(expression) for label in group.split(",")}
    return {*named, *(source for _, source in _REPLACED.findall(expression))} - {""}


def made_labels(expression: str) -> set[str]:
    """Labels that the expression creates from others."""
    return {made for made, _ in _REPLACED.findall(expression)}
