"""Signals that reach the process early, as the first process of a container, or while it waits."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.harness import (
    DEADLINE,
    EXPORTER,
    Program,
    answers,
    environment,
    free_port,
    get,
    skip_unless_ci,
    tool,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.simulator import SimulatorServer
    from tests.integration.conftest import Configure

_OWN_PROCESSES = ("--map-root-user", "--pid", "--fork", "--kill-child")


@contextmanager
def _first_process(folder: Path) -> Iterator[Program]:
    """The exporter as process 1 of a PID namespace, starting. ``process`` is its parent, which ends with it."""
    unshare = (tool("unshare"), *_OWN_PROCESSES)
    tried = subprocess.run((*unshare, "true"), capture_output=True, text=True, check=False)
    if tried.returncode:
        skip_unless_ci(f"no permission for user and PID namespaces: {tried.stderr.strip()}")
    program = Program(folder, *unshare, *EXPORTER, "demo", "--web.listen-address=127.0.0.1:0")
    with closing(program):
        yield program


def _child(program: Program) -> int:
    path = Path(f"/proc/{program.process.pid}/task/{program.process.pid}/children")
    return int(until(lambda: path.read_text().strip()))


def _blocked(pid: int) -> int:
    """The signals that a process blocks, as bits."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("SigBlk:"))


@pytest.mark.needs("unshare")
def test_the_first_process_of_a_container_ends_at_once(tmp_path: Path) -> None:
    """SIGTERM right after the start ends it: the kernel ignores default actions of process 1."""
    with _first_process(tmp_path) as program:
        child = _child(program)
        until(lambda: _blocked(child) & 1 << signal.SIGHUP - 1)  # the first thing that the program does
        os.kill(child, signal.SIGTERM)

        assert 128 + signal.SIGTERM == program.end()
        assert "" == program.log


def test_a_reader_of_the_log_that_has_stopped(tmp_path: Path, configure: Configure, dify: SimulatorServer) -> None:
    """With a full pipe as standard error the exporter polls and serves, and SIGTERM ends it."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    port = free_port()
    config = configure(web={"listen_address": f"127.0.0.1:{port}"}, polling={"interval": "1s"})
    command = (*EXPORTER, "run", "--config.file", config, "--log.level", "debug", "--state.path", "")
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=writing) as process:
        try:
            until(lambda: answers(port, "/-/ready"))
            polls = dify.api.requests["indexing-status"]
            until(lambda: dify.api.requests["indexing-status"] > polls)
            page = get(port, "/metrics").body
            process.send_signal(signal.SIGTERM)
            assert 0 == process.wait(DEADLINE)
        finally:
            process.kill()
            os.close(reading)
            os.close(writing)
    assert b"\ndify_exporter_log_lines_dropped_total 0.0\n" in page
