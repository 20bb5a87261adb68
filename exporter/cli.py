"""The command line. Every option is also an environment variable ``DIFY_EXPORTER_…``."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import structlog

from exporter import __version__
from exporter.check import check_servers
from exporter.config import Config, from_environment, is_in_environment, load, override, parse_listen_address
from exporter.daemon import allocator
from exporter.daemon.app import App
from exporter.daemon.logs import FORMATS, LEVELS, set_up_logging
from exporter.daemon.signals import release_hangup, reload_signal, stop_signals
from exporter.metrics import Format
from exporter.terminal import fail, show_progress
from exporter.web import ListenError, WebConfigFile
from exporter.yamlconf import ConfigError, parse_duration

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable


_log = structlog.get_logger(__name__)


def _option(*names: str, **settings: Any) -> Callable[[Any], Any]:
    """An option that can also be set by an environment variable."""
    flag = names[0]
    variable = "DIFY_EXPORTER_" + flag.lstrip("-").replace(".", "_").replace("-", "_").upper()
    return click.option(*names, envvar=variable, show_envvar=True, **settings)


class _Seconds(click.ParamType[int]):
    """A duration such as 30s, rounded to whole seconds, at least one."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse the duration."""
        if isinstance(value, int):
            return value
        try:
            return max(1, round(parse_duration(value)))
        except ValueError as error:
            self.fail(str(error), param, ctx)


_config_file = _option(
    "--config.file",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Configuration file (YAML). config.example.yaml shows every key.",
)
_listen_address = _option(
    "--web.listen-address",
    "web_listen_address",
    metavar="HOST:PORT",
    help="Address to serve metrics on; overrides the config.",
)
_telemetry_path = _option(
    "--web.telemetry-path", "web_telemetry_path", metavar="PATH", help="URL path of the metrics; overrides the config."
)
_web_config_file = _option(
    "--web.config.file",
    "web_config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="TLS, users and headers, in the format of Prometheus' exporter-toolkit; see docs/web-security.md.",
)
_log_level = _option("--log.level", "log_level", type=click.Choice(LEVELS), help="Log level; overrides the config.")
_log_format = _option(
    "--log.format", "log_format", type=click.Choice(FORMATS), help="Log format; overrides the config."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="dify-exporter")
@click.pass_context
def main(context: click.Context) -> None:
    """Prometheus exporter for the knowledge bases of Dify: indexing progress, failures and stalls."""
    if context.invoked_subcommand != run.name:
        release_hangup()


@main.command()
@_config_file
@_web_config_file
@_listen_address
@_telemetry_path
@_log_level
@_log_format
@_option(
    "--state.path",
    "state_path",
    metavar="FILE",
    help="File that keeps the state across restarts; overrides the config.",
)
@_option(
    "--config.auto-reload-interval",
    "auto_reload_interval",
    type=_Seconds(),
    metavar="DURATION",
    help="Interval at which to read the config file, such as 30s; two equal reads apply a change. Off by default.",
)
def run(
    config_file: Path | None, web_config_file: Path | None, auto_reload_interval: int | None, **overrides: str | None
) -> None:
    """Poll the configured servers and serve /metrics until SIGTERM or Ctrl-C. SIGHUP reloads the config."""
    config = _configure(config_file, overrides)
    web_config = _read_web_config(web_config_file)
    for warning in web_config.warnings if web_config else ():
        _log.warning("web config warning", problem=str(warning))

    def reread() -> Config:
        fresh = override(load(config_file, os.environ), _dotted(overrides)) if config_file else config
        set_up_logging(fresh.log.level, fresh.log.format)
        return fresh

    app = App(
        config,
        remember=True,
        reread=reread if config_file else None,
        reread_every=auto_reload_interval,
        web_config=web_config,
    )
    with stop_signals() as stop, reload_signal(app.reloader.wanted.set):
        _serve(app, stop)


@main.command()
@_config_file
@_web_config_file
@_option("--offline", is_flag=True, help="Check only the files; contact no server.")
def check(config_file: Path | None, web_config_file: Path | None, *, offline: bool) -> None:
    """Check the config, then its servers: version, API key and every configured id. Exit 1 if anything is wrong."""
    web_alone = offline and web_config_file and not config_file and not is_in_environment(os.environ)
    config = None if web_alone else _read_config(config_file, {})
    web_config = _read_web_config(web_config_file)
    for warning in (*(config.warnings if config else ()), *(web_config.warnings if web_config else ())):
        click.echo(f"warning: {warning}")
    if config:
        click.echo(f"{config_file or 'environment'}: configuration is valid")
    if web_config:
        click.echo(f"{web_config_file}: web configuration is valid")
    if config is None:
        click.echo("no exporter configuration given: only the web configuration was checked")
    if config is None or offline:
        return
    # Failed polls are part of the report, so they are not logged as well.
    set_up_logging("critical", config.log.format)
    lines: list[str] = []
    with show_progress() as show:
        well = check_servers(config, lines.append, on_progress=show)
    click.echo("\n".join(lines))
    if not well:
        sys.exit(1)


@main.command()
@_config_file
@_log_level
@_log_format
def once(config_file: Path | None, **overrides: str | None) -> None:
    """Poll everything once and print the metrics. Exit 1 if a poll failed."""
    config = _configure(config_file, {"log_level": "warning", **_given(overrides)})
    app = App(config)
    with stop_signals() as stop, show_progress() as show:
        complete = app.poll_once(stop, on_progress=show)
    for chunk in app.exposition.page(Format.TEXT).plain_chunks():
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()
    if not complete:
        sys.exit(1)


@main.command()
@_option(
    "--web.listen-address",
    "web_listen_address",
    default="127.0.0.1:9439",
    show_default=True,
    metavar="HOST:PORT",
    help="Address to serve metrics on.",
)
@_log_level
@_log_format
def demo(web_listen_address: str, **overrides: str | None) -> None:
    """Show indexing on an embedded Dify: progress, failures and a stall within a minute. Requires nothing else."""
    # Imported here, so that other commands do not load the simulator.
    from exporter import simulator  # noqa: PLC0415
    from exporter.demo import embedded, greeting, watching  # noqa: PLC0415

    scenario = simulator.demo_scenario()
    with stop_signals() as stop, embedded(scenario, "127.0.0.1:0") as dify:
        config = _overridden(
            watching(scenario, dify.url), {"web_listen_address": web_listen_address, **_given(overrides)}
        )
        _set_up(config)
        _serve(App(config), stop, greeting=greeting(dify.url))


@main.command()
@_option(
    "--listen", default="127.0.0.1:5001", show_default=True, metavar="HOST:PORT", help="Address to serve the API on."
)
@_option(
    "--scenario",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Scenario file (YAML); default: the scenario of the demo.",
)
def simulate(listen: str, scenario: Path | None) -> None:
    """Serve only the knowledge API of an embedded Dify."""
    from exporter import simulator  # noqa: PLC0415
    from exporter.demo import embedded  # noqa: PLC0415

    try:
        plan = simulator.load_scenario(scenario) if scenario else simulator.demo_scenario()
    except simulator.ScenarioError as error:
        fail(str(error))
    with stop_signals() as stop, embedded(plan, listen) as dify:
        click.echo(f"embedded Dify at {dify.url}, API key {plan.key}; press Ctrl-C to stop")
        for dataset in simulator.watched(plan):
            click.echo(f"  dataset {dataset.id}: batches {', '.join(dataset.batches)}")
        stop.wait()


def _serve(app: App, stop: threading.Event, *, greeting: Callable[[int], str] | None = None) -> None:
    def on_listening(port: int) -> None:
        address = parse_listen_address(app.config.web.listen_address)._replace(port=port)
        _log.info("listening", address=str(address), path=app.config.web.telemetry_path)
        if greeting:
            click.echo(greeting(port), err=True)

    allocator.limit_retained_memory()
    _log.info("starting", version=__version__, servers=len(app.config.servers))
    try:
        app.run(stop, on_listening=on_listening)
    except ListenError as error:
        fail(str(error))
    _log.info("stopped")


def _configure(config_file: Path | None, overrides: dict[str, str | None]) -> Config:
    config = _read_config(config_file, overrides)
    _set_up(config)
    for warning in config.warnings:
        _log.warning("config", problem=str(warning))
    return config


def _read_config(config_file: Path | None, overrides: dict[str, str | None]) -> Config:
    try:
        config = load(config_file, os.environ) if config_file else from_environment(os.environ)
    except ConfigError as error:
        fail(str(error))
    return _overridden(config, overrides)


def _read_web_config(path: Path | None) -> WebConfigFile | None:
    try:
        return WebConfigFile(path, os.environ) if path else None
    except ConfigError as error:
        fail(str(error))


def _overridden(config: Config, overrides: dict[str, str | None]) -> Config:
    """The configuration with command-line values applied."""
    try:
        return override(config, _dotted(overrides))
    except ConfigError as error:
        fail(str(error))


def _dotted(overrides: dict[str, str | None]) -> dict[str, str]:
    """The command-line values by configuration key: ``log_level`` becomes ``log.level``."""
    return {name.replace("_", ".", 1): value for name, value in _given(overrides).items()}


def _given(overrides: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in overrides.items() if value is not None}


def _set_up(config: Config) -> None:
    """Run in UTC: the ``schedule`` library computes in local time and would stall when daylight saving time ends."""
    os.environ["TZ"] = "UTC"
    time.tzset()
    set_up_logging(config.log.level, config.log.format)
