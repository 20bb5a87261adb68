"""The command line. Every option is also an environment variable ``DIFY_EXPORTER_…``."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import structlog

from exporter import __version__
from exporter.check import check_batch_files, check_servers
from exporter.config import Config, from_environment, is_in_environment, load, override
from exporter.daemon import (
    FORMATS,
    LEVELS,
    App,
    ConfigSource,
    limit_retained_memory,
    release_hangup,
    reload_signal,
    set_up_logging,
    stop_signals,
)
from exporter.dify import check_environment
from exporter.metrics import Format
from exporter.terminal import ReportingGroup, fail, say, write
from exporter.web import WebConfigFile
from exporter.yamlconf import is_pipe, parse_duration

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from exporter.config import ListenAddress
    from exporter.daemon import Progress

PROGRESS_AFTER = 2.0
"""Seconds after which a terminal shows the progress of ``check`` and ``once``."""

_log = structlog.get_logger(__name__)


def _option(flag: str, **settings: Any) -> Callable[[Any], Any]:
    """An option that can also be set by an environment variable. Its parameter has the same name in lower case."""
    name = flag.lstrip("-").replace(".", "_").replace("-", "_")
    return click.option(flag, name, envvar=f"DIFY_EXPORTER_{name.upper()}", show_envvar=True, **settings)


def _whole_seconds(_context: click.Context, _option: click.Parameter, value: str | None) -> int | None:
    """Parse a duration such as 30s and round it to whole seconds, at least one."""
    try:
        return None if value is None else max(1, round(parse_duration(value)))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


_FILE: dict[str, Any] = {"type": click.Path(path_type=Path), "metavar": "FILE"}
_config_file = _option("--config.file", **_FILE, help="Configuration file (YAML). config.example.yaml shows every key.")
_listen_address = _option(
    "--web.listen-address",
    multiple=True,
    metavar="HOST:PORT",
    help="Address to serve metrics on, may be repeated; overrides the config.",
)
_telemetry_path = _option("--web.telemetry-path", metavar="PATH", help="URL path of the metrics; overrides the config.")
_web_config_file = _option(
    "--web.config.file",
    **_FILE,
    help="TLS, users and headers, in the format of Prometheus' exporter-toolkit; see docs/web-security.md.",
)
_log_level = _option("--log.level", type=click.Choice(LEVELS), help="Log level; overrides the config.")
_log_format = _option("--log.format", type=click.Choice(FORMATS), help="Log format; overrides the config.")


@click.group(cls=ReportingGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
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
@_option("--state.path", metavar="FILE", help="File that keeps the state across restarts; overrides the config.")
@_option(
    "--config.auto-reload-interval",
    callback=_whole_seconds,
    metavar="DURATION",
    help="Interval at which to read the config file, such as 30s; two equal reads apply a change. Off by default.",
)
def run(
    config_file: Path | None,
    web_config_file: Path | None,
    config_auto_reload_interval: int | None,
    **overrides: str | tuple[str, ...] | None,
) -> None:
    """Poll the configured servers and serve /metrics until SIGTERM or Ctrl-C. SIGHUP reloads the config."""
    config = _set_up(_read_config(config_file, overrides))
    web_config = WebConfigFile(web_config_file, os.environ) if web_config_file else None
    for warning in web_config.warnings if web_config else ():
        _log.warning("web config warning", problem=str(warning))

    def read_again() -> Config:
        config = _read_config(config_file, overrides)
        set_up_logging(config.log.level, config.log.format)
        return config

    can_change = config_file is not None and not is_pipe(config_file)
    source = ConfigSource(read_again, config_auto_reload_interval) if can_change else None
    app = App(config, source=source, use_state_file=True, web_config=web_config)
    with stop_signals() as stop, reload_signal(app.reloader.request):
        _serve(app, stop)


@main.command()
@_config_file
@_web_config_file
@_option("--offline", is_flag=True, help="Check only the files; contact no server.")
def check(config_file: Path | None, web_config_file: Path | None, *, offline: bool) -> None:
    """Check the config, then its servers: version, API key and every configured id. Exit 1 if anything is wrong."""
    only_web_config = offline and web_config_file and not config_file and not is_in_environment(os.environ)
    config = None if only_web_config else _read_config(config_file, {})
    web_config = WebConfigFile(web_config_file, os.environ) if web_config_file else None
    for warning in (*(config.warnings if config else ()), *(web_config.warnings if web_config else ())):
        say(f"warning: {warning}")
    if config:
        say(f"{config_file or 'environment'}: configuration is valid")
    if web_config:
        say(f"{web_config_file}: web configuration is valid")
    if config is None:
        say("no exporter configuration given: only the web configuration was checked")
        return
    # Failures are part of the report, so they are not logged as well.
    set_up_logging("critical", config.log.format)
    succeeded, report = check_batch_files(config)
    for line in report:
        say(line)
    if not offline:
        with stop_signals() as stop, _progress_bar() as show:
            polled, report = check_servers(config, stop, on_progress=show)
        if stop.is_set():
            fail("interrupted: the servers were not checked")
        say("\n".join(report))
        succeeded = succeeded and polled
    if not succeeded:
        sys.exit(1)


@main.command()
@_config_file
@_log_level
@_log_format
def once(config_file: Path | None, **overrides: str | None) -> None:
    """Poll everything once and print the metrics. Exit 1 if a poll failed."""
    config = _read_config(config_file, {**overrides, "log_level": overrides["log_level"] or "warning"})
    # A textfile collector adds the page to that of node_exporter, which has these metrics of its own process.
    app = App(_set_up(config), of_process=False)
    with stop_signals() as stop, _progress_bar() as show:
        succeeded = app.poll_once(stop, on_progress=show)
    write(app.exposition.page(Format.TEXT).plain_chunks())
    if not succeeded:
        sys.exit(1)


@main.command()
@_option(
    "--web.listen-address",
    multiple=True,
    default=["127.0.0.1:9439"],
    show_default=True,
    metavar="HOST:PORT",
    help="Address to serve metrics on, may be repeated.",
)
@_log_level
@_log_format
def demo(web_listen_address: tuple[str, ...], **overrides: str | None) -> None:
    """Show indexing on an embedded Dify: progress, failures and a stall within a minute. Requires nothing else."""
    # Imported here, so that other commands do not load the simulator.
    from exporter import simulator  # noqa: PLC0415
    from exporter.demo import embedded, greeting, watching  # noqa: PLC0415

    scenario = simulator.demo_scenario()
    with stop_signals() as stop, embedded(scenario, "127.0.0.1:0") as dify:
        config = override(
            watching(scenario, dify.url), _dotted({"web_listen_address": web_listen_address, **overrides})
        )
        _serve(App(_set_up(config)), stop, greeting=greeting(dify.url))


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
        say(f"embedded Dify at {dify.url}, API key {plan.key}; press Ctrl-C to stop")
        for dataset in simulator.dataset_configs(plan):
            say(f"  dataset {dataset.id}: batches {', '.join(dataset.batches)}")
        stop.wait()


def _serve(app: App, stop: threading.Event, *, greeting: Callable[[int], str] | None = None) -> None:
    def on_listening(addresses: Sequence[ListenAddress]) -> None:
        for address in addresses:
            _log.info("listening", address=str(address), path=app.config.web.telemetry_path)
        if greeting:
            click.echo(greeting(addresses[0].port), err=True)

    limit_retained_memory()
    _log.info("starting", version=__version__, servers=len(app.config.servers))
    app.run(stop, on_listening=on_listening)
    _log.info("stopped")


@contextmanager
def _progress_bar() -> Iterator[Callable[[Progress], None]]:
    """Shows the progress that it is called with on a terminal, once the context has lasted ``PROGRESS_AFTER`` seconds.

    The bar disappears with the context.
    """
    started = time.monotonic()
    update: Callable[..., None] | None = None

    def show(progress: Progress) -> None:
        nonlocal update
        if update is None and sys.stderr.isatty() and time.monotonic() - started > PROGRESS_AFTER:
            # Imported here, so that other commands do not load them.
            from rich import console  # noqa: PLC0415
            from rich import progress as bars  # noqa: PLC0415

            columns = bars.TextColumn("Targets polled"), bars.BarColumn(), bars.MofNCompleteColumn()
            bar = stack.enter_context(bars.Progress(*columns, console=console.Console(stderr=True), transient=True))
            update = partial(bar.update, bar.add_task("", completed=progress.polled, total=progress.targets))
        elif update is not None:
            update(completed=progress.polled, total=progress.targets)

    with ExitStack() as stack:
        yield show


def _read_config(config_file: Path | None, overrides: Mapping[str, str | tuple[str, ...] | None]) -> Config:
    """The configuration with command-line values applied, if connections can be made in this environment."""
    config = load(config_file, os.environ) if config_file else from_environment(os.environ)
    check_environment(config.servers)
    return override(config, _dotted(overrides))


def _dotted(overrides: Mapping[str, str | tuple[str, ...] | None]) -> dict[str, str | tuple[str, ...]]:
    """The command-line values by configuration key: ``log_level`` becomes ``log.level``."""
    return {name.replace("_", ".", 1): value for name, value in overrides.items() if value not in {None, ()}}


def _set_up(config: Config) -> Config:
    """Prepare the process for ``config``, which is returned, and log its warnings.

    The process runs in UTC: the ``schedule`` library computes in local time and would stall when daylight saving time
    ends.
    """
    os.environ["TZ"] = "UTC"
    time.tzset()
    set_up_logging(config.log.level, config.log.format)
    for warning in config.warnings:
        _log.warning("config", problem=str(warning))
    return config
