"""A second exporter that tries the state file of the first one."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from bench.soak.config import put
from bench.soak.watch import Exporter

if TYPE_CHECKING:
    from pathlib import Path

REFUSED: Final = "another process has locked the file"
TRIES_FOR: Final = 2.0
"""Seconds for which it runs, and tries again."""

_CONFIG: Final = """
servers:
- {name: good, url: "http://127.0.0.1:9/v1", api_key: none, discover: true, datasets: []}
state: {path: state.db}
"""


def is_refused(folder: Path) -> bool:
    """Start a second exporter on the state file in ``folder``; whether it was refused."""
    put(folder / "second.yaml", _CONFIG)
    exporter = Exporter(folder, name="second")
    try:
        threading.Event().wait(TRIES_FOR)
    finally:
        exporter.stop()
    return REFUSED in exporter.log()


class Intruder:
    """Tries the file again and again, in a thread of its own."""

    def __init__(self, folder: Path, every: float) -> None:
        self._folder = folder
        self._every = every
        self._stop = threading.Event()
        self.tries: list[tuple[float, str]] = []
        """Monotonic seconds and the result, "" when it was refused."""
        self._thread = threading.Thread(target=self._run, name="second exporter", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Try no more."""
        self._stop.set()
        self._thread.join(40.0)

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            begun = time.monotonic()
            try:
                problem = "" if is_refused(self._folder) else "the second exporter got the state file"
            except Exception as error:  # noqa: BLE001 a finding
                problem = f"{type(error).__name__}: {error}"
            self.tries.append((begun, problem))
