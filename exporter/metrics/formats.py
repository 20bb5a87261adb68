"""Chooses format and encoding of a scrape from its ``Accept`` and ``Accept-Encoding`` headers."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Format(Enum):
    """A text format of the page."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

    @property
    def content_type(self) -> str:
        """The value of the ``Content-Type`` header."""
        return self.value


class _Choice(NamedTuple):
    """One element of an Accept header, in lower case."""

    name: str
    parameters: dict[str, str]
    quality: float


def negotiate(accept: str | None) -> Format:
    """OpenMetrics when the client names it with a weight not below that of plain text; otherwise plain text."""
    choices = list(_choices(accept))
    openmetrics = _quality(choices, ("application/openmetrics-text",), version="1.0.0")
    text = _quality(choices, ("text/plain", "text/*", "*/*"), version="0.0.4")
    return Format.OPENMETRICS if openmetrics and openmetrics >= (text or 0.0) else Format.TEXT


def accepts_gzip(accept_encoding: str | None) -> bool:
    """Whether gzip is acceptable, with a weight not below that of no encoding."""
    qualities = {choice.name: choice.quality for choice in _choices(accept_encoding)}
    gzip = qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", 0.0)))
    return gzip > 0.0 and gzip >= qualities.get("identity", 0.0)


def _choices(header: str | None) -> Iterator[_Choice]:
    """The elements of the header; elements with an invalid weight are ignored."""
    for element in (header or "").lower().split(","):
        name, *rest = (field.strip() for field in element.split(";"))
        parameters = {}
        for field in rest:
            key, _, value = field.partition("=")
            parameters[key.strip()] = value.strip().strip('"')
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            continue
        if name and 0.0 <= quality <= 1.0:
            yield _Choice(name, parameters, quality)


def _quality(choices: Iterable[_Choice], names: tuple[str, ...], *, version: str) -> float | None:
    """The weight of the most specific match: in the order of ``names``, then with a version before without one."""
    ranked = [
        (names.index(choice.name), "version" not in choice.parameters, -choice.quality)
        for choice in choices
        if choice.name in names and choice.parameters.get("version", version) == version
    ]
    return -min(ranked)[2] if ranked else None
