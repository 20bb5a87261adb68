"""Pipes in place of files: nothing waits for a program that may never write."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.integration.harness import DEADLINE, EXPORTER, KEY, ROOT, answers, environment, exporter, until, write_config

if TYPE_CHECKING:
    from exporter.simulator import SimulatorServer
    from tests.integration.conftest import Configure, Start

NOT_REGULAR = "is not a regular file but a directory, pipe or device"


def _without_key(path: str) -> str:
    """Remove the key ``api_key`` from a configuration."""
    file = Path(path)
    content = yaml.safe_load(file.read_text())
    del content["servers"][0]["api_key"]
    file.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("place", ["api_key_file", "ca_file", "web config", "cert_file", "REQUESTS_CA_BUNDLE"])
def test_a_pipe_at_the_start(place: str, tmp_path: Path, configure: Configure) -> None:
    """A pipe where the configuration names a file is refused, wherever it is."""
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    config = configure(url="https://127.0.0.1:9/v1", server={place: pipe} if place.endswith("_file") else {})
    options = ["--config.file", config]
    bundle = pipe if place == "REQUESTS_CA_BUNDLE" else ""
    match place:
        case "api_key_file":
            _without_key(config)
        case "web config":
            options += ["--web.config.file", pipe]
        case "cert_file":
            configure(url="https://127.0.0.1:9/v1")
            web = tmp_path / "web.yml"
            web.write_text(json.dumps({"tls_server_config": {"cert_file": pipe, "key_file": pipe}}))
            options += ["--web.config.file", str(web)]
    done = exporter("check", *options, REQUESTS_CA_BUNDLE=bundle)

    assert 1 == done.code
    assert ("it is a pipe or device" if place == "REQUESTS_CA_BUNDLE" else NOT_REGULAR) in done.err


def test_a_pipe_in_place_of_files_in_use(
    start: Start, tmp_path: Path, configure: Configure, dify: SimulatorServer
) -> None:
    """At a reload the previous configuration, key and batches stay, polling continues, and SIGTERM ends the process."""
    key, batches = tmp_path / "key", tmp_path / "batches.json"
    key.write_text(KEY)
    batches.write_text("[]")
    server = {"api_key_file": str(key), "batch_files": [str(batches)]}
    path = _without_key(configure(server=server, polling={"interval": "1s"}))
    program = start("run", "--config.file", path, "--web.listen-address=127.0.0.1:0", "--state.path=")
    port = program.port()
    until(lambda: answers(port, "/-/ready"))
    for file in (Path(path), key, batches):
        file.unlink()
        os.mkfifo(file)
    program.process.send_signal(signal.SIGHUP)
    program.await_log("configuration not reloaded; the previous one stays in effect")
    program.await_log("batch file could not be read; its previous batches stay in effect")
    polls = dify.api.requests["indexing-status"]
    until(lambda: dify.api.requests["indexing-status"] >= polls + 5)

    assert f"config.yaml: {NOT_REGULAR}" in program.log
    assert answers(port, "/-/healthy")
    assert 0 == program.stop()


def test_a_configuration_from_a_pipe(tmp_path: Path, dify: SimulatorServer) -> None:
    """The configuration may come from another program, such as one that decrypts it; it is read once."""
    path = write_config(tmp_path / "config.yaml", dify.url, [], server={"discover": True})
    command = [*EXPORTER, "check", "--config.file", "/dev/stdin"]
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as cat:
        done = subprocess.run(
            command, cwd=ROOT, env=environment(), stdin=cat.stdout, capture_output=True, timeout=DEADLINE, check=False
        )

    assert (0, b"") == (done.returncode, done.stderr)
    assert b"/dev/stdin: configuration is valid\n" in done.stdout
