"""Graphs that are used on several dashboards, or several times on one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.grafana.panels import Query, graph
from deploy.grafana.queries import total

if TYPE_CHECKING:
    from deploy.grafana.panels import Json


def by_state(title: str, about: str, series: str, label: str, colors: dict[str, str]) -> Json:
    """Stacked counts per state; the label ``label`` of ``series`` holds the state."""
    return graph(
        title,
        about,
        Query(total(series, label), f"{{{{{label}}}}}"),
        stacked=True,
        calcs=("lastNotNull",),
        colors=colors,
        decimals=0,
    )


def segments(title: str, about: str, everything: str, indexed: str, size: tuple[int, int] = (12, 8)) -> Json:
    """All segments and indexed segments; both arguments are expressions with one result."""
    return graph(
        title,
        about,
        Query(everything, "all"),
        Query(indexed, "indexed"),
        colors={"all": "#8E8E8E", "indexed": "blue"},
        size=size,
    )
