"""The command line, in this process: options, environment variables and error messages."""

from __future__ import annotations

import io
import logging
import os
import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING

import click
import pytest
import structlog
import yaml
from click.testing import CliRunner

from exporter import __version__, cli
from exporter.cli import main
from exporter.daemon import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

DATASET = {"id": "501756ed-cffa-44bb-b992-713f60113872", "batches": ["20261121173517669864"]}
SERVER = {"name": "main", "url": "http://127.0.0.1:9/v1", "api_key": "dataset-x", "datasets": [DATASET]}
COMMANDS = sorted(main.commands)


@pytest.fixture(autouse=True)
def _restore_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restore time zone, logging and environment afterwards, and hide the machine's own variables."""
    for name in list(os.environ):
        if name.startswith("DIFY_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TZ", os.environ.get("TZ", "UTC"))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A valid configuration for a server that is down."""
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"servers": [SERVER]}), encoding="utf-8")
    return path


def _call(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env=environment)


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str) -> None:
    """``--help`` describes every command and every option."""
    result = _call(command, "--help")

    assert 0 == result.exit_code
    assert main.commands[command].help
    assert [] == [option.name for option in _options(command) if not option.help]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_an_environment_variable(command: str) -> None:
    """Every option has an environment variable (``--log.level``: DIFY_EXPORTER_LOG_LEVEL), and ``--help`` names it."""
    shown = _call(command, "--help").output
    for option in _options(command):
        variable = "DIFY_EXPORTER_" + option.opts[0].removeprefix("--").replace(".", "_").replace("-", "_").upper()
        assert variable == option.envvar
        assert variable in shown


def _options(command: str) -> list[click.Option]:
    return [option for option in main.commands[command].params if isinstance(option, click.Option)]


def test_version() -> None:
    """``--version`` prints the version of the package."""
    assert f"dify-exporter, version {__version__}\n" == _call("--version").output


def test_unknown_option() -> None:
    """An unknown option is a usage error: exit code 2."""
    assert 2 == _call("run", "--no.such-option").exit_code


@pytest.mark.parametrize(
    ("option", "value"),
    [("--web.listen-address", "nowhere"), ("--web.telemetry-path", "metrics"), ("--web.telemetry-path", "/")],
)
def test_bad_override(config: Path, option: str, value: str) -> None:
    """Command-line values are validated like those of the file; the message names the option, exit code 1."""
    result = _call("run", "--config.file", config, option, value)

    assert 1 == result.exit_code
    assert f"command line: {option}: " in result.stderr
    assert "" == result.stdout


def test_missing_file(tmp_path: Path) -> None:
    """The error for a missing file suggests a configuration to start with."""
    result = _call("check", "--offline", "--config.file", tmp_path / "nothing.yaml")

    assert 1 == result.exit_code
    assert "nothing.yaml: does not exist" in result.stderr


def test_web_config_alone(tmp_path: Path) -> None:
    """``check --offline`` accepts a web config file without a configuration, and says that there is none."""
    web = tmp_path / "web.yml"
    web.write_text("basic_auth_users: {}\n", encoding="utf-8")
    good = _call("check", "--offline", "--web.config.file", web)
    web.write_text("basic_auth_userz: {}\n", encoding="utf-8")
    bad = _call("check", "--offline", "--web.config.file", web)

    assert 0 == good.exit_code
    assert f"{web}: web configuration is valid\nno exporter configuration given" in good.stdout
    assert ": configuration is valid" not in good.stdout
    assert 1 == bad.exit_code
    assert f"{web}:1:" in bad.stderr
    assert "basic_auth_userz" in bad.stderr


@pytest.mark.parametrize(
    ("arguments", "environment"), [(["--offline"], {"DIFY_BASE_URL": "http://api:5001/v1"}), ([], {})]
)
def test_an_incomplete_configuration(tmp_path: Path, arguments: list[str], environment: dict[str, str]) -> None:
    """A partial configuration, or a check of servers, requires a complete configuration."""
    (tmp_path / "web.yml").write_text("{}")
    result = _call("check", *arguments, "--web.config.file", tmp_path / "web.yml", **environment)

    assert 1 == result.exit_code
    assert "DIFY_API_KEY" in result.stderr


def test_warnings_are_shown(config: Path) -> None:
    """``check`` prints warnings about settings that are valid but probably unintended, and still succeeds."""
    config.write_text(yaml.safe_dump({"servers": [{**SERVER, "datasets": []}]}), encoding="utf-8")
    result = _call("check", "--offline", "--config.file", config)

    assert 0 == result.exit_code
    assert result.stdout.startswith(f"warning: {config}:")


def test_warnings_are_logged(config: Path) -> None:
    """The other commands log warnings."""
    config.write_text(yaml.safe_dump({"servers": [{**SERVER, "datasets": []}]}), encoding="utf-8")
    result = _call("once", "--config.file", config)

    assert " level=warning msg=config problem=" in result.stderr


def test_the_process_is_in_utc(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that use the scheduler run in UTC, whatever the time zone of the machine."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    assert "EST" == time.tzname[0]
    _call("once", "--config.file", config)

    assert ("UTC", "UTC") == time.tzname


@pytest.mark.parametrize(
    ("command", "option"), [("demo", "--web.listen-address"), ("simulate", "--listen")], ids=["demo", "simulate"]
)
def test_port_in_use(command: str, option: str) -> None:
    """A port in use is reported in one line, exit code 1."""
    with closing(socket.create_server(("127.0.0.1", 0))) as occupied:
        address = f"127.0.0.1:{occupied.getsockname()[1]}"
        result = _call(command, option, address)

    assert 1 == result.exit_code
    assert address in result.stderr.splitlines()[-1]
    assert "address already in use" in result.stderr.splitlines()[-1].lower()


def test_bad_address_of_the_simulator() -> None:
    """An invalid listen address is refused with a message."""
    result = _call("simulate", "--listen", "nowhere")

    assert 1 == result.exit_code
    assert result.stderr.startswith("dify-exporter: cannot listen on 'nowhere'")


def test_bad_scenario(tmp_path: Path) -> None:
    """An invalid scenario is refused with the path of the invalid value."""
    path = tmp_path / "scenario.yaml"
    path.write_text("datasets: [{id: x, batches: [{documents: [{segments: many}]}]}]", encoding="utf-8")
    result = _call("simulate", "--scenario", path)

    assert 1 == result.exit_code
    assert f"{path}: Expected `int`, got `str` - at `$.datasets[0].batches[0].documents[0].segments`" in result.stderr


class _Terminal(io.StringIO):
    """Standard error of an interactive shell."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "delay", "shown"), [(_Terminal, -1.0, True), (_Terminal, 60.0, False), (io.StringIO, -1.0, False)]
)
def test_progress(monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], delay: float, *, shown: bool) -> None:
    """Progress is shown only on a terminal and only if the round takes long, and it is erased afterwards."""
    stderr = stream()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(cli, "PROGRESS_AFTER", delay)
    monkeypatch.setattr("sys.stderr", stderr)
    with cli._progress_bar() as show:
        show(Progress(3, 8))
        assert shown == ("3/8" in stderr.getvalue())
    erase_line = "\x1b[2K"

    assert shown == stderr.getvalue().endswith(erase_line)
    assert shown or not stderr.getvalue()
