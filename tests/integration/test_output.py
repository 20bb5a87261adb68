"""Standard output that cannot be written, or that shows texts of a server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.simulator import Fault
from tests.integration.harness import DEADLINE, EXPORTER, ROOT, environment, exporter, until

if TYPE_CHECKING:
    from exporter.simulator import SimulatorServer
    from tests.integration.conftest import Configure, Start

CONFIG = "--config.file"
COMMANDS = {
    "check": ["check", CONFIG],
    "offline": ["check", "--offline", CONFIG],
    "once": ["once", CONFIG],
    "simulate": ["simulate", "--listen", "127.0.0.1:0"],
    "help": ["--help"],
    "help of a command": ["run", "--help"],
    "version": ["--version"],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_full_disk(command: list[str], configure: Configure) -> None:
    """Every command that prints says in one line that its output is incomplete, exit code 1."""
    path = [configure()] if CONFIG in command else []
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*EXPORTER, *command, *path],
            cwd=ROOT,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    expected = "dify-exporter: standard output cannot be written (No space left on device): the output is incomplete\n"
    assert (1, expected) == (done.returncode, done.stderr)


def test_a_closed_output(configure: Configure) -> None:
    """Without a standard output, ``once`` fails in one line."""
    program = "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    command = [sys.executable, "-c", program, *EXPORTER[1:], "once", CONFIG, configure()]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=DEADLINE, check=False
    )

    assert (1, "dify-exporter: standard output is closed: nothing can be printed\n") == (done.returncode, done.stderr)


def test_names_that_the_locale_lacks(configure: Configure) -> None:
    """Characters that standard output cannot encode are escaped, and no traceback ends the page."""
    done = exporter("once", CONFIG, configure(), PYTHONIOENCODING="latin-1")
    checked = exporter("check", CONFIG, configure(server={"name": "主"}), PYTHONIOENCODING="latin-1")

    assert (0, "") == (done.code, done.err)
    assert (0, "") == (checked.code, checked.err)
    assert "\\u4e3b: " in checked.out


def test_nothing_controls_the_terminal(configure: Configure, dify: SimulatorServer) -> None:
    """Control characters in an id that a server sends are shown, not obeyed."""
    odd = "\x1b[2J\u202e"
    body = json.dumps({"data": [{"id": odd, "name": "x"}], "total": 1})
    dify.api.faults.add(Fault(kind="json", endpoint="datasets", status=200, body=body))
    done = exporter("check", CONFIG, configure(datasets=[], server={"discover": True}))

    assert "dataset \\x1b[2J\\u202e: " in done.out
    assert odd not in done.out


@pytest.mark.parametrize("command", ["check", "once"])
def test_an_interruption_ends_at_once(start: Start, configure: Configure, dify: SimulatorServer, command: str) -> None:
    """Ctrl-C does not wait for the timeout of a request: exit code 1."""
    dify.api.faults.add(Fault(kind="delay", seconds=60))
    program = start(command, CONFIG, configure(server={"timeout": "1m"}))
    until(lambda: dify.api.requests["indexing-status"])
    started = time.monotonic()

    assert 1 == program.stop(signal.SIGINT)
    assert time.monotonic() - started < 3
    if command == "check":
        assert program.log == "dify-exporter: interrupted: the servers were not checked\n"
