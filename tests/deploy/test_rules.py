"""The rules: existing names, complete and tested alerts with runbooks, and promtool's own checks."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from exporter.metrics import CATALOG, IDENTITY, SELF_METRICS
from tests.deploy.promql import selectors
from tests.deploy.record import PROMETHEUS, RULES, RUNBOOKS, TESTS, alerts, rules
from tests.deploy.scenes import SCENES
from tests.integration.harness import ROOT, run, tool

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = ROOT / "docs" / "alerts.md"
ALERTMANAGER = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
OF_PROMETHEUS = {"up", "scrape_duration_seconds"}
OF_TARGETS = {"job", "instance", "pod"}
MADE = {"dataset", "document", "problem"}
NAMES = [rule["alert"] for rule in alerts()]
LABELS: dict[str, set[str]] = {family.name: {*IDENTITY[family.of], *family.labels} for family in CATALOG} | {
    family.name: set(family.labels) for family in SELF_METRICS
}

_HISTOGRAM = re.compile(r"_(?:bucket|sum|count)$")
_RECORDED = re.compile(r"\b\w+:\w+:\w+\b")
_GROUPED = re.compile(r"\b(?:by|on|without|ignoring|group_left) \(([^)]*)\)")
_LABEL = re.compile(r"\$labels\.(\w+)")
_WINDOW = re.compile(r"\[(\w+)")


def texts() -> Iterator[tuple[str, str]]:
    """Every expression and alert text with the name of its rule."""
    for rule in rules():
        name = rule.get("alert") or rule["record"]
        for text in (rule["expr"], *rule.get("annotations", {}).values()):
            yield name, text


def family_of(metric: str) -> str:
    """The catalog's name of a metric, which may be part of a histogram."""
    return metric if metric in LABELS else _HISTOGRAM.sub("", metric)


@pytest.mark.parametrize(("rule", "text"), list(texts()))
def test_names_exist(rule: str, text: str) -> None:
    """Metrics are in the catalog, labels belong to a metric, and recorded series have a recording rule."""
    assert rule
    read = list(selectors(_RECORDED.sub("up", text)))
    known = OF_TARGETS | MADE | {label for labels in LABELS.values() for label in labels}
    grouped = {label.strip() for group in _GROUPED.findall(text) for label in group.split(",")} - {""}
    recorded = {found["record"] for found in rules() if "record" in found}

    assert set() == {family_of(found.metric) for found in read} - set(LABELS) - OF_PROMETHEUS
    assert set() == {
        (found.metric, label)
        for found in read
        if found.metric not in OF_PROMETHEUS
        for label in found.labels - OF_TARGETS - LABELS[family_of(found.metric)]
    }
    assert set() == (grouped | set(_LABEL.findall(text))) - known
    assert set() == set(_RECORDED.findall(text)) - recorded


def test_recorded_series_are_made_before_they_are_read() -> None:
    """A rule reads only series recorded earlier in its group, so that they are from the same evaluation."""
    made: set[str] = set()
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]:
        here: set[str] = set()
        for rule in group["rules"]:
            assert set(_RECORDED.findall(rule["expr"])) <= here | {rule.get("record")}
            here |= {rule.get("record")}
        assert not made & here - {None}
        made |= here


@pytest.mark.parametrize("rule", alerts(), ids=NAMES)
def test_an_alert_is_whole(rule: dict[str, Any]) -> None:
    """Each alert has a severity, a duration, its texts and a link to its runbook."""
    assert rule["alert"].startswith("Dify")
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert re.fullmatch(r"\d+m", rule["for"])
    assert {"summary", "description", "runbook_url"} == set(rule["annotations"])
    assert RUNBOOKS + rule["alert"].lower() == rule["annotations"]["runbook_url"]


@pytest.mark.parametrize("rule", alerts(), ids=NAMES)
def test_alerts_about_a_knowledge_base_name_it(rule: dict[str, Any]) -> None:
    """Alerts with the id of a knowledge base have its name in both texts, and none has the instance."""
    if "dataset:dify_name:info" not in rule["expr"]:
        assert rule["alert"].startswith(
            ("DifyServer", "DifyKey", "DifyPolls", "DifyClock", "DifyExporter", "DifyConfig", "DifyWeb", "DifyState")
        )
        return
    for text in ("summary", "description"):
        assert "$labels.dataset" in rule["annotations"][text]
        assert "$labels.instance" not in rule["annotations"][text]


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_fires_in_a_scene_and_ends_or_is_quiet_in_another_moment(name: str) -> None:
    """Every alert fires at some moment of a scene and does not fire at another."""
    moments = [firing for scene in SCENES.values() for firing in scene.fires.values()]

    assert any(name in {each.alert for each in firing} for firing in moments)
    assert any(name not in {each.alert for each in firing} for firing in moments)


def test_committed_tests_are_what_the_recording_writes() -> None:
    """`python -m tests.deploy.record` was run after the last change to the rules, scenes or exporter."""
    done = run(sys.executable, "-m", "tests.deploy.record", "--check", timeout=300)

    assert "" == done.out + done.err
    assert 0 == done.code
    assert {f"{name}.test.yml" for name in SCENES} == {path.name for path in TESTS.iterdir()}


def test_alerts_fire_when_they_should_and_only_then() -> None:
    """In promtool, labels and texts of every alert are as expected at every moment of the recorded scenes."""
    done = run(tool("promtool"), "test", "rules", *map(str, sorted(TESTS.iterdir())), timeout=300)

    assert 0 == done.code, done.out[-4000:] + done.err[-1000:]


def test_promtool_accepts_rules_and_configuration() -> None:
    """Promtool reports no error and no warning."""
    rules_checked = run(tool("promtool"), "check", "rules", str(RULES))
    config_checked = run(tool("promtool"), "check", "config", str(PROMETHEUS / "prometheus.yml"))

    assert (0, "") == (rules_checked.code, rules_checked.err)
    assert (0, "") == (config_checked.code, config_checked.err)


def test_amtool_accepts_the_configuration_of_the_alertmanager() -> None:
    """The configuration is valid, and critical alerts go to the phone."""
    checked = run(tool("amtool"), "check-config", str(ALERTMANAGER))
    routed = [
        run(tool("amtool"), "config", "routes", "test", f"--config.file={ALERTMANAGER}", f"severity={severity}")
        for severity in ("critical", "warning", "info")
    ]

    assert 0 == checked.code, checked.err
    assert ["phone", "team", "team"] == [done.out.strip() for done in routed]


def test_inhibitions_name_alerts() -> None:
    """Each source and target of an inhibition is an existing alert, and no alert inhibits itself."""
    for rule in yaml.safe_load(ALERTMANAGER.read_text(encoding="utf-8"))["inhibit_rules"]:
        sides = []
        for matchers in (rule["source_matchers"], rule["target_matchers"]):
            (pattern,) = re.findall(r'alertname=~?"([^"]+)"', *matchers)
            for each in pattern.split("|"):
                assert any(re.fullmatch(each, name) for name in NAMES), each
            sides.append({name for name in NAMES if re.fullmatch(pattern, name)})
        assert not sides[0] & sides[1]


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    """docs/alerts.md has one section per alert, each with the same questions."""
    page = PAGE.read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### (Dify\w+)\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL))

    assert sorted(NAMES) == sorted(sections)
    for name, text in sections.items():
        found = re.findall(r"^\*\*(.+?)\*\*", text, re.MULTILINE)
        assert ["Meaning.", "Query.", "Causes.", "Fix.", "Silence."] == found, name
        assert "```promql" in text, name


def test_the_page_gives_the_severity_and_the_wait_of_each_alert() -> None:
    """The table at the top of the page is correct."""
    page = PAGE.read_text(encoding="utf-8")
    for rule in alerts():
        row = f"| [{rule['alert']}](#{rule['alert'].lower()}) | {rule['labels']['severity']} | {rule['for']} |"
        assert row in page


def test_queries_of_the_page_name_metrics_that_exist() -> None:
    """Queries in the runbooks use existing metrics and recorded series."""
    recorded = {found["record"] for found in rules() if "record" in found}
    queries = re.findall(r"```promql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for query in queries:
        metrics = {family_of(found.metric) for found in selectors(_RECORDED.sub("up", query))}
        assert set() == metrics - set(LABELS) - OF_PROMETHEUS
        assert set() == set(_RECORDED.findall(query)) - recorded
        assert metrics
