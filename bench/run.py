"""Runs every benchmark in a separate process and inserts the results into the pages."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from bench.results import Row, insert, table

MEASURES = ("scrape", "large", "memory", "growth", "start", "polling", "burst", "prometheus")
"""Modules that return rows of one table with ``--json``."""

STUDIES = ("detection", "cost")
"""Modules that print their own Markdown."""

TIMEOUT = 180.0
"""Time limit of a benchmark in seconds."""

_ROOT = Path(__file__).parent.parent
_PAGES = (_ROOT / "README.md", _ROOT / "docs" / "benchmarks.md")


def main() -> int:
    """Run the benchmarks named on the command line, or all. Only a run of all benchmarks updates the pages."""
    chosen = sys.argv[1:]
    rows: list[Row] = []
    studies: list[str] = []
    for name in (*MEASURES, *STUDIES):
        if chosen and name not in chosen:
            continue
        started = time.monotonic()
        if name in MEASURES:
            found = msgspec.json.decode(_run(name, "--json"), type=list[Row])
            rows += found
            said = table(found)
        else:
            said = _run(name).strip()
            studies.append(said)
        print(f"{name}: {time.monotonic() - started:.0f} s\n\n{said}\n", flush=True)
    if not chosen:
        measured = f"{table(rows)}\n\nMeasured with Python {platform.python_version()} on {_machine()}."
        insert(_PAGES[0], measured)
        insert(_PAGES[1], "\n\n".join((measured, *studies)))
    return 0


def _run(name: str, *arguments: str) -> str:
    command = [sys.executable, "-m", f"bench.{name}", *arguments]
    # A process group of its own, so that terminating the benchmark also terminates its child processes.
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            said, _ = process.communicate(timeout=TIMEOUT)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return said


def _machine() -> str:
    cores = len(list(Path("/sys/devices/system/cpu").glob("cpu[0-9]*")))
    return f"{cores} cores of {_processor()}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
