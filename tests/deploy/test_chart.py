"""The Helm chart, rendered by Helm itself."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import certifi
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from cloudcoil.models.prometheus_operator.v1 import PrometheusRule, ServiceMonitor

import exporter
from deploy.kubernetes.chart import CHART, COPIES, copies, readme, values
from exporter import healthcheck
from exporter.cli import main
from exporter.config import Config, load
from exporter.healthcheck import TIMEOUT
from tests.deploy.tools import call, own_tool
from tests.integration.harness import ROOT, Done, tool

FULL = Path(__file__).parent / "chart-full.yaml"
LEAST = "apiKey=dataset-of-a-test"
"""The one value that has no default."""

KUBERNETES = ("1.25", "1.31", kubernetes_validate.latest_version())
OPERATOR: dict[str, Any] = {"ServiceMonitor": ServiceMonitor, "PrometheusRule": PrometheusRule}

Manifest = dict[str, Any]


def helm(command: str, *arguments: str) -> Done:
    """Run a command of Helm on the chart. Built with `go install`, it would take the cluster for an ancient one."""
    return call(
        own_tool("helm"),
        *(command, *(["dify-exporter"] if command == "template" else []), str(CHART)),
        *("--namespace", "dify", "--kube-version", "1.31", *arguments),
    )


def render(*arguments: str) -> list[Manifest]:
    """The objects that the chart makes of the values in the arguments."""
    done = helm("template", *arguments)
    assert 0 == done.code, done.err
    return [manifest for manifest in yaml.safe_load_all(done.out) if manifest]


def setting(*assignments: str) -> list[str]:
    """Arguments that give the least value and others."""
    return ["--set", ",".join([LEAST, *assignments])]


@pytest.fixture(scope="module")
def default() -> list[Manifest]:
    """The objects of the default values."""
    return render(*setting())


@pytest.fixture(scope="module")
def full() -> list[Manifest]:
    """The objects when every value is used."""
    return render("--values", str(FULL))


@pytest.fixture(params=["default", "full"])
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    """The objects of either."""
    found: list[Manifest] = request.getfixturevalue(request.param)
    return found


def only(manifests: list[Manifest], kind: str) -> Any:
    """The one object of a kind."""
    (found,) = (manifest for manifest in manifests if manifest["kind"] == kind)
    return found


def container(manifests: list[Manifest]) -> Any:
    """The exporter's container."""
    return only(manifests, "Deployment")["spec"]["template"]["spec"]["containers"][0]


def configuration(manifests: list[Manifest], folder: Path, **variables: str) -> Config:
    """The configuration in the ConfigMap as the exporter reads it, with its files below ``folder``."""
    config_maps = [each for each in manifests if each["kind"] == "ConfigMap" and "config.yaml" in each["data"]]
    text = only(config_maps, "ConfigMap")["data"]["config.yaml"]
    for name in re.findall(r"/run/secrets/\S+", text):
        file = folder / name.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("dataset-of-a-test")
    path = folder / "config.yaml"
    path.write_text(text.replace("/run/secrets", f"{folder}/run/secrets").replace("/etc/ca/ca.pem", certifi.where()))
    return load(path, variables)


def parts(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Every leaf of nested mappings and lists by its path."""
    if isinstance(tree, dict | list) and tree:
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {path: leaf for key, each in items for path, leaf in parts(each, f"{prefix}/{key}").items()}
    return {prefix: tree}


@pytest.mark.parametrize("arguments", [setting(), ["--values", str(FULL)]], ids=["default", "full"])
def test_lint(arguments: list[str]) -> None:
    """Helm has nothing to complain about."""
    done = helm("lint", "--strict", *arguments)

    assert 0 == done.code, done.out + done.err
    assert "1 chart(s) linted, 0 chart(s) failed" in done.out
    assert "[WARNING]" not in done.out


@pytest.mark.parametrize("version", KUBERNETES)
def test_manifests_are_valid(manifests: list[Manifest], version: str) -> None:
    """Every object of Kubernetes fits its schemas, which here allow no unknown field."""
    checked = [each for each in manifests if each["kind"] not in OPERATOR]

    for manifest in checked:
        kubernetes_validate.validate(manifest, version, strict=True)

    assert {"ConfigMap", "Deployment", "PersistentVolumeClaim", "Service"} <= {each["kind"] for each in checked}


@pytest.mark.parametrize("kind", OPERATOR)
def test_operator_manifests_are_valid(full: list[Manifest], kind: str) -> None:
    """What is for the Prometheus operator fits the schemas of its definitions and has no field unknown to them."""
    manifest = only(full, kind)
    known = OPERATOR[kind].model_validate(manifest).model_dump(mode="json", by_alias=True)

    unknown = parts(manifest).keys() - parts(known).keys()
    assert set() == {path for path in unknown if not path.startswith("/metadata")}


def test_full_values_are_all_of_them() -> None:
    """The full values of these tests set every value to another than its default, or say here which they do not."""
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
    """By default there is nothing that needs more than Kubernetes itself."""
    kinds = sorted(each["kind"] for each in default)

    assert ["ConfigMap", "Deployment", "PersistentVolumeClaim", "Secret", "Service", "ServiceAccount"] == kinds


def test_needs_a_key() -> None:
    """Without a key there is no release, and the message says which values to set."""
    done = helm("template")

    assert 0 != done.code
    assert "Set apiKey, or existingSecret.name to a Secret" in done.err


def test_default_configuration(default: list[Manifest], tmp_path: Path) -> None:
    """By default the exporter discovers all of the Dify in its namespace; the key is in a file of the Secret."""
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
    """The key of `apiKey` is in no object but the Secret."""
    text = [yaml.safe_dump(each) for each in render(*setting()) if each["kind"] != "Secret"]

    assert [] == [each for each in text if "dataset-of-a-test" in each]


def test_full_configuration(full: list[Manifest], tmp_path: Path) -> None:
    """Every section of `config`, `server` and `moreServers` arrives in the exporter's configuration as it was meant."""
    config = configuration(full, tmp_path, THIRD_KEY="dataset-third")

    assert ["production", "cloud", "third"] == [server.name for server in config.servers]
    assert [2.0, 5.0, 5.0] == [server.requests_per_second for server in config.servers]
    keys = [server.api_key_file and server.api_key_file.name for server in config.servers]
    assert ["main", "cloud", None] == keys
    assert (30.0, 1_200.0, 172_800.0) == (config.polling.interval, config.stall.after, config.retention.finished)
    assert (500, False) == (config.limits.documents, config.labels.document_name)
    assert (":9440", "/dify/metrics") == (config.web.listen_address, config.web.telemetry_path)
    assert "json" == config.log.format
    assert () == config.warnings


def test_state_is_on_the_volume(default: list[Manifest], tmp_path: Path) -> None:
    """The state file is on the claim; without one there is no state, as nothing else can be written."""
    folders = [each["mountPath"] for each in container(default)["volumeMounts"] if not each.get("readOnly")]
    without = render(*setting("persistence.enabled=false"))

    state = configuration(default, tmp_path).state.path
    assert state is not None
    assert [str(state.parent)] == folders
    assert configuration(without, tmp_path).state.path is None
    assert "PersistentVolumeClaim" not in {each["kind"] for each in without}
    assert not [each for each in container(without)["volumeMounts"] if not each.get("readOnly")]


def test_existing_claim() -> None:
    """A claim of the user's is mounted in place of the chart's."""
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
    """The pod fits the restricted standard of Kubernetes, writes nowhere but to its volume and has no token."""
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
    """The arguments are ones that `run` has; probes and Service ask the port that is listened on."""
    command, *options = container(manifests)["args"]
    config = configuration(manifests, tmp_path, THIRD_KEY="dataset-third")
    (port,) = container(manifests)["ports"]
    (service_port,) = only(manifests, "Service")["spec"]["ports"]

    assert {option.partition("=")[0] for option in options} <= {
        each for parameter in main.commands[command].params for each in parameter.opts
    }
    assert config.web.listen_address == f":{port['containerPort']}"
    assert port["name"] == service_port["targetPort"]
    assert {config.web.listen_address.removeprefix(":")} == {asked[0] for asked in probes(manifests)}
    assert ["/-/healthy", "/-/healthy", "/-/ready"] == [asked[1] for asked in probes(manifests)]


def probes(manifests: list[Manifest]) -> list[tuple[str, str]]:
    """Port and path that each probe asks, be it over the network or with the command in the container."""
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


def test_web_config(default: list[Manifest], full: list[Manifest]) -> None:
    """The web config file is one of the mounted Secret, and nobody asks over the network then: there may be TLS."""
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


def test_selectors_find_the_pod(full: list[Manifest]) -> None:
    """Service, Deployment, NetworkPolicy and ServiceMonitor select the labels that the exporter's objects have."""
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
    assert monitor["jobLabel"] in service["metadata"]["labels"]


def test_scrape_path(full: list[Manifest]) -> None:
    """Prometheus scrapes the path that the configuration says, in the way that the web config file asks for."""
    (endpoint,) = only(full, "ServiceMonitor")["spec"]["endpoints"]

    assert ("/dify/metrics", "https") == (endpoint["path"], endpoint["scheme"])
    assert {"ca": {"secret": {"name": "dify-exporter-web", "key": "ca.crt"}}, "serverName": "dify-exporter"} == (
        endpoint["tlsConfig"]
    )
    assert ["dify-scrape"] * 2 == [endpoint["basicAuth"][key]["name"] for key in ("username", "password")]


@pytest.mark.parametrize(
    ("assignment", "same"),
    [("config.polling.interval=1m", False), ("server.discover=false", False), ("podLabels.tier=x", True)],
)
def test_changed_configuration_makes_a_new_pod(default: list[Manifest], assignment: str, *, same: bool) -> None:
    """The pod has a checksum of its configuration, and of that alone."""

    def checksum(manifests: list[Manifest]) -> object:
        annotations = only(manifests, "Deployment")["spec"]["template"]["metadata"]["annotations"]
        return annotations["checksum/config"]

    assert same is (checksum(default) == checksum(render(*setting(assignment))))


def test_image_by_digest() -> None:
    """A digest stands in place of the tag; without either it is the chart's version."""
    digest = f"sha256:{'0' * 64}"

    assert f"dify-exporter@{digest}" == container(render(*setting(f"image.digest={digest}")))["image"]
    assert f"dify-exporter:{exporter.__version__}" == container(render(*setting()))["image"]


def rule_groups() -> list[Any]:
    """The groups of rules that the chart has copies of."""
    files = sorted((CHART / "files" / "rules").glob("*.yml"))
    return [group for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]


def test_rules_are_those_of_the_files() -> None:
    """The PrometheusRule has exactly the rules in `files/`, templates included."""
    rendered = only(render(*setting("prometheusRule.enabled=true")), "PrometheusRule")

    assert rule_groups() == rendered["spec"]["groups"]


def test_rules_are_changed_as_told(tmp_path: Path) -> None:
    """Alerts get the labels of `alertLabels`, those of `disabledAlerts` are left out, and Prometheus takes the rest."""
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
    """Each dashboard is in a ConfigMap of its own, byte for byte, with the label that the sidecar looks for."""
    files = sorted((CHART / "files" / "dashboards").glob("*.json"))
    found = [each for each in full if "grafana_dashboard" in each["metadata"]["labels"]]
    names = [each["metadata"]["name"] for each in found]

    assert {file.name: file.read_text(encoding="utf-8") for file in files} == {
        name: text for each in found for name, text in each["data"].items()
    }
    assert len(files) == len(set(names))
    assert {"yes"} == {each["metadata"]["labels"]["grafana_dashboard"] for each in found}


def test_network_policy_covers_the_servers() -> None:
    """By default the policy lets the exporter reach the usual ports of Dify and the DNS, and lets anyone scrape."""
    policy = only(render(*setting("networkPolicy.enabled=true")), "NetworkPolicy")["spec"]
    ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}

    assert {53, 80, 443, 5001} == ports
    assert [{"ports": [{"port": "metrics", "protocol": "TCP"}]}] == policy["ingress"]


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
    """The schema refuses what the chart would not use, and what cannot work."""
    done = helm("template", *setting(assignment))

    assert 0 != done.code
    assert message in done.err


def notes(folder: Path, *arguments: str) -> str:
    """What Helm tells after an installation. Only a cluster shows it, so a copy of the chart has it as an object."""
    chart = folder / "chart"
    shutil.copytree(CHART, chart)
    text = (chart / "templates" / "NOTES.txt").read_text(encoding="utf-8")
    (chart / "templates" / "_notes.tpl").write_text(f'{{{{ define "notes" }}}}{text}{{{{ end }}}}')
    (chart / "templates" / "notes.yaml").write_text('notes: {{ include "notes" . | toJson }}')
    show = ("--show-only", "templates/notes.yaml")
    done = call(own_tool("helm"), "template", "x", str(chart), "--kube-version", "1.31", *show, *arguments)
    assert 0 == done.code, done.err
    told: str = yaml.safe_load(done.out)["notes"]
    return told


def test_notes_tell_what_is_missing(tmp_path: Path) -> None:
    """By default the notes say that nothing scrapes and alerts yet; they never show the key."""
    told = notes(tmp_path, *setting("persistence.enabled=false"))

    assert "watches http://dify-api:5001/v1" in told
    assert "curl http://127.0.0.1:9439/metrics" in told
    for hint in ("serviceMonitor.enabled=true", "prometheusRule.enabled=true", "persistence.enabled is false"):
        assert hint in told
    assert "dataset-of-a-test" not in told
    assert "may see it" not in told


def test_notes_of_the_full_values(tmp_path: Path) -> None:
    """Where nothing is missing the notes say where to look, and that alone."""
    told = notes(tmp_path, "--values", str(FULL))

    assert "port-forward service/dify-indexing 9439:9440" in told
    assert "curl http://127.0.0.1:9439/dify/metrics" in told
    assert "The Secret dify-exporter-web says who may see it" in told
    assert "enabled" not in told


def test_copies_are_those_of_the_sources() -> None:
    """The chart's rules and dashboards are the same as those they are copied from, and there are some of each kind."""
    wanted = {copy: source.read_text(encoding="utf-8") for copy, source in copies().items()}
    there = {file: file.read_text(encoding="utf-8") for _, _, folder in COPIES for file in folder.iterdir()}

    assert not [str(sources) for sources, names, _ in COPIES if not list(sources.glob(names))]
    assert wanted == there, "make chart"


def test_readme_has_all_values() -> None:
    """The table of values is that of values.yaml, and each value is explained."""
    text = (CHART / "README.md").read_text(encoding="utf-8")

    assert readme(text) == text, "make chart"
    assert [] == [value.path for value in values((CHART / "values.yaml").read_text()) if not value.meaning]


def test_versions() -> None:
    """The chart is the version of the exporter that it installs."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))

    assert (exporter.__version__, exporter.__version__) == (chart["version"], chart["appVersion"])
