"""Real processes on loopback: the exporter, and the tools that read its page."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar
from urllib.parse import urlencode

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from exporter.config import DatasetConfig

ROOT = Path(__file__).parents[2]
EXPORTER = (os.environ.get("EXPORTER_PYTHON", sys.executable), "-m", "exporter")
"""``make lowest`` sets EXPORTER_PYTHON to run the exporter with other versions of its dependencies."""

KEY = "dataset-simulatordemo"
TOOLS = ROOT / ".tools"
"""Where `make tools` puts what it builds."""

_LISTENING = re.compile(r"msg=listening address=\S+:(\d+) ")

DEADLINE = 60.0
"""Seconds to wait for what takes a moment on an idle machine: a busy one is slow, and that is no failure."""

T = TypeVar("T")


def until(condition: Callable[[], T], timeout: float = DEADLINE, *, why: Callable[[], str] = lambda: "") -> T:
    """Wait until ``condition`` returns something true and return it; fail with ``why`` after ``timeout`` seconds."""
    pause = threading.Event()
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s; {why()}"
        pause.wait(0.05)
    return found


def environment(**variables: str) -> dict[str, str]:
    """The environment of this process without variables that affect the exporter, plus ``variables``."""
    inherited = {name: value for name, value in os.environ.items() if not _is_setting(name)}
    return {**inherited, "PYTHONPATH": str(ROOT), **variables}


def _is_setting(name: str) -> bool:
    return name.startswith("DIFY_") or name.lower().endswith("_proxy")


def find(name: str) -> str | None:
    """The path of an installed program, or of one that `make tools` built; None without it."""
    built = TOOLS / name
    return str(built) if built.exists() else shutil.which(name)


def require(*names: str) -> None:
    """Skip the test unless all these programs are installed, or fail it where CI must have them.

    For a test whose fixtures start processes: ``pytest.mark.needs`` calls this before the first fixture.
    """
    missing = [name for name in names if find(name) is None]
    if missing:
        skip_unless_ci(f"{' and '.join(missing)} {'are' if missing[1:] else 'is'} not installed")


def tool(name: str) -> str:
    """The path of ``find``; without it as ``require``."""
    require(name)
    path = find(name)
    assert path is not None
    return path


def skip_unless_ci(missing: str) -> NoReturn:
    """Handle a missing prerequisite: skip the test, or fail it where CI requires it (``CI=true``)."""
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


def free_port() -> int:
    """A port of loopback that no program listens on, for a program that starts later.

    It is below those that the kernel picks for clients, so no connection takes it meanwhile.
    """
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with contextlib.suppress(OSError), closing(socket.create_server(("127.0.0.1", port))):
            return port


class Done(NamedTuple):
    """A finished command."""

    code: int
    out: str
    err: str


def run(*command: str, timeout: float = DEADLINE, stdin: str = "", **variables: str) -> Done:
    """Run a command to completion in the project folder."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(**variables),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def exporter(*arguments: str, timeout: float = DEADLINE, **variables: str) -> Done:
    """Run the exporter to completion."""
    return run(*EXPORTER, *arguments, timeout=timeout, **variables)


def write_config(path: Path, url: str, datasets: Iterable[DatasetConfig], *, key: str = KEY, **sections: Any) -> str:
    """Write a configuration with one server, ``main``; return its path. ``server``: its other keys, then sections."""
    server = {
        "name": "main",
        "url": url,
        "api_key": key,
        "requests_per_second": 1000,
        "datasets": [
            {"id": dataset.id, "batches": list(dataset.batches), "documents": list(dataset.documents)}
            for dataset in datasets
        ],
        **sections.pop("server", {}),
    }
    path.write_text(yaml.safe_dump({"servers": [server], **sections}), encoding="utf-8")
    return str(path)


class Answer(NamedTuple):
    """An answer as received; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def get(port: int, path: str, **headers: str) -> Answer:
    """Send one GET on its own connection; ``accept_encoding`` is Accept-Encoding. OSError without an answer."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)) as connection:
        connection.putrequest("GET", path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        response = connection.getresponse()
        received = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, received, response.read())


def answers(port: int, path: str) -> bool:
    """Whether the path is answered with 200."""
    try:
        return get(port, path).status == http.HTTPStatus.OK
    except OSError:
        return False


class Program:
    """A process that writes its output to files below ``folder``. ``close`` always ends it."""

    def __init__(self, folder: Path, *command: str, **variables: str) -> None:
        """Start ``command`` in that folder."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._out = folder / "stdout"
        self._err = folder / "stderr"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment(**variables), stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )

    @property
    def out(self) -> str:
        """The standard output so far."""
        return self._out.read_text(encoding="utf-8")

    @property
    def log(self) -> str:
        """The standard error so far."""
        return self._err.read_text(encoding="utf-8")

    def await_log(self, text: str, timeout: float = DEADLINE) -> None:
        """Wait until the log contains ``text``."""
        until(lambda: text in self.log or self._ended(), timeout, why=lambda: self.log)
        assert text in self.log, f"ended with {self.process.poll()}; its log:\n{self.log}"

    def port(self) -> int:
        """The port that the exporter listens on, once it does."""
        found = until(lambda: _LISTENING.search(self.log) or self._ended(), why=lambda: self.log)
        assert isinstance(found, re.Match), self.log
        return int(found[1])

    def stop(self, number: int = signal.SIGTERM, timeout: float = DEADLINE) -> int:
        """Send a signal; return the exit code. AssertionError when the process does not end in time."""
        self.process.send_signal(number)
        return self.end(timeout)

    def end(self, timeout: float = DEADLINE) -> int:
        """Wait for the end; return the exit code. AssertionError when the process does not end in time."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"does not end within {timeout} s; its log:\n{self.log}") from None

    def close(self) -> None:
        """End the process, by force if necessary."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _ended(self) -> bool:
        return self.process.poll() is not None


class Labels(frozenset[tuple[str, str]]):
    """The labels of a series, its name included."""


class Database:
    """A server that evaluates PromQL: Prometheus or VictoriaMetrics."""

    def __init__(self, name: str, port: int, program: Program) -> None:
        self.name = name
        self.port = port
        self.program = program

    def query(self, expression: str) -> dict[Labels, float]:
        """Run an instant query: labels and value of each series. {} while the server does not answer yet."""
        path = f"/api/v1/query?{urlencode({'query': expression})}"
        try:
            answer = get(self.port, path)
        except OSError:
            return {}
        if answer.status != http.HTTPStatus.OK:
            return {}
        result = json.loads(answer.body)["data"]["result"]
        return {_labels(series["metric"]): float(series["value"][1]) for series in result}

    def await_query(self, expression: str, timeout: float = DEADLINE) -> dict[Labels, float]:
        """Run an instant query until it returns at least one series."""
        return until(lambda: self.query(expression), timeout, why=lambda: f"{self.name}: {self.program.log[-2000:]}")


def _labels(metric: Mapping[str, str]) -> Labels:
    return Labels((name, value) for name, value in metric.items() if value)
