"""The chart as a whole: valid objects, checked values, notes, copies."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from cloudcoil.models.prometheus_operator.v1 import PrometheusRule, ServiceMonitor

import exporter
from deploy.kubernetes.chart import CHART, COPIES, copies, readme, values
from tests.deploy.chart import FULL, Manifest, helm, only, setting
from tests.deploy.tools import call
from tests.integration.harness import tool

if TYPE_CHECKING:
    from pathlib import Path

KUBERNETES = ("1.25", "1.31", kubernetes_validate.latest_version())
OPERATOR: dict[str, Any] = {"ServiceMonitor": ServiceMonitor, "PrometheusRule": PrometheusRule}


def parts(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Every leaf of nested mappings and lists by its path."""
    if isinstance(tree, dict | list) and tree:
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {path: leaf for key, each in items for path, leaf in parts(each, f"{prefix}/{key}").items()}
    return {prefix: tree}


@pytest.mark.parametrize("arguments", [setting(), ["--values", str(FULL)]], ids=["default", "full"])
def test_lint(arguments: list[str]) -> None:
    """Helm's linter reports no errors or warnings."""
    done = helm("lint", "--strict", *arguments)

    assert 0 == done.code, done.out + done.err
    assert "1 chart(s) linted, 0 chart(s) failed" in done.out
    assert "[WARNING]" not in done.out


@pytest.mark.parametrize("version", KUBERNETES)
def test_manifests_are_valid(manifests: list[Manifest], version: str) -> None:
    """Every Kubernetes object matches the strict schemas, which allow no unknown field."""
    checked = [each for each in manifests if each["kind"] not in OPERATOR]

    for manifest in checked:
        kubernetes_validate.validate(manifest, version, strict=True)

    assert {"ConfigMap", "Deployment", "PersistentVolumeClaim", "Service"} <= {each["kind"] for each in checked}


@pytest.mark.parametrize("kind", OPERATOR)
def test_operator_manifests_are_valid(full: list[Manifest], kind: str) -> None:
    """Objects for the Prometheus operator match the schemas of its definitions and have no unknown fields."""
    manifest = only(full, kind)
    known = OPERATOR[kind].model_validate(manifest).model_dump(mode="json", by_alias=True)

    unknown = parts(manifest).keys() - parts(known).keys()
    assert set() == {path for path in unknown if not path.startswith("/metadata")}


def test_full_values_are_all_of_them() -> None:
    """The full values of these tests change every value from its default, except for those listed here."""
    excluded = {"apiKey", "image.digest", "persistence.existingClaim"}
    same = {
        *("securityContext", "persistence.enabled", "serviceAccount.create", "server.discover"),
        "prometheusRule.disabledAlerts",
    }
    tree = yaml.safe_load(FULL.read_text(encoding="utf-8"))
    defaults = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))

    def at(values_tree: Any, path: str) -> Any:
        for key in path.split("."):
            values_tree = values_tree.get(key) if isinstance(values_tree, dict) else None
        return values_tree

    leaves = {value.path for value in values((CHART / "values.yaml").read_text(encoding="utf-8")) if value.default}
    assert excluded | same == {path for path in leaves if at(tree, path) in (None, at(defaults, path))}


def test_default_objects(default: list[Manifest]) -> None:
    """The default values need nothing but Kubernetes itself."""
    kinds = sorted(each["kind"] for each in default)

    assert ["ConfigMap", "Deployment", "PersistentVolumeClaim", "Secret", "Service", "ServiceAccount"] == kinds


def test_needs_a_key() -> None:
    """Without a key, rendering fails with a message that names the values to set."""
    done = helm("template")

    assert 0 != done.code
    assert "Set apiKey, or existingSecret.name to a Secret" in done.err


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("serviceMonitor.enable=true", "additional properties 'enable' not allowed"),
        ("config.servers[0].name=x", "additional properties 'servers' not allowed"),
        ("config.state.path=x", "additional properties 'state' not allowed"),
        ("config.web.listen_address=x", "additional properties 'listen_address' not allowed"),
        ("server.apiKey=x", "additional properties 'apiKey' not allowed"),
        ("server.url=dify-api:5001", "/server/url"),
        ("service.port=0", "/service/port"),
        ("webConfig.secret=x", "additional properties 'secret' not allowed"),
        ("serviceMonitor.scheme=HTTPS", "/serviceMonitor/scheme"),
        ("replicas=2", "additional properties 'replicas' not allowed"),
    ],
)
def test_wrong_values_are_refused(assignment: str, message: str) -> None:
    """The schema rejects values that the chart would not use, and values that cannot work."""
    done = helm("template", *setting(assignment))

    assert 0 != done.code
    assert message in done.err


def notes(folder: Path, *arguments: str) -> str:
    """The notes that Helm prints after an installation to a cluster; here, a copy of the chart renders them."""
    chart = folder / "chart"
    shutil.copytree(CHART, chart)
    text = (chart / "templates" / "NOTES.txt").read_text(encoding="utf-8")
    (chart / "templates" / "_notes.tpl").write_text(f'{{{{ define "notes" }}}}{text}{{{{ end }}}}')
    (chart / "templates" / "notes.yaml").write_text('notes: {{ include "notes" . | toJson }}')
    show = ("--show-only", "templates/notes.yaml")
    done = call(tool("helm"), "template", "x", str(chart), "--kube-version", "1.31", *show, *arguments)
    assert 0 == done.code, done.err
    told: str = yaml.safe_load(done.out)["notes"]
    return told


def test_notes_tell_what_is_missing(tmp_path: Path) -> None:
    """By default the notes say that nothing scrapes the exporter or alerts yet; they never show the key."""
    told = notes(tmp_path, *setting("persistence.enabled=false"))

    assert "monitors http://dify-api:5001/v1" in told
    assert "curl http://127.0.0.1:9439/metrics" in told
    for hint in ("serviceMonitor.enabled=true", "prometheusRule.enabled=true", "persistence.enabled is false"):
        assert hint in told
    assert "dataset-of-a-test" not in told
    assert "Access is controlled" not in told


def test_notes_of_the_full_values(tmp_path: Path) -> None:
    """With all values set, the notes say only where to look."""
    told = notes(tmp_path, "--values", str(FULL))

    assert "port-forward service/dify-indexing 9439:9440" in told
    assert "curl http://127.0.0.1:9439/dify/metrics" in told
    assert "Access is controlled by the Secret dify-exporter-web" in told
    assert "enabled" not in told


def test_copies_are_those_of_the_sources() -> None:
    """The chart's rules and dashboards equal their sources, and each kind has at least one file."""
    wanted = {copy: source.read_text(encoding="utf-8") for copy, source in copies().items()}
    there = {file: file.read_text(encoding="utf-8") for _, _, folder in COPIES for file in folder.iterdir()}

    assert not [str(sources) for sources, names, _ in COPIES if not list(sources.glob(names))]
    assert wanted == there, "make chart"


def test_readme_has_all_values() -> None:
    """The table of values matches values.yaml, and each value is explained."""
    text = (CHART / "README.md").read_text(encoding="utf-8")

    assert readme(text) == text, "make chart"
    assert [] == [value.path for value in values((CHART / "values.yaml").read_text()) if not value.meaning]


def test_versions() -> None:
    """The version of the chart is the version of the exporter that it installs."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))

    assert (exporter.__version__, exporter.__version__) == (chart["version"], chart["appVersion"])
