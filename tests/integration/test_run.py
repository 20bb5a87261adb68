"""``dify-exporter run`` as a process: it serves pages, reports problems and stops."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.simulator import Fault
from tests.integration.harness import DEADLINE, KEY, exporter, get, until

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.simulator import SimulatorServer
    from tests.integration.conftest import Configure, Start

ANY_PORT = ("--web.listen-address", "127.0.0.1:0")


def test_configured_batches_are_served(start: Start, configure: Configure, dify: SimulatorServer) -> None:
    """Within seconds of the start, the exporter is ready and every configured batch is on its page."""
    program = start("run", "--config.file", configure(), *ANY_PORT)
    port = program.port()
    until(lambda: 200 == get(port, "/-/ready").status)
    page = get(port, "/metrics").body.decode()
    batches = {
        sample.labels["batch"]
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if "dify_batch_segments" == sample.name
    }

    assert {batch.id for dataset in dify.api.world.scenario.datasets for batch in dataset.batches} == batches
    assert 'dify_up{server="main"} 1\n' in page
    assert (200, 200) == (get(port, "/-/healthy").status, get(port, "/").status)
    assert 404 == get(port, "/nothing").status
    assert KEY not in page + program.log + get(port, "/").body.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_signals_stop_the_exporter(start: Start, configure: Configure, number: int) -> None:
    """SIGTERM and SIGINT end the exporter with exit code 0; the last log line says so."""
    program = start("run", "--config.file", configure(), *ANY_PORT)
    program.await_log('msg="first cycle done"')

    assert 0 == program.stop(number)
    assert "msg=stopped" in program.log.splitlines()[-1]
    assert "Traceback" not in program.log


def test_stop_does_not_wait_for_a_hanging_request(start: Start, configure: Configure, dify: SimulatorServer) -> None:
    """A server that does not answer delays the stop by a few seconds: well below the 10 that supervisors wait."""
    dify.api.faults.add(Fault(kind="delay", seconds=60))
    program = start("run", "--config.file", configure(server={"timeout": "1m"}), *ANY_PORT)
    port = program.port()
    until(lambda: dify.api.requests["indexing-status"])

    assert 503 == get(port, "/-/ready").status
    started = time.monotonic()
    assert 0 == program.stop()
    assert time.monotonic() - started < 9
    assert 'msg="poll did not end in time; not waiting for it"' in program.log
    assert "msg=stopped" in program.log.splitlines()[-1]


def test_a_second_signal_ends_the_process_at_once(start: Start, configure: Configure, dify: SimulatorServer) -> None:
    """A second signal ends the exporter at once; the exit code is that of the signal."""
    dify.api.faults.add(Fault(kind="delay", seconds=60))
    program = start("run", "--config.file", configure(server={"timeout": "1m"}), *ANY_PORT)
    program.port()
    until(lambda: dify.api.requests["indexing-status"])
    program.process.send_signal(signal.SIGTERM)
    program.await_log("msg=stopping")

    assert 128 + signal.SIGTERM == program.stop()


def test_batch_files_that_cannot_be_read_are_on_the_page(start: Start, configure: Configure, tmp_path: Path) -> None:
    """A broken list and a pattern without a file are counted, and the log has a line for each."""
    (tmp_path / "a.json").write_text("[{]")
    program = start("run", "--config.file", configure(server={"batch_files": ["*.json", "none/*.yaml"]}), *ANY_PORT)
    port = program.port()
    assert 'dify_exporter_batch_list_problems{server="main"} 2.0' in get(port, "/metrics").body.decode()
    assert f'problem="{tmp_path}/none/*.yaml: matches nothing: there is no folder' in program.log
    assert f'problem="{tmp_path}/a.json:1: is not valid JSON' in program.log


def test_port_in_use(configure: Configure) -> None:
    """A port in use is reported in one line with the remedy, exit code 1."""
    with closing(socket.create_server(("127.0.0.1", 0))) as occupied:
        address = f"127.0.0.1:{occupied.getsockname()[1]}"
        done = exporter("run", "--config.file", configure(), "--web.listen-address", address, "--log.level", "warning")

    assert 1 == done.code
    assert "" == done.out
    remedy = "stop the program that listens there or choose another address"
    assert f"dify-exporter: cannot listen on {address}: address already in use; {remedy}\n" == done.err


def test_all_problems_of_a_config_are_reported_at_once(tmp_path: Path) -> None:
    """A config with three mistakes causes three lines with file and line, exit code 1, and no other effect."""
    path = tmp_path / "config.yaml"
    path.write_text(
        "servers:\n  - name: main\n    url: ftp://dify/v1\n    api_key: ${NOT_SET}\npolling:\n  intervall: 15s\n"
    )
    done = exporter("run", "--config.file", str(path))

    assert 1 == done.code
    assert "" == done.out
    assert [f"{path}:{line}" for line in (3, 4, 6)] == [":".join(line.split(":")[:2]) for line in done.err.splitlines()]


@pytest.mark.parametrize("command", ["run", "once", "check"])
def test_no_configuration(command: str) -> None:
    """A missing config and key are reported together with a starter config: exit code 1."""
    done = exporter(command)

    assert (1, "") == (done.code, done.out)
    assert "no configuration: set DIFY_API_KEY" in done.err
    assert "--config.file" in done.err


def test_url_and_key_are_a_configuration(start: Start, dify: SimulatorServer) -> None:
    """With only URL and key in the environment, every dataset that the key can see is on the page."""
    program = start("run", *ANY_PORT, DIFY_API_KEY=KEY, DIFY_BASE_URL=dify.url)
    port = program.port()
    known = dify.api.world.scenario.datasets
    until(lambda: len(known) == get(port, "/metrics").body.count(b"\ndify_dataset_info{"), why=lambda: program.log)

    assert KEY not in program.log


def test_settings_from_the_environment(start: Start, configure: Configure) -> None:
    """Every option can come from an environment variable; in the JSON log each line is one object."""
    program = start(
        "run",
        DIFY_EXPORTER_CONFIG_FILE=configure(),
        DIFY_EXPORTER_WEB_LISTEN_ADDRESS="127.0.0.1:0",
        DIFY_EXPORTER_WEB_TELEMETRY_PATH="/elsewhere",
        DIFY_EXPORTER_LOG_FORMAT="json",
        DIFY_EXPORTER_LOG_LEVEL="debug",
    )
    program.await_log('"first cycle done"')
    assert 0 == program.stop()
    events = {event["msg"]: event for event in map(json.loads, program.log.splitlines())}

    assert {"starting", "listening", "first cycle done", "stopping", "stopped"} <= events.keys()
    assert "/elsewhere" == events["listening"]["path"]


def test_options_take_precedence_over_the_environment(start: Start, configure: Configure) -> None:
    """The command line takes precedence over the environment, which takes precedence over the file."""
    program = start(
        "run",
        "--config.file",
        configure(web={"listen_address": "127.0.0.1:1", "telemetry_path": "/file"}),
        *ANY_PORT,
        "--web.telemetry-path",
        "/option",
        DIFY_EXPORTER_WEB_TELEMETRY_PATH="/environment",
    )

    assert 200 == get(program.port(), "/option").status


@pytest.mark.parametrize(
    ("options", "variables", "web"),
    [
        (("--web.listen-address", "127.0.0.1:0", "--web.listen-address", "127.0.0.2:0"), {}, {}),
        ((), {"DIFY_EXPORTER_WEB_LISTEN_ADDRESS": "127.0.0.1:0 127.0.0.2:0"}, {}),
        ((), {}, {"listen_address": ["127.0.0.1:0", "127.0.0.2:0"]}),
    ],
    ids=["options", "environment", "file"],
)
def test_several_addresses(
    start: Start, configure: Configure, options: tuple[str, ...], variables: dict[str, str], web: dict[str, object]
) -> None:
    """Every address that options, the environment or the file name is served and logged."""
    program = start("run", "--config.file", configure(web=web), *options, **variables)
    program.await_log("address=127.0.0.2:")
    listening = re.findall(r"msg=listening address=([0-9.]+):(\d+)", program.log)

    assert ["127.0.0.1", "127.0.0.2"] == [host for host, _ in listening]
    for host, port in listening:
        with closing(http.client.HTTPConnection(host, int(port), timeout=DEADLINE)) as connection:
            connection.request("GET", "/-/healthy")
            assert 200 == connection.getresponse().status


def test_time_zone_does_not_matter(start: Start, configure: Configure) -> None:
    """The process runs in UTC regardless of the machine's time zone, so that its schedule never pauses."""
    program = start("run", "--config.file", configure(polling={"interval": "1s"}), *ANY_PORT, TZ="America/New_York")
    port = program.port()

    def polls() -> float:
        lines = get(port, "/metrics").body.decode().splitlines()
        (line,) = (line for line in lines if line.startswith('dify_exporter_polls_total{kind="batch"'))
        return float(line.split()[-1])

    first = until(polls)
    until(lambda: polls() > first)
