"""Kinds of values that several keys share."""

from __future__ import annotations

from typing import Final

from exporter.config import values
from exporter.yamlconf.durations import format_duration
from exporter.yamlconf.schema import ANY, BOOLEANS, Value

_YEAR: Final = 31_536_000


def duration(low: float, high: float = _YEAR) -> Value:
    """A duration from ``low`` to ``high`` seconds."""
    name = f"duration, {format_duration(low)} to {format_duration(high)}"
    return Value(name, values.duration(low, high), ANY, format_duration)


def choice(*words: str) -> Value:
    """One of ``words``."""
    return Value(" or ".join(f"`{word}`" for word in words), values.choice_of(*words), ANY)


BOOLEAN: Final = Value("true or false", values.boolean, BOOLEANS, lambda value: str(value).lower())
