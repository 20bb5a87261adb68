"""Kinds of values that any configuration has. Parsers raise ``Invalid``, whose text never contains the input."""

from __future__ import annotations

import re
from typing import Final

from exporter.yamlconf.problems import Invalid
from exporter.yamlconf.schema import ANY, BOOLEANS, NUMBERS, Value

_YEAR: Final = 31_536_000
_MILLISECONDS: Final = {
    "y": 31_536_000_000,
    "w": 604_800_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
    "ms": 1,
}
_DURATION = re.compile("".join(f"(?:([0-9]{{1,9}}){unit})?" for unit in _MILLISECONDS))
_NUMBER = re.compile(r"[+-]?[0-9.]+")
_WHOLE = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,8})")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,9}(?:\.[0-9]{0,9})?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class Secret:
    """A string that is revealed only on explicit request."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself. Use it in a header, nowhere else."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('…')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


def has_control(text: str) -> bool:
    """Whether ``text`` contains control characters, line separators or surrogates."""
    return _CONTROL.search(text) is not None


def parse_duration(text: str) -> float:
    """Convert a duration in Prometheus syntax (``15s``, ``1h30m``, ``500ms``, ``2d``) to seconds.

    A number without a unit is rejected as ambiguous. Raises ``ValueError`` with a message for people.
    """
    match = _DURATION.fullmatch(text)
    if text and match:
        parts = zip(match.groups(), _MILLISECONDS.values(), strict=True)
        return sum(int(count) * size for count, size in parts if count) / 1000
    if _NUMBER.fullmatch(text):
        raise Invalid("has no unit: write 15s for fifteen seconds, 5m for five minutes")
    raise Invalid("is not a duration: write whole numbers with units, largest first, such as 15s, 1h30m, 500ms or 2d")


def format_duration(seconds: float) -> str:
    """The shortest text that ``parse_duration`` converts back to ``seconds``, to the millisecond."""
    rest = round(seconds * 1000)
    text = ""
    for unit in ("d", "h", "m", "s", "ms"):
        count, rest = divmod(rest, _MILLISECONDS[unit])
        if count:
            text += f"{count}{unit}"
    return text or "0s"


def duration(low: float, high: float = _YEAR) -> Value:
    """A duration from ``low`` to ``high`` seconds."""
    least, most = format_duration(low), format_duration(high)

    def parse(text: str) -> float:
        seconds = parse_duration(text)
        if not low <= seconds <= high:
            raise Invalid(f"must be from {least} to {most}")
        return seconds

    return Value(f"duration, {least} to {most}", parse, ANY, format_duration)


def whole_number(low: int, high: int) -> Value:
    """A whole number from ``low`` to ``high``, in decimal digits (YAML itself reads 010 as 8)."""

    def parse(text: str) -> int:
        if not _WHOLE.fullmatch(text) or not low <= int(text) <= high:
            raise Invalid(f"must be a whole number from {low} to {high}")
        return int(text)

    return Value(f"whole number, {low} to {high}", parse, NUMBERS)


def number(low: float, high: float) -> Value:
    """A decimal number from ``low`` to ``high``."""

    def parse(text: str) -> float:
        if not _DECIMAL.fullmatch(text) or not low <= float(text) <= high:
            raise Invalid(f"must be a number from {low:g} to {high:g}")
        return float(text)

    return Value(f"number, {low:g} to {high:g}", parse, NUMBERS, "{:g}".format)


def choice(*words: str) -> Value:
    """One of ``words``."""

    def parse(text: str) -> str:
        if text in words:
            return text
        raise Invalid(f"must be one of {', '.join(words)}")

    return Value(" or ".join(f"`{word}`" for word in words), parse, ANY)


def _boolean(text: str) -> bool:
    word = text.lower()
    if word in {"true", "yes", "on"}:
        return True
    if word in {"false", "no", "off"}:
        return False
    raise Invalid("must be true or false")


BOOLEAN: Final = Value("true or false", _boolean, BOOLEANS, lambda value: str(value).lower())
"""One of YAML's words for true and false."""
