"""The objects around the pod: scraping, rules, dashboards, network policy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from deploy.kubernetes.chart import CHART
from exporter.metrics import CATALOG, IDENTITY, SELF_METRICS
from tests.deploy.chart import Manifest, only, render, setting
from tests.deploy.tools import call
from tests.integration.harness import tool

if TYPE_CHECKING:
    from pathlib import Path

OF_TARGET = {"job", "instance", "namespace", "service", "pod", "node", "container", "endpoint"}
"""Labels that the Prometheus operator adds to the target of a ServiceMonitor."""


def test_selectors_find_the_pod(full: list[Manifest]) -> None:
    """Service, Deployment, NetworkPolicy and ServiceMonitor select labels that the exporter's objects have."""
    deployment = only(full, "Deployment")["spec"]
    pod = deployment["template"]["metadata"]["labels"].items()
    monitor = only(full, "ServiceMonitor")["spec"]
    service = only(full, "Service")

    assert deployment["selector"]["matchLabels"].items() <= pod
    assert service["spec"]["selector"].items() <= pod
    assert only(full, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"].items() <= pod
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert [service["metadata"]["namespace"]] == monitor["namespaceSelector"]["matchNames"]
    assert [service["spec"]["ports"][0]["name"]] == [endpoint["port"] for endpoint in monitor["endpoints"]]


@pytest.mark.parametrize("assignment", ["nameOverride=indexing", "fullnameOverride=indexing"])
def test_job_is_the_one_of_the_rules(assignment: str) -> None:
    """Whatever the names of the objects, the target has the job that the alerts on the exporter select."""
    job = job_of(render(*setting("serviceMonitor.enabled=true", assignment)))
    wanted = {
        found
        for group in rule_groups()
        for rule in group["rules"]
        for found in re.findall(r'\bjob=~"([^"]+)"', rule["expr"])
    }

    assert wanted
    assert [] == [pattern for pattern in wanted if not re.fullmatch(pattern, job)]


def test_relabelings_of_the_user_come_last(full: list[Manifest]) -> None:
    """Relabelings from the values come after the chart's own, so they can override them."""
    assert "dify-exporter" == job_of(full)
    assert {"targetLabel": "cluster", "replacement": "north"} == endpoint_of(full)["relabelings"][-1]


def endpoint_of(manifests: list[Manifest]) -> Any:
    """The only endpoint that Prometheus scrapes."""
    (endpoint,) = only(manifests, "ServiceMonitor")["spec"]["endpoints"]
    return endpoint


def job_of(manifests: list[Manifest]) -> str:
    """The job of the target: name or label of the Service, unless relabeled."""
    monitor, service = only(manifests, "ServiceMonitor")["spec"], only(manifests, "Service")["metadata"]
    job: str = service["labels"][monitor["jobLabel"]] if "jobLabel" in monitor else service["name"]
    for relabeling in endpoint_of(manifests).get("relabelings", []):
        if "job" == relabeling.get("targetLabel"):
            assert relabeling.keys() == {"targetLabel", "replacement"}
            job = relabeling["replacement"]
    return job


def test_labels_of_the_exporter_stay_its_own(full: list[Manifest]) -> None:
    """Where a label of the operator collides with one of the exporter's, the exporter's label is kept."""
    own = {label for family in CATALOG for label in (*IDENTITY[family.of], *family.labels)}
    own |= {label for family in SELF_METRICS for label in family.labels}

    assert {"endpoint"} == own & OF_TARGET
    assert endpoint_of(full)["honorLabels"] is True


def test_scrape_path(full: list[Manifest]) -> None:
    """Prometheus scrapes the configured path, with the scheme and credentials that the web config file requires."""
    endpoint = endpoint_of(full)

    assert ("/dify/metrics", "https") == (endpoint["path"], endpoint["scheme"])
    assert {"ca": {"secret": {"name": "dify-exporter-web", "key": "ca.crt"}}, "serverName": "dify-exporter"} == (
        endpoint["tlsConfig"]
    )
    assert ["dify-scrape"] * 2 == [endpoint["basicAuth"][key]["name"] for key in ("username", "password")]


def rule_groups() -> list[Any]:
    """The rule groups in the chart's copies."""
    files = sorted((CHART / "files" / "rules").glob("*.yml"))
    return [group for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]


def test_rules_are_those_of_the_files() -> None:
    """The PrometheusRule has exactly the rules in `files/`, including their templates."""
    rendered = only(render(*setting("prometheusRule.enabled=true")), "PrometheusRule")

    assert rule_groups() == rendered["spec"]["groups"]


def test_rules_are_changed_as_told(tmp_path: Path) -> None:
    """Alerts get the labels of `alertLabels`, those in `disabledAlerts` are omitted, and promtool accepts the rest."""
    groups = rule_groups()
    alerts = [rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule]
    others = f"{{{','.join(alerts[1:3])}}}"
    rendered = only(
        render(
            *setting("prometheusRule.enabled=true", "prometheusRule.alertLabels.team=search"),
            *("--set", f"prometheusRule.disabledAlerts={others}"),
        ),
        "PrometheusRule",
    )
    rules = [rule for group in rendered["spec"]["groups"] for rule in group["rules"]]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump(rendered["spec"]))

    assert [alerts[0], *alerts[3:]] == [rule["alert"] for rule in rules if "alert" in rule]
    assert {"search"} == {rule["labels"]["team"] for rule in rules if "alert" in rule}
    assert not [rule for rule in rules if "record" in rule and "team" in rule.get("labels", {})]
    assert 0 == call(tool("promtool"), "check", "rules", str(file)).code


def test_dashboards(full: list[Manifest]) -> None:
    """Each dashboard is in its own ConfigMap, byte for byte, with the label that the sidecar looks for."""
    files = sorted((CHART / "files" / "dashboards").glob("*.json"))
    found = [each for each in full if "grafana_dashboard" in each["metadata"]["labels"]]
    names = [each["metadata"]["name"] for each in found]

    assert {file.name: file.read_text(encoding="utf-8") for file in files} == {
        name: text for each in found for name, text in each["data"].items()
    }
    assert len(files) == len(set(names))
    assert {"yes"} == {each["metadata"]["labels"]["grafana_dashboard"] for each in found}


def test_network_policy_covers_the_servers() -> None:
    """The default policy allows egress to the usual ports of Dify and to DNS, and allows scrapes from anywhere."""
    policy = only(render(*setting("networkPolicy.enabled=true")), "NetworkPolicy")["spec"]
    ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}

    assert {53, 80, 443, 5001} == ports
    assert [{"ports": [{"port": "metrics", "protocol": "TCP"}]}] == policy["ingress"]
