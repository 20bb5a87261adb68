"""Set up the fixtures of all tests that use external programs while few of these programs are installed.

``python -m tests.integration.installed FOLDER [PROGRAM]…`` does this with no program, then with each PROGRAM alone, and
prints a JSON object that maps "" and each program to an ``Outcome``. Links in FOLDER stand for an installation.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import Final

import msgspec
import pytest

from tests.integration import harness
from tests.processes import running

STARTING: Final = ("tests/integration", "tests/deploy", "tests/faults", "tests/metrics")
"""Folders with tests that start programs or need more than one."""

USING: Final = (*STARTING, "tests/dify", "tests/web")
"""Folders with tests that need programs."""

LONG: Final = {"scraped": "prometheus", "evidence": "openssl"}
"""Fixtures that need a minute and one program. Where that program is installed, every full run sets them up."""

_ARGUMENTS: Final = ("-q", "--setup-only", "-p", "no:cacheprovider", "--deselect=tests/integration/test_installed.py")


class Outcome(msgspec.Struct):
    """The result of a run.

    ``ready``: number of tests with all fixtures set up. ``skipped``: number of skipped tests by reason. ``late``: tests
    that were skipped after a process had been started for them. ``left``: processes that still run afterwards.
    """

    code: int = 0
    ready: int = 0
    skipped: dict[str, int] = {}
    errors: list[str] = []
    late: list[str] = []
    left: list[str] = []


class _Recorder:
    """A pytest plugin that fills an ``Outcome``."""

    def __init__(self, installed: str) -> None:
        self.outcome = Outcome()
        self._installed = installed
        self._started = 0
        begin = harness.Program.__init__

        def count(program: harness.Program, folder: Path, *command: str, **variables: str) -> None:
            self._started += 1
            begin(program, folder, *command, **variables)

        harness.Program.__init__ = count  # type: ignore[method-assign,assignment]

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Deselect the tests that need a minute."""
        long = {name for name, program in LONG.items() if program == self._installed}
        out = [item for item in items if long & set(getattr(item, "fixturenames", ()))]
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]

    def pytest_runtest_logstart(self) -> None:
        """A test starts."""
        self._started = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A fixture was set up or torn down."""
        if report.failed:
            self.outcome.errors.append(f"{report.nodeid}: {report.longreprtext[-1000:]}")
        elif report.skipped:
            assert isinstance(report.longrepr, tuple)
            reason = report.longrepr[2].removeprefix("Skipped: ")
            self.outcome.skipped[reason] = self.outcome.skipped.get(reason, 0) + 1
            if self._started:
                self.outcome.late.append(report.nodeid)
        elif report.when == "setup":
            self.outcome.ready += 1


def _try(folder: Path, program: str) -> Outcome:
    """The outcome with only ``program`` installed, or nothing if it is empty."""
    path = folder / (program or "nothing")
    path.mkdir()
    if program:
        (path / program).symlink_to(harness.tool(program))
    result = path / "outcome"
    child = os.fork()
    if child == 0:
        os.setsid()
        os.environ["PATH"] = str(path)
        harness.TOOLS = path
        recorder = _Recorder(program)
        with contextlib.redirect_stdout(io.StringIO()):
            arguments = (*_ARGUMENTS, f"--basetemp={path / 'tests'}", *(STARTING if program else USING))
            recorder.outcome.code = pytest.main([*arguments], [recorder])
        result.write_bytes(msgspec.json.encode(recorder.outcome))
        os._exit(0)
    os.waitpid(child, 0)
    outcome = msgspec.json.decode(result.read_bytes(), type=Outcome)
    outcome.left = [process.command for process in running() if process.session == child]
    return outcome


def main() -> None:
    """Import all tests once, then fork for each run, which saves most of its time."""
    folder = Path(sys.argv[1])
    with contextlib.redirect_stdout(io.StringIO()):
        assert pytest.main([*_ARGUMENTS, "--collect-only", *USING]) == pytest.ExitCode.OK
    outcomes = {program: _try(folder, program) for program in ("", *sys.argv[2:])}
    sys.stdout.buffer.write(msgspec.json.encode(outcomes))


if __name__ == "__main__":
    main()
