"""The exporter's pod: configuration, key, volume, probes and permissions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import exporter
from exporter import healthcheck
from exporter.cli import main
from exporter.healthcheck import TIMEOUT
from tests.deploy.chart import Manifest, configuration, container, only, render, setting
from tests.deploy.tools import image_environment
from tests.integration.harness import ROOT


def test_default_configuration(default: list[Manifest], tmp_path: Path) -> None:
    """By default the exporter watches all of the Dify in its namespace; the key is in a file from the Secret."""
    config = configuration(default, tmp_path)
    (server,) = config.servers
    secret = only(default, "Secret")
    pod = only(default, "Deployment")["spec"]["template"]["spec"]
    (mounted,) = (each for each in pod["volumes"] if "secret" in each)
    (mount,) = (each for each in container(default)["volumeMounts"] if each["name"] == mounted["name"])

    assert ("main", "http://dify-api:5001/v1", True) == (server.name, server.url, server.discover)
    assert tmp_path / mount["mountPath"].lstrip("/") / "api-key" == server.api_key_file
    assert {"api-key"} == secret["data"].keys()
    assert secret["metadata"]["name"] == mounted["secret"]["secretName"]
    assert () == config.warnings


def test_key_is_in_the_secret_alone() -> None:
    """The key in `apiKey` appears only in the Secret."""
    text = [yaml.safe_dump(each) for each in render(*setting()) if each["kind"] != "Secret"]

    assert [] == [each for each in text if "dataset-of-a-test" in each]


def test_full_configuration(full: list[Manifest], tmp_path: Path) -> None:
    """Every section of `config`, `server` and `moreServers` ends up unchanged in the exporter's configuration."""
    config = configuration(full, tmp_path, THIRD_KEY="dataset-third")

    assert ["production", "cloud", "third"] == [server.name for server in config.servers]
    assert [2.0, 5.0, 5.0] == [server.requests_per_second for server in config.servers]
    keys = [server.api_key_file and server.api_key_file.name for server in config.servers]
    assert ["main", "cloud", None] == keys
    assert (30.0, 1_200.0, 172_800.0) == (config.polling.interval, config.stall.after, config.retention.finished)
    assert (500, False) == (config.limits.documents, config.labels.document_name)
    assert ((":9440",), "/dify/metrics") == (config.web.listen_address, config.web.telemetry_path)
    assert "json" == config.log.format
    assert () == config.warnings


def test_state_is_on_the_volume(default: list[Manifest], tmp_path: Path) -> None:
    """The state file is on the claim; without a claim there is no state, because nothing else is writable."""
    folders = [each["mountPath"] for each in container(default)["volumeMounts"] if not each.get("readOnly")]
    without = render(*setting("persistence.enabled=false"))

    state = configuration(default, tmp_path).state.path
    assert state is not None
    assert [str(state.parent)] == folders
    assert configuration(without, tmp_path, **image_environment()).state.path is None
    assert "PersistentVolumeClaim" not in {each["kind"] for each in without}
    assert not [each for each in container(without)["volumeMounts"] if not each.get("readOnly")]


def test_existing_claim() -> None:
    """An existing claim is mounted instead of the chart's."""
    manifests = render(*setting("persistence.existingClaim=mine"))
    volumes = only(manifests, "Deployment")["spec"]["template"]["spec"]["volumes"]

    assert ["mine"] == [
        each["persistentVolumeClaim"]["claimName"] for each in volumes if "persistentVolumeClaim" in each
    ]
    assert "PersistentVolumeClaim" not in {each["kind"] for each in manifests}


def test_one_replica(manifests: list[Manifest]) -> None:
    """There is never more than one exporter."""
    spec = only(manifests, "Deployment")["spec"]

    assert (1, {"type": "Recreate"}) == (spec["replicas"], spec["strategy"])


def test_pod_is_hardened(default: list[Manifest]) -> None:
    """The pod meets the restricted Pod Security Standard, writes only to its volume and has no token."""
    pod = only(default, "Deployment")["spec"]["template"]["spec"]
    (image_user,) = re.findall(r"^USER (\d+):\1$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)

    assert True is pod["securityContext"]["runAsNonRoot"]
    assert int(image_user) == pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"]
    assert {"type": "RuntimeDefault"} == pod["securityContext"]["seccompProfile"]
    assert {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    } == container(default)["securityContext"]
    assert False is pod["automountServiceAccountToken"]
    assert False is only(default, "ServiceAccount")["automountServiceAccountToken"]


def test_container_runs_the_program(manifests: list[Manifest], tmp_path: Path) -> None:
    """The arguments are valid for `run`; probes and Service use the port that the exporter listens on."""
    command, *options = container(manifests)["args"]
    config = configuration(manifests, tmp_path, THIRD_KEY="dataset-third")
    (port,) = container(manifests)["ports"]
    (service_port,) = only(manifests, "Service")["spec"]["ports"]

    assert {option.partition("=")[0] for option in options} <= {
        each for parameter in main.commands[command].params for each in parameter.opts
    }
    assert config.web.listen_address == (f":{port['containerPort']}",)
    assert port["name"] == service_port["targetPort"]
    assert {config.web.listen_address[0].removeprefix(":")} == {asked[0] for asked in probes(manifests)}
    assert ["/-/healthy", "/-/healthy", "/-/ready"] == [asked[1] for asked in probes(manifests)]


def probes(manifests: list[Manifest]) -> list[tuple[str, str]]:
    """Port and path of each probe, over the network or with the command in the container."""
    (port,) = container(manifests)["ports"]
    found = []
    for kind in ("startup", "liveness", "readiness"):
        probe = container(manifests)[f"{kind}Probe"]
        assert TIMEOUT < probe["timeoutSeconds"]
        if "httpGet" in probe:
            assert port["name"] == probe["httpGet"]["port"]
            found.append((str(port["containerPort"]), probe["httpGet"]["path"]))
        else:
            *command, asked_port, asked_path = probe["exec"]["command"]
            assert ["python", "-m", healthcheck.__name__] == command
            found.append((asked_port.removeprefix("--port="), asked_path.removeprefix("--path=")))
    return found


@pytest.mark.parametrize("probe", ["livenessProbe", "readinessProbe"])
def test_probe_can_be_left_out(default: list[Manifest], probe: str) -> None:
    """With null, Helm's way of removing a default, only that probe is missing."""
    left = container(render(*setting(f"{probe}=null")))

    assert {key: value for key, value in container(default).items() if key != probe} == left


def test_web_config(default: list[Manifest], full: list[Manifest]) -> None:
    """With a web config file from the Secret, no probe uses the network, because the file may enable TLS."""
    (option,) = (each for each in container(full)["args"] if each.startswith("--web.config.file="))
    file = Path(option.partition("=")[2])
    (mount,) = (each for each in container(full)["volumeMounts"] if each["mountPath"] == str(file.parent))
    volumes = only(full, "Deployment")["spec"]["template"]["spec"]["volumes"]
    (volume,) = (each for each in volumes if each["name"] == mount["name"])

    assert "web-config.yml" == file.name
    assert mount["readOnly"]
    assert {"secretName": "dify-exporter-web", "defaultMode": 0o440} == volume["secret"]
    for kind in ("startup", "liveness", "readiness"):
        assert "exec" in container(full)[f"{kind}Probe"]
        assert "httpGet" in container(default)[f"{kind}Probe"]
    assert [] == [each for each in container(default)["args"] if "web.config" in each]


@pytest.mark.parametrize(
    ("assignment", "same"),
    [("config.polling.interval=1m", False), ("server.discover=false", False), ("podLabels.tier=x", True)],
)
def test_changed_configuration_makes_a_new_pod(default: list[Manifest], assignment: str, *, same: bool) -> None:
    """The pod has a checksum of its configuration only."""

    def checksum(manifests: list[Manifest]) -> object:
        annotations = only(manifests, "Deployment")["spec"]["template"]["metadata"]["annotations"]
        return annotations["checksum/config"]

    assert same is (checksum(default) == checksum(render(*setting(assignment))))


def test_image_by_digest() -> None:
    """A digest replaces the tag; without either, the tag is the chart's version."""
    digest = f"sha256:{'0' * 64}"

    assert f"dify-exporter@{digest}" == container(render(*setting(f"image.digest={digest}")))["image"]
    assert f"dify-exporter:{exporter.__version__}" == container(render(*setting()))["image"]
