"""The real exporter as a process, and those who look at it: scrapers, and who samples what it holds."""

from __future__ import annotations

import gzip
import hashlib
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

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from bench.soak.dify import LASTING

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT: Final = Path(__file__).parents[2]
OPENMETRICS: Final = "application/openmetrics-text;version=1.0.0"
SCRAPE_TIMEOUT: Final = 10.0
CROWD: Final = 20
"""Scrapers that come at the same time, now and then."""

MOST_UNREAD: Final = 200
"""Pages that wait to be parsed; beyond that the scrapers wait."""

_LISTENING = re.compile(r"msg=listening address=\S+:(\d+) ")
_SUMS = re.compile(rb"^dify_documents_finished_total\{(.*)\} (\S+)$", re.MULTILINE)


class Sample(NamedTuple):
    """What the process holds at a time: bytes of memory, file descriptors, threads. ``at``: seconds from the start."""

    at: float
    memory: int
    descriptors: int
    threads: int


class Exporter:
    """The process."""

    def __init__(self, folder: Path) -> None:
        self.log_path = folder / "exporter.log"
        options = ("--config.file", str(folder / "config.yaml"), "--web.listen-address", "127.0.0.1:0")
        command = (sys.executable, "-m", "exporter", "run", *options)
        hidden = ("DIFY_",)
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(hidden) and not name.lower().endswith("_proxy")
        }
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        self.port = self._port()

    def _port(self) -> int:
        pause, end = threading.Event(), time.monotonic() + 30.0
        while time.monotonic() < end and self.process.poll() is None:
            if found := _LISTENING.search(self.log_path.read_text(encoding="utf-8")):
                return int(found[1])
            pause.wait(0.1)
        raise RuntimeError(f"the exporter does not start; its log: {self.log_path.read_text(encoding='utf-8')}")

    def sample(self, at: float) -> Sample:
        """Look at the process."""
        folder = Path("/proc") / str(self.process.pid)
        status = dict(line.split(":", 1) for line in (folder / "status").read_text(encoding="utf-8").splitlines())
        memory = int(status["VmRSS"].split()[0]) * 1024
        return Sample(at, memory, len(list((folder / "fd").iterdir())), int(status["Threads"]))

    def stop(self) -> float:
        """SIGTERM; the seconds that it takes. RuntimeError for another exit code than 0."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(15.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        if code:
            raise RuntimeError(f"exit code {code}")
        return time.monotonic() - begun


def check_page(text: bytes, *, openmetrics: bool) -> str:
    """What is wrong with a page, "" for nothing. Runs in a process of its own."""
    try:
        families = list((parse_openmetrics if openmetrics else parse_text)(text.decode()))
        series = [(sample.name, tuple(sorted(sample.labels.items()))) for each in families for sample in each.samples]
    except Exception as error:  # noqa: BLE001 whatever the parser does not bear
        return f"{type(error).__name__}: {error}"
    if len(set(series)) != len(series):
        return "a series is there twice"
    if any(sample.value != sample.value for each in families for sample in each.samples):
        return "NaN"
    if not families:
        return "nothing is there"
    return ""


def _be_nice() -> None:
    os.nice(10)


class Scrapers:
    """Scrape in their own rhythms until stopped. Every page that differs from the last ones is parsed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_be_nice)
        self._seen: dict[bytes, None] = {}
        self._unread: list[Future[str]] = []
        self._counted: dict[str, float] = {}
        self._noted: deque[tuple[float, dict[str, float]]] = deque()
        self.alone: list[float] = []
        self.crowded: list[float] = []
        self.control: list[float] = []
        self.scrapes = 0
        self.parsed = 0
        self.problems: list[str] = []
        rhythms: tuple[tuple[float, Callable[[], object]], ...] = (
            (1.0, lambda: self._take(self.alone)),
            (3.0, lambda: self._take(self.alone, accept=OPENMETRICS)),
            (5.0, lambda: self._take(self.alone, encoding="identity")),
            (30.0, self._crowd),
            (1.0, self._ask_health),
            (7.0, self._other_pages),
        )
        self._threads = [
            threading.Thread(target=self._repeat, args=(seconds, way), daemon=True) for seconds, way in rhythms
        ]
        for thread in self._threads:
            thread.start()

    def counted(self) -> dict[str, int]:
        """The ends that the exporter has counted on the main server, by knowledge base and status."""
        self._take(self.alone)
        return {key: int(value) for key, value in self._counted.items()}

    def stop(self) -> None:
        """Scrape no more, and parse what is left."""
        self._stop.set()
        for thread in self._threads:
            thread.join(SCRAPE_TIMEOUT + 5.0)
        self._read(0)
        self._pool.shutdown()

    def _repeat(self, seconds: float, way: Callable[[], object]) -> None:
        while not self._stop.wait(seconds):
            try:
                way()
            except Exception as error:  # noqa: BLE001 a finding
                self.problems.append(f"scrape: {type(error).__name__}: {error}")

    def _take(self, times: list[float], accept: str = "text/plain", encoding: str = "gzip") -> None:
        begun = time.perf_counter()
        status, headers, body = _get(self._port, "/metrics", accept, encoding)
        ended = time.perf_counter()
        times.append(ended - begun)
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        digest = hashlib.blake2b(body, digest_size=16).digest()
        with self._lock:
            self.scrapes += 1
            if status != http.HTTPStatus.OK:
                self.problems.append(f"status {status}")
            if digest in self._seen:
                return
            self._seen[digest] = None
            if len(self._seen) > MOST_UNREAD:
                del self._seen[next(iter(self._seen))]
            self._note_counters(body, begun, ended)
            self._unread.append(self._pool.submit(check_page, body, openmetrics=accept == OPENMETRICS))
            self._read(MOST_UNREAD)

    def _note_counters(self, page: bytes, begun: float, ended: float) -> None:
        """Sum the ends. A sum that is below one of a page that was there before this one was asked for is a finding."""
        sums: dict[str, float] = {}
        for labels, value in _SUMS.findall(page):
            found = dict(re.findall(r'([a-z_]+)="([^"]*)"', labels.decode()))
            if found["server"] == "main":
                key = f"{found['dataset_id']} {found['status']}"
                sums[key] = sums.get(key, 0.0) + float(value)
        while len(self._noted) > 1 and self._noted[1][0] <= begun:
            self._noted.popleft()
        if self._noted and self._noted[0][0] <= begun:
            before = self._noted[0][1]
            fell = [key for key in before if key.partition(" ")[0] in LASTING and sums.get(key, 0.0) < before[key]]
            self.problems += [f"the counter fell: {key}" for key in fell]
        self._noted.append((ended, sums))
        self._counted = sums

    def _read(self, left: int) -> None:
        while len(self._unread) > left or (self._unread and self._unread[0].done()):
            problem = self._unread.pop(0).result()
            self.parsed += 1
            if problem:
                self.problems.append(f"page: {problem}")

    def _crowd(self) -> None:
        threads = [threading.Thread(target=self._take, args=(self.crowded,)) for _ in range(CROWD)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _ask_health(self) -> None:
        """What the machine and the server cost without a page: the rest is the scrape's."""
        begun = time.perf_counter()
        _get(self._port, "/-/healthy", "*/*", "identity")
        self.control.append(time.perf_counter() - begun)

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
