"""Runs a subject in a separate process, so that crashes and hangs are findings too."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from bench.fuzz.canned import ROOT
from bench.fuzz.record import read

if TYPE_CHECKING:
    from bench.fuzz.limits import Subject

TIMEOUT: Final = 60
"""Seconds for one input, on a machine that does other things too."""

MEMORY: Final = 1_024
"""MiB of the whole process: catches leaks long before the process ends."""

_STATUS = re.compile(r"^#\d+\s+\w+\s+cov: (\d+) ft: \d+ corp: (\d+)/.*\n", re.MULTILINE)
_EXECUTED = re.compile(r"^stat::number_of_executed_units:\s+(\d+)$", re.MULTILINE)
_WRITTEN = re.compile(r"Test unit written to (\S+)$", re.MULTILINE)


class Finding(Struct, frozen=True):
    """A failing input. ``why``: a traceback, or the exceeded limit."""

    path: Path
    why: str


class Report(Struct, frozen=True):
    """The result of a run.

    ``coverage`` and ``corpus`` as libFuzzer counts them: code locations and outcomes (at most 2,048), and inputs worth
    mutating. ``slowest``: CPU seconds; ``growth``: MiB of peak memory above the start; both of inputs that finished.
    """

    inputs: int
    seconds: float
    coverage: int
    corpus: int
    slowest: float
    growth: float
    finding: Finding | None = None


def attempt(kind: type[Subject], directory: Path, *, seed: int, inputs: int, timeouts: int = TIMEOUT) -> Report:
    """Give a subject its seeds, then changed ones, ``inputs`` in all or up to the first that it does not bear.

    The failing input is written into the directory ``directory``. RuntimeError when no input was tried.
    """
    directory.mkdir(parents=True, exist_ok=True)
    shared = Path("/dev/shm")  # noqa: S108 a folder of our own in it
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        flags = {
            "runs": inputs,
            "seed": seed,
            "timeout": timeouts,
            "report_slow_units": timeouts,
            "rss_limit_mb": MEMORY,
            "artifact_prefix": f"{directory}/found-",
            "keep_seed": 1,
            "print_funcs": 0,
            "print_final_stats": 1,
        }
        log = Path(folder, "log")
        with log.open("wb") as out:
            done = subprocess.run(
                (
                    *(sys.executable, "-u", "-m", "bench.fuzz.driven", f"{kind.__module__}:{kind.__qualname__}"),
                    *(folder, *(f"-{name}={value}" for name, value in flags.items())),
                ),
                cwd=ROOT,
                env={**_environment(), "TMPDIR": folder, "PYTHONHASHSEED": "0"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                check=False,
            )
        output = log.read_text(encoding="utf-8", errors="replace")
        record = read(Path(folder, "record"))
    if record is None:
        raise RuntimeError(f"no input was tried (exit code {done.returncode}):\n{output}")
    statuses = list(_STATUS.finditer(output))
    coverage, corpus = map(int, statuses[-1].groups()) if statuses else (0, 0)
    executed = _EXECUTED.search(output)
    return Report(
        int(executed[1]) if executed else record.number,
        time.monotonic() - begun,
        coverage,
        corpus,
        record.slowest,
        record.growth,
        _found(output, record.data, directory, done.returncode) if done.returncode else None,
    )


def _found(output: str, data: bytes, directory: Path, code: int) -> Finding:
    """The input that libFuzzer wrote, or the last input of a process that died without writing one."""
    if written := _WRITTEN.search(output):
        path = Path(written[1])
    else:
        path = directory / f"found-death-{hashlib.sha1(data).hexdigest()}"  # noqa: S324 as libFuzzer names its own
        path.write_bytes(data)
    return Finding(path, f"exit code {code}\n{_STATUS.split(output)[-1]}")


def _environment() -> dict[str, str]:
    """The environment without proxies, which would intercept the inputs."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
