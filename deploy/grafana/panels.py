"""Building blocks of the dashboards: Grafana panels as plain data, with shared defaults."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

Json = dict[str, Any]
Steps = tuple[tuple[float | None, str], ...]

DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
RUNBOOKS = "https://github.com/dify-exporter/dify-exporter/blob/main/docs/alerts.md"

NEUTRAL: Steps = ((None, "blue"),)
NONE_IS_GOOD: Steps = ((None, "green"), (1, "red"))
SOME_ARE_ODD: Steps = ((None, "green"), (1, "orange"))


@dataclass(frozen=True, slots=True)
class Query:
    """An expression and its legend. ``kind``: range, instant, table (instant, as rows) or heatmap."""

    expr: str
    legend: str = "__auto"
    kind: str = "range"


def runbook(alert: str) -> Json:
    """A link from a panel to the runbook of an alert."""
    return {"title": f"Runbook: {alert}", "url": f"{RUNBOOKS}#{alert.lower()}", "targetBlank": True}


def thresholds(steps: Steps) -> Json:
    """Colours by threshold; ``None`` is the base."""
    return {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in steps]}


def values_as(texts: dict[float | str, tuple[str, str]]) -> tuple[Json, ...]:
    """Values displayed as coloured words."""
    options = {
        str(value): {"text": text, "color": color, "index": index}
        for index, (value, (text, color)) in enumerate(texts.items())
    }
    return ({"type": "value", "options": options},)


def override(name: str, **properties: Any) -> Json:
    """Properties of the field displayed as ``name``; ``__`` in a keyword stands for a dot."""
    listed = [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": listed}


def fixed_colors(colors: dict[str, str]) -> list[Json]:
    """A fixed colour for each series name."""
    return [override(name, color={"mode": "fixed", "fixedColor": color}) for name, color in colors.items()]


def _targets(queries: tuple[Query, ...]) -> list[Json]:
    return [
        {
            "refId": ref,
            "datasource": DATA_SOURCE,
            "editorMode": "code",
            "expr": query.expr,
            "legendFormat": query.legend,
            "range": query.kind in {"range", "heatmap"},
            "instant": query.kind not in {"range", "heatmap"},
            "format": query.kind if query.kind in {"table", "heatmap"} else "time_series",
        }
        for ref, query in zip(ascii_uppercase, queries, strict=False)
    ]


def panel(
    kind: str,
    title: str,
    about: str,
    queries: tuple[Query, ...],
    *,
    size: tuple[int, int],
    defaults: Json | None = None,
    overrides: list[Json] | None = None,
    options: Json | None = None,
    links: tuple[Json, ...] = (),
    no_value: str = "no data",
    interval: str = "",
) -> Json:
    """A panel of any type, without its final position on the dashboard.

    ``size``: width (of 24 columns) and height. ``interval``: the minimum step of its queries.
    """
    width, height = size
    return {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": DATA_SOURCE,
        "gridPos": {"w": width, "h": height, "x": 0, "y": 0},
        "targets": _targets(queries),
        "fieldConfig": {"defaults": {"noValue": no_value, **(defaults or {})}, "overrides": overrides or []},
        "options": options or {},
        "links": list(links),
        **({"interval": interval} if interval else {}),
    }


_LAST: Json = {"calcs": ["lastNotNull"], "fields": "", "values": False}


def stat(
    title: str,
    about: str,
    *queries: Query,
    unit: str = "short",
    steps: Steps = NEUTRAL,
    mappings: tuple[Json, ...] = (),
    overrides: list[Json] | None = None,
    size: tuple[int, int] = (4, 4),
    links: tuple[Json, ...] = (),
    no_value: str = "no data",
    decimals: int | None = None,
) -> Json:
    """Current values; with their names when there are several."""
    defaults: Json = {"unit": unit, "thresholds": thresholds(steps), "mappings": list(mappings)}
    if decimals is not None:
        defaults["decimals"] = decimals
    return panel(
        "stat",
        title,
        about,
        queries,
        size=size,
        defaults=defaults | {"color": {"mode": "thresholds"}},
        overrides=overrides,
        options={
            "reduceOptions": _LAST,
            "colorMode": "value",
            "graphMode": "none",
            "justifyMode": "auto",
            "textMode": "auto" if len(queries) == 1 else "value_and_name",
            "orientation": "auto",
            "wideLayout": True,
        },
        links=links,
        no_value=no_value,
    )


def graph(
    title: str,
    about: str,
    *queries: Query,
    unit: str = "short",
    stacked: bool = False,
    bars: bool = False,
    calcs: tuple[str, ...] = (),
    colors: dict[str, str] | None = None,
    overrides: list[Json] | None = None,
    steps: Steps | None = None,
    size: tuple[int, int] = (12, 8),
    links: tuple[Json, ...] = (),
    interval: str = "",
    signed: bool = False,
    decimals: int | None = None,
    soft_max: float | None = None,
) -> Json:
    """Series over time, with an axis that starts at 0 unless ``signed``.

    ``steps`` draws thresholds as dashed lines; ``calcs`` turns the legend into a table; ``interval`` is the minimum
    step; ``soft_max`` is the minimum upper bound of the axis.
    """
    custom: Json = {
        "drawStyle": "bars" if bars else "line",
        "lineInterpolation": "stepAfter" if stacked else "linear",
        "lineWidth": 1 if stacked else 2,
        "fillOpacity": 70 if stacked or bars else 8,
        "showPoints": "never" if stacked else "auto",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if steps else "off"},
    }
    defaults: Json = {"unit": unit, "custom": custom, "color": {"mode": "palette-classic"}}
    if not signed:
        defaults["min"] = 0
    if soft_max is not None:
        custom["axisSoftMax"] = soft_max
    if steps:
        defaults["thresholds"] = thresholds(steps)
    if decimals is not None:
        defaults["decimals"] = decimals
    legend = {
        "displayMode": "table" if calcs else "list",
        "placement": "right" if calcs and size[0] > 8 else "bottom",  # noqa: PLR2004 - a third of the width
        "showLegend": True,
        "calcs": list(calcs),
    }
    return panel(
        "timeseries",
        title,
        about,
        queries,
        size=size,
        defaults=defaults,
        overrides=[*fixed_colors(colors or {}), *(overrides or [])],
        options={"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}},
        links=links,
        interval=interval,
    )


def bar_gauge(
    title: str,
    about: str,
    *queries: Query,
    unit: str = "short",
    steps: Steps = NEUTRAL,
    maximum: float | None = None,
    colors: dict[str, str] | None = None,
    overrides: list[Json] | None = None,
    data_link: Json | None = None,
    size: tuple[int, int] = (12, 8),
    links: tuple[Json, ...] = (),
    no_value: str = "no data",
    names: str = "top",
) -> Json:
    """One horizontal bar per series, with its name at the ``top`` or ``left``."""
    defaults: Json = {"unit": unit, "min": 0, "thresholds": thresholds(steps), "color": {"mode": "thresholds"}}
    if maximum is not None:
        defaults["max"] = maximum
    if data_link:
        defaults["links"] = [data_link]
    return panel(
        "bargauge",
        title,
        about,
        queries,
        size=size,
        defaults=defaults,
        overrides=[*fixed_colors(colors or {}), *(overrides or [])],
        options={
            "reduceOptions": _LAST,
            "orientation": "horizontal",
            "displayMode": "basic",
            "valueMode": "color",
            "namePlacement": names,
            "showUnfilled": True,
            "sizing": "auto",
            "minVizHeight": 28 if names == "top" else 16,
            "maxVizHeight": 44 if names == "top" else 28,
        },
        links=links,
        no_value=no_value,
    )


def state_timeline(
    title: str,
    about: str,
    *queries: Query,
    mappings: tuple[Json, ...],
    size: tuple[int, int] = (24, 10),
    links: tuple[Json, ...] = (),
    interval: str = "",
) -> Json:
    """One row per series, one coloured segment per state."""
    return panel(
        "state-timeline",
        title,
        about,
        queries,
        size=size,
        defaults={
            "mappings": list(mappings),
            "color": {"mode": "thresholds"},
            "thresholds": thresholds(((None, "text"),)),
            "custom": {"lineWidth": 0, "fillOpacity": 80},
        },
        options={
            "mergeValues": True,
            "showValue": "auto",
            "alignValue": "left",
            "rowHeight": 0.8,
            "perPage": 20,
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "single", "sort": "none"},
        },
        links=links,
        interval=interval,
    )


def heat_map(
    title: str,
    about: str,
    query: Query,
    *,
    unit: str,
    size: tuple[int, int] = (12, 8),
    interval: str = "",
) -> Json:
    """Buckets of a histogram over time; darker means more."""
    return panel(
        "heatmap",
        title,
        about,
        (query,),
        size=size,
        defaults={"custom": {"scaleDistribution": {"type": "linear"}}},
        options={
            "calculate": False,
            "yAxis": {"axisPlacement": "left", "unit": unit},
            "rowsFrame": {"layout": "auto"},
            "color": {"mode": "scheme", "scheme": "Blues", "scale": "exponential", "exponent": 0.5, "steps": 64},
            "cellGap": 1,
            "filterValues": {"le": 1e-9},
            "showValue": "never",
            "legend": {"show": True},
            "tooltip": {"mode": "single", "yHistogram": True},
        },
        interval=interval,
    )
