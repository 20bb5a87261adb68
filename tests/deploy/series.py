"""Series as Prometheus stores them after scrapes, in the notation of promtool's unit tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

STALE = "stale"
GAP = "_"


class Series:
    """Samples of scrapes at a fixed interval. Only ``names`` are kept; ``labels`` are the target labels."""

    def __init__(self, names: Collection[str], labels: str) -> None:
        self._names = frozenset(names)
        self._labels = labels
        self._scrapes = 0
        self._values: dict[str, list[str]] = {}

    def scrape(self, page: str | None, seconds: float) -> None:
        """Add a scrape of ``page`` that took ``seconds``; None: the scrape failed."""
        found = {"up": "0" if page is None else "1", "scrape_duration_seconds": f"{seconds:g}"}
        for line in (page or "").splitlines():
            name, _, value = line.rpartition(" ")
            if not line.startswith("#") and name.partition("{")[0] in self._names:
                found[name] = value
        self._add({self._with_labels(name): value for name, value in found.items()})

    def skip(self) -> None:
        """Add an interval without a scrape: Prometheus has no such target."""
        self._add({})

    def lines(self) -> Iterator[tuple[str, str]]:
        """Each series with its values."""
        for name in sorted(self._values):
            yield name, notation(self._values[name] + [GAP] * (self._scrapes - len(self._values[name])))

    def _add(self, found: dict[str, str]) -> None:
        for name, value in found.items():
            values = self._values.setdefault(name, [GAP] * self._scrapes)
            values.append(value)
        self._scrapes += 1
        for values in self._values.values():
            if len(values) < self._scrapes:
                values.append(GAP if values[-1] in (GAP, STALE) else STALE)

    def _with_labels(self, name: str) -> str:
        bare, brace, rest = name.partition("{")
        return f"{bare}{{{self._labels}{',' if brace else ''}{rest or '}'}"


def notation(values: Iterable[str]) -> str:
    """Samples in promtool's notation; equal values in a row, and values that increase steadily, become one word."""
    words: list[str] = []
    run: list[str] = []
    for value in values:
        if not _goes_on(run, value):
            words += _words(run)
            run = []
        run.append(value)
    return " ".join([*words, *_words(run)])


def _goes_on(run: list[str], value: str) -> bool:
    if not run or value == STALE or run[-1] == STALE:
        return False
    if GAP in (value, run[-1]):
        return value == run[-1]
    step = _step(run)
    return step is None or float(value) - float(run[-1]) == step


def _step(run: list[str]) -> float | None:
    """The step by which a run increases; None if any step is possible. Fractions do not add up exactly."""
    if len(run) > 1:
        return float(run[1]) - float(run[0])
    return None if float(run[0]).is_integer() else 0.0


def _words(run: list[str]) -> Iterator[str]:
    if not run:
        return
    if len(run) == 1:
        yield run[0]
    elif run[0] == GAP:
        yield f"_x{len(run)}"
    else:
        step = float(run[1]) - float(run[0])
        if not step.is_integer():
            yield from run
        else:
            yield f"{float(run[0]):.17g}{int(step):+d}x{len(run) - 1}"
