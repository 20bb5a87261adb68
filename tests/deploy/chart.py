"""The Helm chart, rendered with Helm."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import certifi
import yaml

from deploy.kubernetes.chart import CHART
from exporter.config import Config, load
from tests.deploy.tools import call
from tests.integration.harness import tool

if TYPE_CHECKING:
    from tests.integration.harness import Done

FULL = Path(__file__).parent / "chart-full.yaml"
LEAST = "apiKey=dataset-of-a-test"
"""The only value without a default."""

Manifest = dict[str, Any]


def helm(command: str, *arguments: str) -> Done:
    """Run a Helm command on the chart. A Helm built with `go install` would assume a very old cluster version."""
    return call(
        tool("helm"),
        *(command, *(["dify-exporter"] if command == "template" else []), str(CHART)),
        *("--namespace", "dify", "--kube-version", "1.31", *arguments),
    )


def render(*arguments: str) -> list[Manifest]:
    """The objects that the chart renders from the values in the arguments."""
    done = helm("template", *arguments)
    assert 0 == done.code, done.err
    return [manifest for manifest in yaml.safe_load_all(done.out) if manifest]


def setting(*assignments: str) -> list[str]:
    """Arguments that set the required value and ``assignments``."""
    return ["--set", ",".join([LEAST, *assignments])]


def only(manifests: list[Manifest], kind: str) -> Any:
    """The only object of a kind."""
    (found,) = (manifest for manifest in manifests if manifest["kind"] == kind)
    return found


def container(manifests: list[Manifest]) -> Any:
    """The exporter's container."""
    return only(manifests, "Deployment")["spec"]["template"]["spec"]["containers"][0]


def configuration(manifests: list[Manifest], folder: Path, **variables: str) -> Config:
    """The configuration in the ConfigMap as the exporter loads it, with its files below ``folder``."""
    config_maps = [each for each in manifests if each["kind"] == "ConfigMap" and "config.yaml" in each["data"]]
    text = only(config_maps, "ConfigMap")["data"]["config.yaml"]
    for name in re.findall(r"/run/secrets/\S+", text):
        file = folder / name.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("dataset-of-a-test")
    path = folder / "config.yaml"
    path.write_text(text.replace("/run/secrets", f"{folder}/run/secrets").replace("/etc/ca/ca.pem", certifi.where()))
    return load(path, variables)
