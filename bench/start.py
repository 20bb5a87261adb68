"""Time from the start of the program until it listens, with a large configuration."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.knowledge import datasets
from bench.results import Row, middle, seconds, show, times

SLOWEST = 2.0
"""Factor of the import time."""

_TIMEOUT = 30.0


def measure(batches: int = 10_000, rounds: int = 7) -> list[Row]:
    """Measure one row."""
    starts: list[float] = []
    imports: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(_config(batches), encoding="utf-8")
        for _ in range(rounds + 1):
            imports.append(_import())
            starts.append(_start(config))
    # The first round reads the files from the disk.
    imported, started = middle(imports[1:]), middle(starts[1:])
    return [
        Row(
            f"start to listening, {batches:,} batches configured",
            seconds(started),
            f"import of its modules {seconds(imported)}",
            times(started / imported),
            f"≤ {SLOWEST:g} ×",
            started <= SLOWEST * imported,
        )
    ]


def _config(batches: int) -> str:
    lines = [
        "servers:",
        "  - name: main",
        "    url: http://127.0.0.1:9/v1",
        "    api_key: dataset-none",
        "    datasets:",
    ]
    for dataset in datasets(batches):
        lines += [
            f"      - id: {dataset.id}",
            "        batches:",
            *(f'          - "{batch}"' for batch in dataset.batches),
        ]
    # The default state file, if any, stays in the directory of the configuration.
    return "\n".join(lines) + "\n"


def _import() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import exporter.cli"], check=True, timeout=_TIMEOUT)
    return time.perf_counter() - started


def _start(config: Path) -> float:
    command = [
        sys.executable,
        "-m",
        "exporter",
        "run",
        "--config.file",
        str(config),
        "--web.listen-address",
        "127.0.0.1:0",
    ]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stderr or ():
                if "msg=listening" in line:
                    return time.perf_counter() - started
        finally:
            process.terminate()
            process.communicate(timeout=_TIMEOUT)
    raise RuntimeError("the exporter exited before it listened")


if __name__ == "__main__":
    show(measure())
