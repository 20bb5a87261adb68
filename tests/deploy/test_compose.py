"""The compose files, read by Docker Compose's loader, and their services, started as local processes."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import exporter
from exporter.cli import main
from exporter.config import load
from tests.deploy.tools import DEPLOY, call, image_environment
from tests.integration.harness import EXPORTER, ROOT, Database, Program, answers, free_port, get, tool, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DIFY, QUICKSTART = FOLDERS = (DEPLOY / "compose" / "dify", DEPLOY / "compose" / "quickstart")
IMAGE = f"dify-exporter:{exporter.__version__}"

Service = dict[str, Any]


def compose(folder: Path, file: str = "compose.yaml") -> Any:
    """A compose file as Docker Compose loads it: variables substituted, paths absolute, all checked."""
    done = call(tool("compose"), "-format", "json", file, cwd=folder)
    assert (0, "") == (done.code, done.err)
    return json.loads(done.out)


def services(folder: Path) -> dict[str, Service]:
    """The services of a directory's compose file by name."""
    found: dict[str, Service] = compose(folder)["services"]
    return found


each_folder = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


@each_folder
def test_compose_file_is_valid(folder: Path) -> None:
    """Docker Compose's loader accepts the file."""
    assert services(folder)


def test_loader_is_strict(tmp_path: Path) -> None:
    """The loader rejects unknown keys, so its acceptance is meaningful."""
    (tmp_path / "compose.yaml").write_text("services: {a: {image: a, readonly: true}}")

    assert 0 != call(tool("compose"), "compose.yaml", cwd=tmp_path).code


@each_folder
def test_references_are_to_something(folder: Path) -> None:
    """Every network, volume, secret and service that a service refers to is defined in the file."""
    model = compose(folder)
    for service in model["services"].values():
        volumes = {each["source"] for each in service.get("volumes", []) if "volume" == each["type"]}
        secrets = {each["source"] for each in service.get("secrets", [])}

        assert service["networks"].keys() <= model["networks"].keys()
        assert volumes <= model.get("volumes", {}).keys()
        assert secrets <= model.get("secrets", {}).keys()
        assert service.get("depends_on", {}).keys() <= model["services"].keys()


@each_folder
def test_what_is_mounted_exists(folder: Path) -> None:
    """Every mounted file and directory is in the repository, and containers cannot write to it."""
    binds = [
        each for service in services(folder).values() for each in service.get("volumes", []) if "bind" == each["type"]
    ]

    assert binds
    assert [] == [each["source"] for each in binds if not Path(each["source"]).exists()]
    assert [] == [each["source"] for each in binds if not each["read_only"] or each["bind"]["create_host_path"]]


@each_folder
def test_image_is_that_of_the_repository(folder: Path) -> None:
    """The exporter's image has its version and is built from the Dockerfile; other images have fixed versions."""
    found = services(folder).values()
    built = [each for each in found if "build" in each]

    assert built
    assert {str(ROOT)} == {each["build"]["context"] for each in built}
    assert {IMAGE} == {each["image"] for each in built}
    assert [] == [each["image"] for each in found if not re.search(r":v?\d+(\.\d+)+$", each["image"])]


@each_folder
def test_containers_are_harmless(folder: Path) -> None:
    """No container has capabilities, can gain privileges or is reachable from other machines."""
    for service in services(folder).values():
        assert ["ALL"] == service["cap_drop"]
        assert ["no-new-privileges:true"] == service["security_opt"]
        assert {"127.0.0.1"} >= {each["host_ip"] for each in service.get("ports", [])}
        assert True is service.get("read_only", "build" not in service)


@each_folder
def test_commands_exist(folder: Path) -> None:
    """The exporter's commands and options exist."""
    commands = [each["command"] for each in services(folder).values() if "build" in each and each.get("command")]

    for command, *options in commands:
        known = {name for parameter in main.commands[command].params for name in parameter.opts}
        assert {option.partition("=")[0] for option in options} <= known
    assert [["simulate"]] * (folder == QUICKSTART) == [command[:1] for command in commands]


def test_dify_joins_its_network() -> None:
    """The exporter is in the network of Dify's compose file, where its configuration finds the API."""
    model = compose(DIFY)
    (network,) = model["networks"].values()

    assert ("docker_default", True) == (network["name"], network["external"])


def test_dify_configuration(tmp_path: Path) -> None:
    """The configuration finds the key where compose mounts the secret, and keeps the state on the volume."""
    (service,) = services(DIFY).values()
    (secret,) = service["secrets"]
    (volume,) = (each for each in service["volumes"] if "volume" == each["type"])
    text = (DIFY / "config" / "config.yaml").read_text(encoding="utf-8")
    (tmp_path / "key").write_text("dataset-of-a-test")
    (tmp_path / "config.yaml").write_text(text.replace(secret["target"], "key"))

    config = load(tmp_path / "config.yaml", {})

    assert ["http://api:5001/v1"] == [server.url for server in config.servers]
    assert [tmp_path / "key"] == [server.api_key_file for server in config.servers]
    assert config.state.path is not None
    assert volume["target"] == str(config.state.path.parent)


def test_user_of_the_image_owns_the_volume() -> None:
    """The image contains the volume's directory, owned by its user; otherwise a new volume would belong to root."""
    (service,) = services(DIFY).values()
    (volume,) = (each for each in service["volumes"] if "volume" == each["type"])
    user, group = service["user"].split(":")
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")

    assert f"\nUSER {user}:{group}\n" in dockerfile
    owned = rf"^RUN install .*--owner={user} --group={group} .*{volume['target']}( \\)?$"
    assert re.search(owned, dockerfile, re.MULTILINE)


def test_key_is_not_committed() -> None:
    """The key file is ignored by git."""
    (secret,) = compose(DIFY)["secrets"].values()

    assert Path(secret["file"]).name in (DIFY / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_quickstart_asks_services_that_are_there() -> None:
    """Every address in the quick start's configurations belongs to one of its services."""
    files = [*QUICKSTART.glob("*.yml"), *QUICKSTART.glob("*/*.yaml")]
    text = "\n".join(
        [*(file.read_text(encoding="utf-8") for file in files), json.dumps(services(QUICKSTART)["grafana"])]
    )
    asked = set(re.findall(r"\b([a-z-]+):\d{4}\b", text))

    assert {"simulator", "dify-exporter", "prometheus", "alertmanager"} == asked
    assert asked <= services(QUICKSTART).keys()


def test_quickstart_keeps_no_state() -> None:
    """The quick start keeps no state: it has no volume for it, and the image stores none either."""
    assert load(QUICKSTART / "dify-exporter" / "config.yaml", image_environment()).state.path is None


def test_grafana_is_provisioned() -> None:
    """Grafana's provisioning sets every variable that it uses, and finds all dashboards and the home dashboard."""
    grafana = services(QUICKSTART)["grafana"]
    mounts = {each["target"]: Path(each["source"]) for each in grafana["volumes"]}
    provisioning = mounts["/etc/grafana/provisioning"]
    texts = [file.read_text(encoding="utf-8") for file in provisioning.glob("*/*.yaml")]
    variables = {name for text in texts for name in re.findall(r"\$\{(\w+)\}", text)}
    (dashboards,) = [provider for text in texts for provider in yaml.safe_load(text).get("providers", [])]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])

    assert "http://prometheus:9090" == grafana["environment"]["PROMETHEUS_URL"]
    assert variables <= grafana["environment"].keys()
    assert dashboards["options"]["path"] in mounts
    assert (mounts[str(home.parent)] / home.name).exists()


class Site:
    """The services of the quick start as local processes, with the commands and files from compose."""

    def __init__(self, folder: Path) -> None:
        """No process is started yet. ``folder`` replaces the containers' file systems."""
        self.folder = folder
        self._services = services(QUICKSTART)
        self._addresses = {
            f"{name}:{port}": f"127.0.0.1:{free_port()}"
            for name, port in (
                ("simulator", 5001),
                ("dify-exporter", 9439),
                ("prometheus", 9090),
                ("alertmanager", 9093),
            )
        }
        self.programs: list[Program] = []
        self.running = ExitStack()

    def port(self, service: str) -> int:
        """The address that a service listens on."""
        (found,) = (each for name, each in self._addresses.items() if name.startswith(f"{service}:"))
        return int(found.rpartition(":")[2])

    def start(self, service: str, *program: str, listen: str, default: tuple[str, ...] = ()) -> Program:
        """Start a service. ``listen``: its option for the address; ``default``: the image's own command."""
        paths = self._files(service)
        command = [_replace(each, paths) for each in self._services[service].get("command") or default]
        command = [each for each in command if not each.startswith(f"{listen}=")]
        address = f"{listen}=127.0.0.1:{self.port(service)}"
        started = Program(self.folder / f"{service}-process", *program, *command, address)
        self.programs.append(self.running.enter_context(closing(started)))
        return started

    def _files(self, service: str) -> dict[str, str]:
        """Copy the mounted files with the addresses replaced; return the path of each copy."""
        mounts = self._services[service].get("volumes", [])
        paths = {each["target"]: str(self.folder / service / each["target"].lstrip("/")) for each in mounts}
        for each in mounts:
            source, target = Path(each["source"]), Path(paths[each["target"]])
            if "volume" == each["type"]:
                target.mkdir(parents=True)
            for file in [source] if source.is_file() else source.glob("*.y*ml"):
                copy = target if source.is_file() else target / file.name
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_text(_replace(file.read_text(encoding="utf-8"), {**paths, **self._addresses}))
        return paths


def _replace(text: str, words: Mapping[str, str]) -> str:
    """``text`` with each word replaced, longest first."""
    pattern = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.sub(rf"(?<![\w.-])(?:{pattern})", lambda match: words[match[0]], text) if words else text


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The whole quick start without Grafana."""
    prometheus, alertmanager = tool("prometheus"), tool("prometheus-alertmanager")
    image = json.loads(re.findall(r"^CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[-1])
    site = Site(tmp_path_factory.mktemp("quickstart"))
    config = f"--config.file={site.folder}/dify-exporter/etc/dify-exporter/config.yaml"
    with site.running:
        site.start("simulator", *EXPORTER, listen="--listen")
        until(lambda: answers(site.port("simulator"), "/health"))
        site.start("dify-exporter", *EXPORTER, listen="--web.listen-address", default=(image[0], config))
        site.start("alertmanager", alertmanager, listen="--web.listen-address")
        site.start("prometheus", prometheus, listen="--web.listen-address")
        yield site


def _asked(site: Site, service: str, path: str) -> Any:
    """The answer of a service's API."""
    until(lambda: answers(site.port(service), path), why=lambda: "\n".join(each.log for each in site.programs))
    return json.loads(get(site.port(service), path).body)


@pytest.mark.integration
def test_quickstart_scrapes_the_exporter(site: Site) -> None:
    """Prometheus scrapes the exporter, which reads documents of the embedded Dify."""
    prometheus = Database("prometheus", site.port("prometheus"), site.programs[-1])

    assert [1.0] == list(prometheus.await_query('up{job="dify-exporter"} == 1').values())
    assert [1.0] == list(prometheus.await_query("dify_up == 1").values())
    assert prometheus.await_query('dify_document_indexing_status{status="completed"} == 1')


@pytest.mark.integration
def test_quickstart_evaluates_the_rules(site: Site) -> None:
    """Prometheus has loaded every rule file of the repository, and no rule fails."""

    def groups() -> Any:
        return _asked(site, "prometheus", "/api/v1/rules")["data"]["groups"]

    until(lambda: all(rule["health"] != "unknown" for group in groups() for rule in group["rules"]))
    files = (DEPLOY / "prometheus").glob("*.rules.yml")
    wanted = [group["name"] for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]

    assert wanted
    assert sorted(wanted) == sorted(group["name"] for group in groups())
    assert [] == [rule.get("lastError") for group in groups() for rule in group["rules"] if rule["health"] != "ok"]


@pytest.mark.integration
def test_quickstart_sends_alerts(site: Site) -> None:
    """Prometheus sends its alerts to the Alertmanager, which has loaded its configuration."""
    # Prometheus is ready some seconds before it has looked for Alertmanagers.
    found = until(lambda: _asked(site, "prometheus", "/api/v1/alertmanagers")["data"]["activeAlertmanagers"])

    assert [f"http://127.0.0.1:{site.port('alertmanager')}/api/v2/alerts"] == [each["url"] for each in found]
    assert _asked(site, "alertmanager", "/api/v2/status")["config"]["original"]


@pytest.mark.needs("promtool", "amtool")
@pytest.mark.integration
def test_quickstart_configurations_are_valid(site: Site) -> None:
    """The tools of Prometheus and Alertmanager report no problems in the files that compose mounts."""
    folder = site.folder

    prometheus = call(tool("promtool"), "check", "config", f"{folder}/prometheus/etc/prometheus/prometheus.yml")
    alertmanager = call(tool("amtool"), "check-config", f"{folder}/alertmanager/etc/alertmanager/alertmanager.yml")

    assert 0 == prometheus.code, prometheus.out + prometheus.err
    assert 0 == alertmanager.code, alertmanager.out + alertmanager.err
