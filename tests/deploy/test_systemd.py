"""The systemd unit, its configuration and its installer."""

from __future__ import annotations

import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from exporter.cli import main
from exporter.config import load
from tests.deploy.tools import DEPLOY, call
from tests.integration.harness import ROOT, tool

FOLDER = DEPLOY / "systemd"
UNIT = FOLDER / "dify-exporter.service"
EXPOSURE = 1.5
"""Upper limit for the exposure level reported by `systemd-analyze security`, on a scale of 10."""


def settings(name: str) -> list[str]:
    """The values of a setting in the unit."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)


def only(name: str) -> str:
    """The value of a setting that occurs once in the unit."""
    (value,) = settings(name)
    return value


@pytest.mark.needs("systemd-analyze")
def test_unit_is_valid(tmp_path: Path) -> None:
    """`systemd-analyze verify` reports nothing about the unit."""
    program = Path(sys.executable).parent / "dify-exporter"
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text(encoding="utf-8").replace("/opt/dify-exporter/bin/dify-exporter", str(program)))

    done = call(tool("systemd-analyze"), "verify", "--man=no", str(unit))

    assert (0, "") == (done.code, done.err)


@pytest.mark.needs("systemd-analyze")
def test_unit_exposes_little() -> None:
    """`systemd-analyze` rates the exposure of the service as OK, within the limit."""
    done = call(
        tool("systemd-analyze"),
        *("security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE * 10:.0f}"),
        str(UNIT),
    )

    assert 0 == done.code, done.out
    assert " OK " in done.out.splitlines()[-1]


def test_unit_runs_the_program() -> None:
    """The unit starts the program that the installer installs, with an existing command and option."""
    program, command, option = only("ExecStart").split()
    name, _, path = option.partition("=")

    assert "/opt/dify-exporter/bin/dify-exporter" == program
    assert "$destination/opt/dify-exporter" in (FOLDER / "install.sh").read_text(encoding="utf-8")
    assert name in {each for parameter in main.commands[command].params for each in parameter.opts}
    assert "/etc/dify-exporter/config.yaml" == path


def test_configuration_fits_the_unit(tmp_path: Path) -> None:
    """The configuration finds the key and the state in the directories that systemd creates for the unit."""
    credential, _, source = only("LoadCredential").partition(":")
    environment = {
        "CREDENTIALS_DIRECTORY": str(tmp_path),
        "STATE_DIRECTORY": f"/var/lib/{only('StateDirectory')}",
    }
    (tmp_path / credential).write_text("dataset-of-a-test\n")

    config = load(FOLDER / "config.yaml", environment)

    assert [tmp_path / credential] == [server.api_key_file for server in config.servers]
    assert Path("/var/lib/dify-exporter/state.db") == config.state.path
    assert "/etc/dify-exporter/dify-api-key" == source
    assert () == config.warnings


def test_configuration_can_be_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command in the README uses the same program, files and variables as the unit."""
    text = (DEPLOY / "README.md").read_text(encoding="utf-8").replace("\\\n", "")
    (line,) = re.findall(r"^sudo env (.* check .*)$", text, re.MULTILINE)
    words = shlex.split(line)
    given = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
    program, command, option = words[len(given) :]
    credential, _, source = only("LoadCredential").partition(":")
    run, _, used = only("ExecStart").split()

    assert {"CREDENTIALS_DIRECTORY", "STATE_DIRECTORY"} == given.keys()
    assert source == f"{given['CREDENTIALS_DIRECTORY']}/{credential}"
    assert given["STATE_DIRECTORY"] == f"/var/lib/{only('StateDirectory')}"
    assert (run, used) == (program, option)

    (tmp_path / credential).write_text("dataset-of-a-test\n")
    file = f"--config.file={FOLDER / 'config.yaml'}"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    assert 0 == CliRunner().invoke(main, [command, "--offline", file]).exit_code


def test_environment_file_has_variables_that_exist() -> None:
    """Each exporter variable in the environment file, commented out or not, belongs to `run`."""
    names = re.findall(r"^#?(DIFY_\w+)=", (FOLDER / "environment").read_text(encoding="utf-8"), re.MULTILINE)

    assert names
    assert set(names) <= {parameter.envvar for parameter in main.commands["run"].params}


def mode(path: Path) -> str:
    """The permissions of a file."""
    return oct(stat.S_IMODE(path.stat().st_mode))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    (built,) = folder.glob("*.whl")
    return built


def install(destination: Path, *arguments: Path) -> tuple[int, str]:
    """Run the installer below a directory; return its exit code and output."""
    done = call(
        *("sh", str(FOLDER / "install.sh"), *map(str, arguments)),
        PATH="/usr/bin:/bin",
        DESTDIR=str(destination),
        PYTHON=sys.executable,
        PIP_NO_INDEX="1",
        PIP_NO_DEPS="1",
    )
    return done.code, done.out + done.err


def test_installer(tmp_path: Path, wheel: Path) -> None:
    """The installer puts each file where the unit expects it, lets only root read the key, and keeps old settings."""
    key = tmp_path / "key"
    key.write_text("dataset-of-a-test\n")
    etc = tmp_path / "root" / "etc"
    (etc / "dify-exporter").mkdir(parents=True)
    (etc / "dify-exporter" / "environment").write_text("DIFY_EXPORTER_LOG_LEVEL=debug\n")

    assert (0, "") == install(tmp_path / "root", key, wheel)

    assert UNIT.read_bytes() == (etc / "systemd" / "system" / UNIT.name).read_bytes()
    assert (FOLDER / "config.yaml").read_bytes() == (etc / "dify-exporter" / "config.yaml").read_bytes()
    assert "DIFY_EXPORTER_LOG_LEVEL=debug\n" == (etc / "dify-exporter" / "environment").read_text()
    assert "dataset-of-a-test\n" == (etc / "dify-exporter" / "dify-api-key").read_text()
    assert "0o600" == mode(etc / "dify-exporter" / "dify-api-key")
    assert "0o755" == mode(tmp_path / "root" / "opt" / "dify-exporter" / "bin" / "dify-exporter")


def test_installer_updates_with_the_installed_key(tmp_path: Path, wheel: Path) -> None:
    """The installer completes when it is given the key that it installed: the key is kept, the unit replaced."""
    key = tmp_path / "key"
    key.write_text("dataset-of-a-test\n")
    root = tmp_path / "root"
    installed = root / "etc" / "dify-exporter" / "dify-api-key"
    unit = root / "etc" / "systemd" / "system" / UNIT.name

    assert (0, "") == install(root, key, wheel)
    unit.unlink()
    assert (0, "") == install(root, installed, wheel)

    assert "dataset-of-a-test\n" == installed.read_text()
    assert "0o600" == mode(installed)
    assert UNIT.read_bytes() == unit.read_bytes()


def test_installer_refuses_a_key_that_is_not_there(tmp_path: Path) -> None:
    """Without a key file, nothing is installed."""
    missing = tmp_path / "missing"

    assert (1, f"install.sh: {missing} is missing or empty\n") == install(tmp_path / "root", missing)
    assert not (tmp_path / "root").exists()


def test_installer_tells_how_to_use_it(tmp_path: Path) -> None:
    """Without arguments, the installer prints its usage."""
    assert (2, "sudo ./install.sh KEY-FILE [PACKAGE]\n") == install(tmp_path / "root")
