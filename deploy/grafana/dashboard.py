"""Assembles a dashboard from rows of panels, with the variables and links that all dashboards share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.grafana.panels import DATA_SOURCE, RUNBOOKS, Json
from deploy.grafana.queries import BATCH, DATASETS, SERVERS

if TYPE_CHECKING:
    from collections.abc import Iterable

COLUMNS = 24

INDEXING = "dify-indexing"
BATCHES = "dify-batch"
EXPORTER = "dify-exporter"
"""Uids of the dashboards, which are also part of their URLs."""

_SELECTION = "${__url_time_range}&${datasource:queryparam}&${job:queryparam}&${server:queryparam}"


def link(uid: str, **variables: str) -> str:
    """URL of a dashboard, with the current time range and servers, and with ``variables``."""
    return f"/d/{uid}?{_SELECTION}" + "".join(f"&var-{name}={value}" for name, value in variables.items())


def _query_variable(name: str, label: str, query: str, **rest: object) -> Json:
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATA_SOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 5,
        "regex": "",
        "multi": True,
        "includeAll": True,
        **rest,
    }


def _named(id_label: str) -> str:
    """A pattern that shows ``name`` and selects by id; names may contain quotes."""
    return rf'/,name="(?<text>.+?)",[a-zA-Z_]+="|[{{,]{id_label}="(?<value>[^"]+)/g'


DATA_SOURCES: Json = {
    "type": "datasource",
    "name": "datasource",
    "label": "Data source",
    "query": "prometheus",
    "regex": "",
    "refresh": 1,
    "multi": False,
    "includeAll": False,
}
JOB = _query_variable("job", "Job", "label_values(dify_exporter_build_info, job)")
SERVER = _query_variable("server", "Server", 'label_values(dify_up{job=~"$job"}, server)', allValue=".*")
DATASET = _query_variable(
    "dataset",
    "Knowledge base",
    f"query_result(dify_dataset_info{{{SERVERS}}})",
    regex=_named("dataset_id"),
    allValue=".*",
)
NEWEST_BATCH = _query_variable(
    "batch", "Batch", f"label_values(dify_batch_documents{{{DATASETS}}}, batch)", sort=2, multi=False, allValue=".*"
)
ONE_DOCUMENT = _query_variable(
    "document",
    "Document",
    f"query_result(dify_document_info{{{BATCH}}})",
    regex=_named("document_id"),
    multi=False,
    includeAll=False,
)


def choice(name: str, label: str, *words: str) -> Json:
    """A variable with a fixed list of values; the first is selected."""
    options = [{"text": word, "value": word, "selected": word == words[0]} for word in words]
    return {
        "type": "custom",
        "name": name,
        "label": label,
        "query": ",".join(words),
        "options": options,
        "current": options[0],
        "multi": False,
        "includeAll": False,
    }


def dashboard(
    uid: str, title: str, about: str, *, variables: tuple[Json, ...], rows: Iterable[tuple[str, tuple[Json, ...]]]
) -> Json:
    """Build a dashboard from rows of panels, each under its heading; panels are placed from left to right."""
    return {
        "uid": uid,
        "title": title,
        "description": about,
        "tags": ["dify"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": list(variables)},
        "annotations": {"list": []},
        "links": [
            {
                "type": "dashboards",
                "title": "Dify",
                "tags": ["dify"],
                "asDropdown": False,
                "keepTime": True,
                "includeVars": True,
                "targetBlank": False,
                "icon": "external link",
                "tooltip": "",
                "url": "",
            },
            {
                "type": "link",
                "title": "Runbooks",
                "url": RUNBOOKS,
                "icon": "doc",
                "tags": [],
                "asDropdown": False,
                "keepTime": False,
                "includeVars": False,
                "targetBlank": True,
                "tooltip": "What each alert means and what to do",
            },
        ],
        "panels": _placed(rows),
    }


def _placed(rows: Iterable[tuple[str, tuple[Json, ...]]]) -> list[Json]:
    placed: list[Json] = []
    y = 0
    for heading, panels in rows:
        row = {"type": "row", "title": heading, "collapsed": False, "panels": [], "gridPos": _place(COLUMNS, 1, 0, y)}
        placed.append(row)
        x, y, height = 0, y + 1, 0
        for panel in panels:
            size = panel["gridPos"]
            if x + size["w"] > COLUMNS:
                x, y, height = 0, y + height, 0
            placed.append({**panel, "gridPos": _place(size["w"], size["h"], x, y)})
            x, height = x + size["w"], max(height, size["h"])
        y += height
    return [{"id": number, **panel} for number, panel in enumerate(placed, 1)]


def _place(w: int, h: int, x: int, y: int) -> Json:
    return {"w": w, "h": h, "x": x, "y": y}
