"""Durations in Prometheus syntax: ``15s``, ``1h30m``, ``500ms``, ``2d``."""

from __future__ import annotations

import re

from exporter.yamlconf.problems import Invalid

_MILLISECONDS = {
    "y": 31_536_000_000,
    "w": 604_800_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
    "ms": 1,
}
_SHAPE = re.compile("".join(f"(?:([0-9]{{1,9}}){unit})?" for unit in _MILLISECONDS))
_NUMBER = re.compile(r"[+-]?[0-9.]+")


def parse_duration(text: str) -> float:
    """Convert ``text`` to seconds. A number without a unit is rejected as ambiguous.

    Raises ``ValueError`` with a message for people.
    """
    match = _SHAPE.fullmatch(text)
    if text and match:
        parts = zip(match.groups(), _MILLISECONDS.values(), strict=True)
        return sum(int(count) * size for count, size in parts if count) / 1000
    if _NUMBER.fullmatch(text):
        raise Invalid("has no unit: write 15s for fifteen seconds, 5m for five minutes")
    raise Invalid("is not a duration: write whole numbers with units, largest first, such as 15s, 1h30m, 500ms or 2d")


def format_duration(seconds: float) -> str:
    """The shortest text that ``parse_duration`` converts back to ``seconds``, to the millisecond."""
    left = round(seconds * 1000)
    text = ""
    for unit in ("d", "h", "m", "s", "ms"):
        count, left = divmod(left, _MILLISECONDS[unit])
        if count:
            text += f"{count}{unit}"
    return text or "0s"
