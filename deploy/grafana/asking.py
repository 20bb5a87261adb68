"""Queries that Grafana sends for a dashboard: values of variables, and panel queries with variables filled in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from deploy.grafana.panels import Json

ALL = "$__all"
SCRAPE_INTERVAL = 30
"""Seconds. The same as in deploy/prometheus/prometheus.yml and ``provisioning/``."""

_VARIABLE = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)")
_LABEL_VALUES = re.compile(r"label_values\((?:(?P<series>.+),\s*)?(?P<label>\w+)\)")
_QUERY_RESULT = re.compile(r"query_result\((?P<expression>.+)\)")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


class Prometheus(Protocol):
    """The part of Prometheus' HTTP API that is used here."""

    def get(self, path: str, **parameters: str) -> Any:
        """The ``data`` of an answer. Raises an exception when the answer is an error."""


@dataclass(frozen=True, slots=True)
class Option:
    """One of the values that a variable offers."""

    text: str
    value: str


@dataclass(frozen=True, slots=True)
class Span:
    """A time range in Unix seconds, the panel width in steps, and the scrape interval of the data source."""

    start: float
    end: float
    points: int = 300
    scrape_interval: float = SCRAPE_INTERVAL

    def step(self, least: str = "") -> int:
        """``$__interval`` in seconds. ``least``: the panel's own minimum, like ``1m``."""
        bound = int(least[:-1]) * _SECONDS[least[-1]] if least else self.scrape_interval
        return max(1, round((self.end - self.start) / self.points), round(bound))

    def intervals(self, least: str = "") -> dict[str, str]:
        """Grafana's built-in time variables."""
        step = self.step(least)
        rate = max(step + self.scrape_interval, 4 * self.scrape_interval)
        return {
            "__interval": f"{step}s",
            "__rate_interval": f"{rate:g}s",
            "__range": f"{round(self.end - self.start)}s",
        }


@dataclass(slots=True)
class Selection:
    """The selected value of each variable: as inserted into queries, and as displayed."""

    values: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


def interpolate(text: str, values: Mapping[str, str]) -> str:
    """``text`` with its variables replaced; unknown variables are kept."""
    return _VARIABLE.sub(lambda found: values.get(found[1] or found[2], found[0]), text)


def options(variable: Json, values: Mapping[str, str], prometheus: Prometheus) -> list[Option]:
    """The options of the variable in their order, without All."""
    if variable["type"] == "custom":
        return [Option(option["text"], option["value"]) for option in variable["options"]]
    if variable["type"] == "datasource":
        return [Option("Prometheus", "prometheus")]
    query = interpolate(variable["query"]["query"], values)
    if found := _LABEL_VALUES.fullmatch(query):
        selector = {"match[]": found["series"]} if found["series"] else {}
        seen = [Option(value, value) for value in prometheus.get(f"label/{found['label']}/values", **selector)]
    elif found := _QUERY_RESULT.fullmatch(query):
        series = prometheus.get("query", query=found["expression"])["result"]
        seen = [option for one in series if (option := _named(_as_text(one["metric"]), variable["regex"]))]
    else:
        raise ValueError(query)
    unique = {option.value: option for option in reversed(seen)}.values()
    return sorted(unique, key=lambda option: option.text.lower(), reverse=variable["sort"] in {2, 4, 6})


def _as_text(metric: Mapping[str, str]) -> str:
    # The format that Grafana matches its patterns against: quotes in values are not escaped.
    labels = ",".join(f'{name}="{value}"' for name, value in metric.items() if name != "__name__")
    return f"{metric.get('__name__', '')}{{{labels}}} 1 0"


def _named(series: str, pattern: str) -> Option | None:
    body = pattern.removeprefix("/").removesuffix("/g").replace("(?<", "(?P<")
    groups: dict[str, str] = {}
    for found in re.finditer(body, series):
        groups.update({name: text for name, text in found.groupdict().items() if text is not None})
    if not groups:
        return None
    value = groups.get("value") or groups["text"]
    return Option(groups.get("text") or value, value)


def select(dashboard: Json, prometheus: Prometheus, chosen: Mapping[str, str]) -> Selection:
    """The values of the variables when the dashboard is opened with ``chosen`` (texts or values) in its URL.

    Variables without a choice are All, or else their first option. LookupError when an option does not exist, or when
    there are no options.
    """
    selection = Selection()
    for variable in dashboard["templating"]["list"]:
        name = variable["name"]
        offered = options(variable, selection.values, prometheus)
        wanted = chosen.get(name, ALL if variable["includeAll"] else None)
        if wanted == ALL:
            everything = "|".join(_escaped(option.value, variable) for option in offered)
            selection.texts[name] = "All"
            selection.values[name] = variable.get("allValue") or f"({everything})"
            continue
        fitting = [option for option in offered if wanted is None or wanted in {option.text, option.value}]
        if not fitting:
            raise LookupError(f"variable {name} of {dashboard['uid']} offers {offered}, not {wanted}")
        selection.texts[name] = fitting[0].text
        selection.values[name] = _escaped(fitting[0].value, variable)
    return selection


def _escaped(value: str, variable: Json) -> str:
    if variable["multi"] or variable["includeAll"]:
        return re.sub(r"[\\^$*+?.()|{}\[\]]", lambda found: "\\\\" + found[0], value)
    return value.replace("\\", "\\\\").replace('"', '\\"')


def panels(dashboard: Json) -> Iterator[Json]:
    """All panels that have queries."""
    return (panel for panel in dashboard["panels"] if panel["type"] != "row")


def ask(panel: Json, target: Json, selection: Selection, span: Span, prometheus: Prometheus) -> list[Json]:
    """The series that a query of a panel returns: ``metric`` with ``value`` or ``values``."""
    least = panel.get("interval", "")
    expression = interpolate(target["expr"], {**selection.values, **span.intervals(least)})
    if target["instant"]:
        found = prometheus.get("query", query=expression, time=str(span.end))
    else:
        step = span.step(least)
        # Grafana aligns the range to multiples of the step.
        bounds = {"start": str(span.start // step * step), "end": str(span.end // step * step), "step": str(step)}
        found = prometheus.get("query_range", query=expression, **bounds)
    series: list[Json] = found["result"]
    return series
