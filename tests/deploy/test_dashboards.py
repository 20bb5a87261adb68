"""The dashboards as they are in their files: up to date, whole, and about metrics that exist."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from deploy.grafana.__main__ import FOLDER, dashboards, text
from deploy.grafana.asking import SCRAPE_INTERVAL, panels
from deploy.grafana.panels import RUNBOOKS
from exporter.metrics import CATALOG, OWN
from exporter.metrics.family import IDENTITY
from tests.deploy.promql import grouping_labels, made_labels, selectors
from tests.deploy.tools import DEPLOY
from tests.integration.harness import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

DASHBOARDS: dict[str, Any] = {path.name: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}
LABELS: dict[str, set[str]] = {family.name: {*IDENTITY[family.of], *family.labels} for family in CATALOG} | {
    family.name: set(family.labels) for family in OWN
}
HISTOGRAMS = {family.name for family in CATALOG if family.type == "histogram"} | {
    family.name for family in OWN if family.type == "histogram"
}
RULES = DEPLOY / "prometheus" / "dify.rules.yml"

OF_PROMETHEUS = {"up": set[str](), "scrape_duration_seconds": set[str](), "scrape_samples_scraped": set[str]()}
TARGET_LABELS = {"job", "instance", "pod"}

NOT_SHOWN = {
    "python_info": "dify_exporter_build_info has the version of Python too",
}
"""Metrics that no dashboard and no rule has, and why."""


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression of every panel and variable, with where it is."""
    for name, dashboard in DASHBOARDS.items():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                yield f"{name} variable {variable['name']}", variable["definition"]
        for panel in panels(dashboard):
            for target in panel["targets"]:
                yield f"{name} {panel['title']} {target['refId']}", target["expr"]


def family_of(metric: str) -> str:
    """The name in the catalog of a metric, which may be a part of a histogram."""
    base = re.sub(r"_(bucket|sum|count)$", "", metric)
    return base if base in HISTOGRAMS else metric


@pytest.mark.parametrize("name", dashboards())
def test_files_are_what_the_code_makes(name: str) -> None:
    """`make docs` (python -m deploy.grafana) has been run after the last change of the dashboards."""
    assert text(dashboards()[name]) == (FOLDER / name).read_text("utf-8")


def test_no_file_is_left_over() -> None:
    """Each file in the folder is made by the code."""
    assert sorted(dashboards()) == sorted(DASHBOARDS)


@pytest.mark.parametrize(("where", "expression"), [pytest.param(*found, id=found[0]) for found in expressions()])
def test_names_exist(where: str, expression: str) -> None:
    """Metrics are in the catalog (or Prometheus' own), and are matched on labels that they have."""
    known = LABELS | OF_PROMETHEUS
    read = list(selectors(expression))
    metrics = {family_of(selector.metric) for selector in read}
    wrong = {
        (selector.metric, label)
        for selector in read
        for label in selector.labels - TARGET_LABELS - known.get(family_of(selector.metric), set())
    }

    assert metrics, where
    assert set() == metrics - set(known)
    assert set() == wrong


@pytest.mark.parametrize(("where", "expression"), [pytest.param(*found, id=found[0]) for found in expressions()])
def test_grouping_labels_exist(where: str, expression: str) -> None:
    """What is grouped by, joined on and taken over is a label of a metric in the expression, or is made in it."""
    there = made_labels(expression) | TARGET_LABELS
    for selector in selectors(expression):
        there |= (LABELS | OF_PROMETHEUS)[family_of(selector.metric)]
        there |= {"le"} if selector.metric.endswith("_bucket") else set()

    assert set() == grouping_labels(expression) - there, where


def test_every_metric_is_used_or_left_out_on_purpose() -> None:
    """Each metric of the catalog is on a dashboard or in a rule, or has a reason not to be, and then really is not."""
    used = {family_of(selector.metric) for _, expression in expressions() for selector in selectors(expression)}
    used |= {family_of(selector.metric) for selector in selectors(RULES.read_text("utf-8"))}

    assert set(NOT_SHOWN) == set(LABELS) - used


def test_runbooks_exist() -> None:
    """Links to runbooks name alerts that the rules have."""
    alerts = {
        rule["alert"].lower()
        for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    linked = {
        link["url"].removeprefix(f"{RUNBOOKS}#")
        for dashboard in DASHBOARDS.values()
        for panel in panels(dashboard)
        for link in panel["links"]
        if link["url"].startswith(RUNBOOKS)
    }

    assert linked
    assert set() == linked - alerts


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_explain_themselves(name: str) -> None:
    """Each panel has a title, a description, a word for no data and a unit, and an id of its own."""
    dashboard = DASHBOARDS[name]
    ids = [panel["id"] for panel in dashboard["panels"]]

    assert sorted(set(ids)) == sorted(ids)
    for panel in panels(dashboard):
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert defaults["noValue"], panel["title"]
        if panel["type"] in {"stat", "timeseries", "bargauge"}:
            assert defaults["unit"], panel["title"]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_do_not_overlap(name: str) -> None:
    """Panels lie within 24 columns, none on another."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARDS[name]["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24, panel["title"]
        assert set() == cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("name", DASHBOARDS)
def test_variables_are_declared_before_use(name: str) -> None:
    """Variables in queries and links are those of the dashboard, or Grafana's own; each asks for none after it."""
    builtin = {"__interval", "__rate_interval", "__range", "__url_time_range", "__data", "__field", "__all"}
    dashboard = DASHBOARDS[name]
    declared: set[str] = set()
    for variable in dashboard["templating"]["list"]:
        asked = set(re.findall(r"\$\{?(\w+)", str(variable.get("definition", ""))))
        assert set() == asked - declared, variable["name"]
        declared.add(variable["name"])
    used = set(re.findall(r"\$\{?([A-Za-z_]\w+)", json.dumps(dashboard["panels"])))

    assert set() == used - declared - builtin


def test_links_lead_to_dashboards_with_these_variables() -> None:
    """Links from panel to panel name a dashboard that exists and variables that it has."""
    found = set(re.findall(r'/d/([\w-]+)\?([^"]*)', json.dumps(DASHBOARDS)))
    by_uid = {dashboard["uid"]: dashboard for dashboard in DASHBOARDS.values()}

    assert found
    for uid, query in found:
        names = {variable["name"] for variable in by_uid[uid]["templating"]["list"]}
        assert set() == set(re.findall(r"var-(\w+)=", query)) - names


def test_provisioning_fits() -> None:
    """The provisioning files are read, and name what the dashboards need."""
    (source,) = yaml.safe_load((FOLDER.parent / "provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((FOLDER.parent / "provisioning/dashboards/dify.yaml").read_text())["providers"]

    assert ("prometheus", True) == (source["type"], source["isDefault"])
    assert ("file", "/var/lib/grafana/dashboards/dify") == (provider["type"], provider["options"]["path"])


def test_scrape_interval_is_the_same_everywhere() -> None:
    """Grafana is told the interval at which the example of Prometheus and the chart scrape, as are the previews."""
    prometheus = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))
    chart = yaml.safe_load((DEPLOY / "kubernetes" / "dify-exporter" / "values.yaml").read_text("utf-8"))
    (source,) = yaml.safe_load((FOLDER.parent / "provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    told = source["jsonData"]["timeInterval"]

    assert prometheus["global"]["scrape_interval"] == told
    assert chart["serviceMonitor"]["interval"] == told
    assert f"{SCRAPE_INTERVAL}s" == told


def test_page_has_what_it_shows() -> None:
    """Every dashboard has its section and picture, pictures are small, and links lead to files."""
    page = (ROOT / "docs" / "dashboards.md").read_text("utf-8")
    linked = {path.partition("#")[0] for path in re.findall(r"\]\(([^):]+)\)", page)}
    pictures = [ROOT / "docs" / path for path in linked if path.endswith(".png")]

    assert [] == [path for path in linked if not (ROOT / "docs" / path).exists()]
    assert len(DASHBOARDS) == len(pictures)
    assert all(picture.stat().st_size < 200_000 for picture in pictures)
    for dashboard in DASHBOARDS.values():
        assert f"\n## {dashboard['title'].removeprefix('Dify / ')}\n" in page
