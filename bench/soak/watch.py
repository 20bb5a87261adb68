"""The real exporter as a process, and its observers: scrapers, and a sampler of its resources."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from bench.soak.knowledge import BY_ID
from bench.soak.pages import read_page, read_values

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.soak.pages import Reading

ROOT: Final = Path(__file__).parents[2]
TURNED_CLOCK: Final = ROOT / "tests" / "faults" / "turned_clock"
OPENMETRICS: Final = "application/openmetrics-text;version=1.0.0"
SCRAPE_TIMEOUT: Final = 10.0
CROWD: Final = 20
"""Number of simultaneous scrapers in a crowd."""

MOST_UNREAD: Final = 200
"""Maximum number of pages waiting to be checked; beyond that, the scrapers wait."""

READ_WITHIN: Final = 30.0
"""Seconds in which the remaining pages are checked at the end."""

STALLED_EVERY: Final = 2.0

_LISTENING = re.compile(r"msg=listening address=\S+:(\d+) ")


class Sample(NamedTuple):
    """Resources of the process: bytes of memory, file descriptors, threads. ``at``: seconds from the start."""

    at: float
    memory: int
    descriptors: int
    threads: int


class Exporter:
    """The process. ``name``: of the log, which is continued, and of the configuration if that is another one."""

    def __init__(self, folder: Path, *, name: str = "exporter") -> None:
        self._log_path = folder / f"{name}.log"
        config = folder / ("config.yaml" if name == "exporter" else f"{name}.yaml")
        options = ("--config.file", str(config), "--web.listen-address", "127.0.0.1:0")
        command = (sys.executable, "-m", "exporter", "run", *options)
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("DIFY_") and not name.lower().endswith("_proxy")
        }
        if name == "exporter":
            environment |= {"TURNED_CLOCK": str(folder / "clock"), "PYTHONPATH": f"{TURNED_CLOCK}:{ROOT}"}
        self._read = self._log_path.stat().st_size if self._log_path.exists() else 0
        self._begins = self._read
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        self.port = self._port()

    def log(self) -> str:
        """What this process has logged."""
        with self._log_path.open("rb") as log:
            log.seek(self._begins)
            return log.read().decode(errors="replace")

    def new_lines(self) -> list[str]:
        """What it has logged since the last call, in complete lines."""
        with self._log_path.open("rb") as log:
            log.seek(self._read)
            new = log.read()
        end = new.rfind(b"\n") + 1
        self._read += end
        return new[:end].decode(errors="replace").splitlines()

    def _port(self) -> int:
        pause, end = threading.Event(), time.monotonic() + 30.0
        while time.monotonic() < end and self.process.poll() is None:
            if found := _LISTENING.search(self.log()):
                return int(found[1])
            pause.wait(0.1)
        raise RuntimeError(f"the exporter did not start; its log: {self.log()}")

    def sample(self, at: float) -> Sample:
        """Sample the process."""
        folder = Path("/proc") / str(self.process.pid)
        status = dict(line.split(":", 1) for line in (folder / "status").read_text(encoding="utf-8").splitlines())
        memory = int(status["VmRSS"].split()[0]) * 1024
        return Sample(at, memory, len(list((folder / "fd").iterdir())), int(status["Threads"]))

    def kill(self) -> None:
        """Kill the process, as the kernel does when memory is short."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> float:
        """Send SIGTERM; return the seconds until the exit. RuntimeError when the exit code is not 0."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(15.0)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        if code:
            raise RuntimeError(f"exit code {code}")
        return time.monotonic() - begun


def _be_nice() -> None:
    os.nice(5)


class Scrape(NamedTuple):
    """A scraped page: time of the request in seconds from the start, way of scraping, and duration."""

    at: float
    way: str
    seconds: float


class PageNote(NamedTuple):
    """What one page says of the servers. ``at``: monotonic second of the request."""

    at: float
    lag: dict[str, float]
    up: dict[str, float]
    polls: dict[str, float]
    failures: dict[str, float]


class _Unread(NamedTuple):
    begun: float
    ended: float
    reading: Future[Reading]


class Scrapers:
    """Scrape in several ways at different intervals until stopped. Another process checks every page."""

    def __init__(self, port: int, begun: float) -> None:
        """``begun``: the monotonic second from which times in ``scrapes`` and ``problems`` count."""
        self._port = port
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_be_nice)
        self._unread: deque[_Unread] = deque()
        self._noted: deque[tuple[float, dict[tuple[str, str, str], int]]] = deque()
        self._begun = begun
        self.notes: list[PageNote] = []
        self.stalled: dict[tuple[str, str, str, str], list[float]] = {}
        """When pages called something stalled, at most every ``STALLED_EVERY`` seconds."""
        self.scrapes: list[Scrape] = []
        self.read = 0
        self.parsed = 0
        self.problems: list[str] = []
        rhythms: tuple[tuple[float, Callable[[], object]], ...] = (
            (1.0, lambda: self._take("text")),
            (3.0, lambda: self._take("openmetrics", accept=OPENMETRICS)),
            (5.0, lambda: self._take("plain", encoding="identity")),
            (30.0, self._crowd),
            (1.0, self._ask_health),
            (7.0, self._other_pages),
        )
        self._threads = [
            threading.Thread(target=self._repeat, args=(seconds, way), daemon=True) for seconds, way in rhythms
        ]
        for thread in self._threads:
            thread.start()

    def counted(self) -> dict[tuple[str, str, str], int]:
        """Finished documents counted, by server, knowledge base and status."""
        _, _, body = _get(self._port, "/metrics", "text/plain", "identity")
        return read_values(body.decode()).ends

    def stop(self) -> None:
        """Stop scraping and check the remaining pages, on a busy machine not all of them."""
        self._stop.set()
        for thread in self._threads:
            thread.join(SCRAPE_TIMEOUT + 5.0)
        end, pause = time.monotonic() + READ_WITHIN, threading.Event()
        while self._unread and time.monotonic() < end:
            self._collect(MOST_UNREAD)
            pause.wait(0.1)
        self._pool.shutdown(cancel_futures=True)

    def times(self, *ways: str, without: Sequence[tuple[float, float]] = ()) -> list[float]:
        """The durations in seconds of the scrapes made in these ways. ``without``: monotonic times, such as pauses."""
        spans = [(one - self._begun, two - self._begun) for one, two in without]
        return [
            scrape.seconds
            for scrape in self.scrapes
            if scrape.way in ways
            and not any(scrape.at <= two and one <= scrape.at + scrape.seconds for one, two in spans)
        ]

    def _repeat(self, seconds: float, way: Callable[[], object]) -> None:
        while not self._stop.wait(seconds):
            try:
                way()
            except Exception as error:  # noqa: BLE001 a finding
                self.problems.append(f"scrape: {type(error).__name__}: {error}")

    def _take(self, way: str, accept: str = "text/plain", encoding: str = "gzip") -> None:
        begun = time.monotonic()
        status, headers, body = _get(self._port, "/metrics", accept, encoding)
        ended = time.monotonic()
        self.scrapes.append(Scrape(begun - self._begun, way, ended - begun))
        if status != http.HTTPStatus.OK:
            self.problems.append(f"status {status}")
            return
        packed = headers.get("content-encoding") == "gzip"
        with self._lock:
            reading = self._pool.submit(read_page, body, packed=packed, openmetrics=accept == OPENMETRICS)
            self._unread.append(_Unread(begun, ended, reading))
        self._collect(MOST_UNREAD)

    def _collect(self, at_most: int) -> None:
        """Collect the checked pages until at most ``at_most`` are unchecked."""
        with self._lock:
            while len(self._unread) > at_most or (self._unread and self._unread[0].reading.done()):
                begun, ended, future = self._unread.popleft()
                reading = future.result()
                self.read += 1
                self.parsed += reading.problem is not None
                self.notes.append(PageNote(begun, reading.lag, reading.up, reading.polls, reading.failures))
                for claim in reading.stalled:
                    times = self.stalled.setdefault(claim, [])
                    if not times or begun - times[-1] >= STALLED_EVERY:
                        times.append(begun)
                if reading.problem:
                    self.problems.append(f"page: {reading.problem}")
                self._compare(begun, ended, reading.ends)

    def _compare(self, begun: float, ended: float, ends: dict[tuple[str, str, str], int]) -> None:
        """A counter below its value in a page received before this one was requested is a finding."""
        while len(self._noted) > 1 and self._noted[1][0] <= begun:
            self._noted.popleft()
        if self._noted and self._noted[0][0] <= begun:
            before = self._noted[0][1]
            fell = [key for key in before if key[1] in BY_ID and ends.get(key, 0) < before[key]]
            self.problems += [
                f"{' '.join(key)} decreased from {before[key]} to {ends.get(key, 0)} at {begun - self._begun:.1f}"
                for key in fell
            ]
        self._noted.append((ended, ends))

    def _crowd(self) -> None:
        threads = [threading.Thread(target=self._take, args=("crowd",)) for _ in range(CROWD)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _ask_health(self) -> None:
        """The cost of the machine and the server without a page; the rest is the cost of the scrape."""
        begun = time.monotonic()
        _get(self._port, "/-/healthy", "*/*", "identity")
        self.scrapes.append(Scrape(begun - self._begun, "healthy", time.monotonic() - begun))

    def _other_pages(self) -> None:
        for path in ("/", "/-/healthy", "/-/ready", "/nowhere"):
            _get(self._port, path, "*/*", "gzip")


def _get(port: int, path: str, accept: str, encoding: str) -> tuple[int, dict[str, str], bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=SCRAPE_TIMEOUT)) as connection:
        connection.putrequest("GET", path, skip_accept_encoding=True)
        connection.putheader("Accept", accept)
        connection.putheader("Accept-Encoding", encoding)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
