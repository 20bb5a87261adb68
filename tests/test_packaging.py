"""The artifacts: wheel, container image, licence and changelog."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from starlette.responses import PlainTextResponse

import exporter
from exporter.healthcheck import TIMEOUT
from exporter.web import ExporterStatus, WebServer, create_app
from tests.deploy.tools import image_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.metrics import Format, Page

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
STRANGER = 65_532
"""The user of the container image."""


def _run(*command: str | Path, user: int | None = None, **environment: str) -> str:
    """Standard output of a command that must succeed, run in "/" with only the given environment."""
    done = subprocess.run(
        command, cwd="/", env=environment, user=user, capture_output=True, text=True, timeout=120, check=False
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def public_directory() -> Iterator[Path]:
    """A temporary directory that every user can read, unlike pytest's."""
    path = Path(tempfile.mkdtemp(prefix="dify-exporter-"))
    path.chmod(0o755)
    yield path
    _set_writable(path, writable=True)
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def wheel(public_directory: Path) -> Path:
    """The wheel, built from this tree with the installed tools."""
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", public_directory, ROOT)
    (built,) = public_directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(public_directory: Path, wheel: Path) -> Path:
    """A read-only environment with the wheel and its declared dependencies, and nothing else."""
    environment = public_directory / "environment"
    _run(_public_python(), "-m", "venv", "--without-pip", environment)
    python = environment / "bin" / "python"
    _run(sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", "--quiet", wheel)
    packages = environment / "lib" / "python{}.{}".format(*sys.version_info) / "site-packages"
    for needed in _dependencies():
        _copy(needed, packages)
    _set_writable(environment, writable=False)
    return environment


def _public_python() -> str:
    """An interpreter of this version that other users can run, if there is one."""
    name = "python{}.{}".format(*sys.version_info)
    for candidate in (os.path.realpath(sys.executable), f"/usr/local/bin/{name}", f"/usr/bin/{name}"):
        path = Path(candidate)
        if path.exists() and all(parent.stat().st_mode & stat.S_IXOTH for parent in (path, *path.parents)):
            return candidate
    return sys.executable


def _dependencies() -> list[Distribution]:
    """The distributions that the project requires to run, including transitive dependencies."""
    found: dict[str, Distribution] = {}
    waiting = list(PROJECT["dependencies"])
    while waiting:
        requirement = Requirement(waiting.pop())
        if requirement.name not in found and (not requirement.marker or requirement.marker.evaluate({"extra": ""})):
            found[requirement.name] = distribution(requirement.name)
            waiting += found[requirement.name].requires or []
    return list(found.values())


def _copy(needed: Distribution, packages: Path) -> None:
    for file in needed.files or []:
        if ".." not in file.parts:
            target = packages / file
            target.parent.mkdir(parents=True, exist_ok=True)
            source = Path(str(needed.locate_file(file)))
            if source.exists():
                shutil.copyfile(source, target)


def _set_writable(tree: Path, *, writable: bool) -> None:
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod(mode | stat.S_IWUSR if writable else mode & ~0o222)


def test_wheel_holds_the_package_alone(wheel: Path) -> None:
    """The wheel contains every module of the package, py.typed and the licence, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = f"dify_exporter-{exporter.__version__}.dist-info"
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "exporter").rglob("*.py")}

    assert modules <= names
    assert {"exporter/py.typed", f"{info}/licenses/LICENSE", f"{info}/entry_points.txt"} <= names
    assert {"exporter", info} == {name.split("/")[0] for name in names}
    assert not [name for name in names if name.endswith(".pyc")]


def test_wheel_metadata(wheel: Path) -> None:
    """The wheel declares its version, its licence and the minimum version of Python."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(name).decode()

    for line in (f"Version: {exporter.__version__}", "License-Expression: Apache-2.0", "Requires-Python: >=3.11"):
        assert line in metadata.splitlines()


def test_installed_program(installed: Path) -> None:
    """With only its declared dependencies, in a read-only tree, the program runs and prints its version."""
    assert exporter.__version__ in _run(installed / "bin" / "dify-exporter", "--version")
    assert exporter.__version__ in _run(installed / "bin" / "python", "-m", "exporter", "--version")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_installed_program_as_the_user_of_the_image(installed: Path) -> None:
    """The program runs for a user without a name, a home directory or write access."""
    if _public_python() == sys.executable:
        pytest.skip("no interpreter of this version is open to other users")

    assert exporter.__version__ in _run(installed / "bin" / "dify-exporter", "--version", user=STRANGER)
    assert "Usage: dify-exporter run" in _run(installed / "bin" / "dify-exporter", "run", "--help", user=STRANGER)


def test_changelog_has_the_version() -> None:
    """The newest section of the changelog is the version of the package, and versions descend."""
    sections = re.findall(r"^## \[(\d+)\.(\d+)\.(\d+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    versions = [tuple(map(int, section)) for section in sections]

    assert exporter.__version__ == ".".join(map(str, versions[0]))
    assert sorted(set(versions), reverse=True) == versions


def test_licence() -> None:
    """LICENSE is the complete Apache License 2.0, and pyproject.toml declares it."""
    text = (ROOT / "LICENSE").read_text()

    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert "Apache-2.0" == PROJECT["license"]


def _instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, each on one line."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines()) if word]


def _only(instruction: str) -> str:
    (found,) = (rest for word, rest in _instructions() if word == instruction)
    return found


def test_hadolint() -> None:
    """Hadolint reports nothing about the Dockerfile."""
    assert "" == _run(Path(sys.executable).parent / "hadolint", ROOT / "Dockerfile")


def test_image_is_not_root() -> None:
    """The image's user is a number other than 0, so that Kubernetes can check runAsNonRoot."""
    assert f"{STRANGER}:{STRANGER}" == _only("USER")


def test_image_starts_the_program() -> None:
    """The image runs the entry point of the package with an existing command and option."""
    from exporter.cli import main

    (program,) = json.loads(_only("ENTRYPOINT"))
    command, option = json.loads(_only("CMD"))

    assert program in PROJECT["scripts"]
    assert option.partition("=")[0] in {name for each in main.commands[command].params for name in each.opts}


def test_image_overrides_no_configuration() -> None:
    """The image sets no option's variable, as that would override the file, but only the default path of the state."""
    from exporter.cli import main

    variables = image_environment()
    options = {option.envvar for command in main.commands.values() for option in command.params}
    (volume,) = json.loads(_only("VOLUME"))

    assert "PATH" in variables
    assert set() == options & variables.keys()
    assert Path(volume) == Path(variables["DIFY_EXPORTER_DEFAULT_STATE_PATH"]).parent


def test_image_stages_have_one_base() -> None:
    """Both stages use the same base image; otherwise the environment of the first might not run in the second."""
    bases = [rest.split()[0] for word, rest in _instructions() if word == "FROM"]

    assert 2 == len(bases)
    assert 1 == len(set(bases))


def test_image_context() -> None:
    """Everything that the Dockerfile copies exists and is allowed by .dockerignore, which allows nothing else."""
    copied = {
        source
        for word, rest in _instructions()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    ignore = (ROOT / ".dockerignore").read_text().splitlines()

    assert "*" in ignore
    assert copied == {line.removeprefix("!") for line in ignore if line.startswith("!")}
    assert [] == [source for source in copied if not (ROOT / source).exists()]


@pytest.mark.parametrize(("wrong", "code"), [(None, 0), ("stuck", 1)], ids=["healthy", "unhealthy"])
def test_health_check(wrong: str | None, code: int) -> None:
    """The image's health check returns 0 for a healthy exporter and 1 for an unhealthy one, whatever proxy is set."""
    app = create_app(_no_page, ExporterStatus(unhealthy=lambda: wrong), telemetry_path="/metrics")
    server = WebServer(app, "127.0.0.1:0")
    server.start()
    try:
        assert code == _health_check(server.port)
    finally:
        server.stop()


def test_health_check_ends_in_time() -> None:
    """The health check times out before Docker ends it, so that its message is seen."""
    (seconds,) = re.findall(r"--timeout=(\d+)s", _only("HEALTHCHECK"))

    assert TIMEOUT < int(seconds)


def test_health_check_of_what_does_not_answer() -> None:
    """The health check fails if no server listens or the server has no such page."""
    server = WebServer(PlainTextResponse("", 404), "127.0.0.1:0")
    server.start()
    not_found = _health_check(server.port)
    server.stop()

    assert (1, 1) == (not_found, _health_check(server.port))


def _no_page(_fmt: Format) -> Page:
    raise NotImplementedError


def _health_check(port: int) -> int:
    """The exit code of the health check against ``port`` instead of the default port."""
    python, *arguments, option = json.loads(_only("HEALTHCHECK").partition(" CMD ")[2])
    assert ("python", "--port=9439") == (python, option)
    done = subprocess.run(
        [sys.executable, *arguments, f"--port={port}"],
        env={"http_proxy": "http://127.0.0.1:9"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode
