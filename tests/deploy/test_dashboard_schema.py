"""The dashboards against Grafana's own schemas, from the Foundation SDK."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import (
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)

from deploy.grafana.__main__ import dashboards
from deploy.grafana.asking import panels

if TYPE_CHECKING:
    from collections.abc import Iterator

OPTIONS: dict[str, Any] = {
    "bargauge": bargauge.Options,
    "heatmap": heatmap.Options,
    "stat": stat.Options,
    "state-timeline": statetimeline.Options,
    "table": table.Options,
    "timeseries": timeseries.Options,
}
FIELDS: dict[str, Any] = {
    "heatmap": heatmap.FieldConfig,
    "state-timeline": statetimeline.FieldConfig,
    "table": common.TableFieldOptions,
    "timeseries": timeseries.FieldConfig,
}

OF_THE_EDITOR = {"definition"}
"""Properties that Grafana's editor writes and reads although the schema lacks them."""


def lost(given: Any, kept: Any, where: str = "") -> Iterator[str]:
    """The parts of ``given`` that a reader with the schema does not keep."""
    if isinstance(given, dict):
        for key, value in given.items():
            if not isinstance(kept, dict) or key not in kept:
                yield f"{where}.{key}"
            else:
                yield from lost(value, kept[key], f"{where}.{key}")
    elif isinstance(given, list):
        if not isinstance(kept, list) or len(given) != len(kept):
            yield where
        else:
            for index, (one, other) in enumerate(zip(given, kept, strict=True)):
                yield from lost(one, other, f"{where}[{index}]")
    elif given != kept:
        yield where


def unknown(given: Any, schema: Any) -> list[str]:
    """The parts of ``given`` that the schema does not define."""
    return list(lost(given, json.loads(json.dumps(schema.from_json(given), cls=JSONEncoder))))


def without(given: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The difference between two documents."""
    return {key: value for key, value in given.items() if key not in keys}


@pytest.mark.parametrize("name", dashboards())
def test_dashboard_is_as_the_schema_has_it(name: str) -> None:
    """The dashboard, its variables and links have no misspelt or misplaced property."""
    given = without(dashboards()[name], "panels")
    given["templating"] = {
        "list": [without(variable, *OF_THE_EDITOR) for variable in given["templating"]["list"]],
    }

    assert [] == unknown(given, dashboard.Dashboard)


@pytest.mark.parametrize("name", dashboards())
def test_panels_are_as_the_schema_has_them(name: str) -> None:
    """The panels have no misspelt or misplaced property, including options, fields and queries."""
    for panel in panels(dashboards()[name]):
        kind, custom = panel["type"], panel["fieldConfig"]["defaults"].get("custom")
        assert [] == unknown(without(panel, "targets", "options"), dashboard.Panel), panel["title"]
        assert [] == unknown(panel["options"], OPTIONS[kind]), panel["title"]
        assert [] == (unknown(custom, FIELDS[kind]) if custom else []), panel["title"]
        assert [] == [found for target in panel["targets"] for found in unknown(target, prometheus.Dataquery)]


def test_a_misspelt_option_is_found() -> None:
    """The schema is strict enough to detect errors."""
    assert [".colourMode"] == unknown({"colourMode": "value", "graphMode": "none"}, stat.Options)
