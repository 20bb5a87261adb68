"""Runs the fault matrix: one exporter, one "server" per row, all faults at the same time; collects the evidence."""

from __future__ import annotations

import contextlib
import signal
import time
from dataclasses import dataclass
from threading import Event, Thread
from typing import TYPE_CHECKING

import yaml
from msgspec import structs

from exporter.clock import SystemClock
from exporter.simulator import BatchPlan, DatasetPlan, DocumentPlan, Scenario, World
from tests.faults import odd
from tests.faults.gates import Way
from tests.faults.page import Page, batches, dataset, document
from tests.faults.rows import CANARY, fault_rows
from tests.integration.harness import DEADLINE, EXPORTER, Done, Program, get, run, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from exporter.simulator import SimulatorServer
    from tests.faults.certificates import Certificates
    from tests.faults.gates import Gate, Gates
    from tests.faults.rows import Row

TIMEOUT = 2.0
"""Timeout of an answer in seconds, in the rows that reach it. The others have to fail for their own reasons."""

LONGEST_STEP = 6.0
"""The longest backoff in seconds: five times the longest interval of 1 s, plus a fifth for jitter."""

HOLD = 6.0
"""Seconds for which the faults continue after every row has failed once: at least two more polls of each."""

WITNESS = "witness"
"""The server without faults."""


@dataclass(frozen=True)
class Evidence:
    """The results of a run of the matrix. Times are Unix seconds.

    ``recovered``: when each row was polled successfully again. ``lateness``: the highest age of the last poll of the
    witness, which is polled every second: the delay that the load of the machine adds to everything. ``verdicts``,
    ``seconds``: status of /-/healthy and duration of a scrape, every half second during the faults. ``outputs``:
    everything that was printed or served.
    """

    good: Page
    broken: Page
    later: Page
    mended: Page
    texts: list[str]
    log: str
    broken_at: float
    mended_at: float
    recovered: dict[str, float]
    lateness: float
    code: int
    verdicts: list[int]
    seconds: list[float]
    outputs: dict[str, bytes]
    elsewhere: int
    by_proxy: int


def world(servers: Iterable[str]) -> World:
    """A Dify in which every document waits forever: any change on the page is caused by a fault."""
    return World(
        Scenario(
            key=CANARY,
            datasets=tuple(
                DatasetPlan(
                    dataset(server),
                    name=server,
                    batches=(
                        BatchPlan(id=batches(server)[0], lost=True, documents=(DocumentPlan(id=document(server)),)),
                        BatchPlan(id=batches(server)[1], lost=True),
                    ),
                )
                for server in servers
            ),
        ),
        SystemClock(),
    )


class Stand:
    """The embedded Dify, the gates to it, and the exporter that watches all of it."""

    def __init__(self, folder: Path, gates: Gates, dify: SimulatorServer, certificates: Certificates) -> None:
        self._folder = folder
        self._gates = gates
        self._dify = dify
        self._certificates = certificates
        self._key_file = folder / "key"
        self._elsewhere = gates.open(dify.port, Way())
        self._proxy = gates.open(dify.port, Way(proxy=True))
        self._doors = {row.name: self._door(row) for row in fault_rows() if row.way or row.tls}

    def run(self) -> Evidence:
        """Run without faults, with all faults, and without faults again."""
        rows = fault_rows()
        names = [row.name for row in rows]
        self._key_file.write_text(CANARY)
        config = self._configure("config.yaml", rows)
        answering = self._configure("answering.yaml", [row for row in rows if row.reason != "timeout"])
        proxies = {"http_proxy": f"http://127.0.0.1:{self._proxy.port}", "no_proxy": "127.0.0.1"}
        listen = ("--web.listen-address", "127.0.0.1:0", "--log.level", "debug")
        program = Program(self._folder / "process", *EXPORTER, "run", "--config.file", config, *listen, **proxies)
        with contextlib.closing(program):
            port = program.port()
            good = _await(port, Page.is_known, names)
            with self._paused(program):
                broken_at = time.time()
                self._break()
            broken = _await(port, Page.failures, names)
            verdicts, seconds, texts = _watch(port)
            commands = {name: _Command(name, "--config.file", answering, **proxies) for name in ("check", "once")}
            outputs = {path: get(port, path).body for path in ("/metrics", "/", "/-/healthy", "/-/ready", "/nothing")}
            outputs |= {name: command.said() for name, command in commands.items()}
            later = Page.of(port)
            mended_at = time.time()
            self._mend()
            mended, recovered, lateness = _recovery(port, names, mended_at)
            code = program.stop()
            said = (*program.folder.iterdir(), *self._folder.glob("state.db*"))
            outputs |= {path.name: path.read_bytes() for path in said}
            return Evidence(
                good=good,
                broken=broken,
                later=later,
                mended=mended,
                texts=texts,
                log=program.log,
                broken_at=broken_at,
                mended_at=mended_at,
                recovered=recovered,
                lateness=lateness,
                code=code,
                verdicts=verdicts,
                seconds=seconds,
                outputs=outputs,
                elsewhere=self._elsewhere.taken,
                by_proxy=self._proxy.taken,
            )

    def _door(self, row: Row) -> Gate:
        if row.by_proxy:
            return self._proxy
        return self._gates.open(self._dify.port, self._well(row))

    def _well(self, row: Row) -> Way:
        return Way(tls=self._certificates.good if row.tls else None, proxy=row.by_proxy)

    @contextlib.contextmanager
    def _paused(self, program: Program) -> Iterator[None]:
        """Pause the exporter when all its requests are answered: one that a fault cut would fail for another reason."""
        counts: list[int] = []

        def is_quiet() -> bool:
            counts.append(self._dify.api.requests.total())
            return counts[-10:] == counts[-1:] * 10

        program.process.send_signal(signal.SIGSTOP)
        until(is_quiet)
        yield
        program.process.send_signal(signal.SIGCONT)

    def _break(self) -> None:
        elsewhere = f"http://127.0.0.1:{self._elsewhere.port}/v1/"
        for row in fault_rows(time.time(), elsewhere):
            if row.fault:
                place = batches(row.name)[0] if row.scope in ("batch", "stop") else dataset(row.name)
                self._dify.api.faults.add(structs.replace(row.fault, id=place))
            elif row.way:
                self._gates.go(self._doors[row.name], row.way())
            elif row.tls:
                self._gates.go(self._doors[row.name], row.tls(self._certificates))
            elif row.wrong_key:
                _replace(self._key_file, f"{CANARY}-of-yesterday")
        for each in odd.ROWS:
            self._dify.api.faults.add(each.fault(batches(each.name)[0], document(each.name)))

    def _mend(self) -> None:
        self._dify.api.faults.clear()
        for row in fault_rows():
            if row.name in self._doors:
                self._gates.go(self._doors[row.name], self._well(row))
        _replace(self._key_file, CANARY)

    def _configure(self, file: str, rows: list[Row]) -> str:
        by_name = {row.name: row for row in rows}
        names = [*by_name, *(each.name for each in odd.ROWS), WITNESS]
        settings = {
            "servers": [self._server(name, by_name.get(name)) for name in names],
            "polling": {
                "interval": "1s",
                "max_interval": "1s",
                "settled_interval": "2s",
                "max_settled_interval": "4s",
                "detail_interval": "3s",
            },
        }
        path = self._folder / file
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        return str(path)

    def _server(self, name: str, row: Row | None) -> dict[str, object]:
        url = self._dify.url
        key: dict[str, object] = {"api_key": CANARY}
        if row is not None and row.name in self._doors:
            scheme = "https" if row.tls else "http"
            url = f"{scheme}://127.0.0.1:{self._doors[name].port}/v1"
        if row is not None and row.by_proxy:
            url = "http://dify.invalid/v1"
        if row is not None and row.tls:
            key["ca_file"] = str(self._certificates.ca)
        if row is not None and row.wrong_key:
            key = {"api_key_file": str(self._key_file)}
        return {
            "name": name,
            "url": url,
            **key,
            "requests_per_second": 1000,
            "timeout": f"{TIMEOUT if row is not None and row.reason == 'timeout' else DEADLINE:g}s",
            "datasets": [{"id": dataset(name), "batches": list(batches(name))}],
        }


class _Command:
    """A command that runs in the background."""

    def __init__(self, *arguments: str, **variables: str) -> None:
        self._done: list[Done] = []
        self._thread = Thread(
            target=lambda: self._done.append(run(*EXPORTER, *arguments, timeout=DEADLINE, **variables))
        )
        self._thread.start()

    def said(self) -> bytes:
        """Its output, once it has ended."""
        self._thread.join()
        return (self._done[0].out + self._done[0].err).encode()


def _replace(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


def _await(port: int, condition: Callable[[Page, str], object], names: list[str]) -> Page:
    """The first page on which the condition is true for every server."""
    page = Page()
    missing: list[str] = []

    def look() -> bool:
        nonlocal page, missing
        page = Page.of(port)
        missing = [name for name in names if not condition(page, name)]
        return not missing

    until(look, why=lambda: f"still not: {missing}")
    return page


def _recovery(port: int, names: list[str], since: float) -> tuple[Page, dict[str, float], float]:
    """Wait until all servers are polled successfully: last page, time of each first success, witness's lateness."""
    recovered: dict[str, float] = {}
    ages = [0.0]

    def note(page: Page, name: str) -> bool:
        ages.append(time.time() - (page.target("last_success_timestamp_seconds", WITNESS) or 0.0))
        last = page.target("last_success_timestamp_seconds", name)
        if last is not None and page.read_after(name, since):
            recovered.setdefault(name, last)
        return name in recovered

    return _await(port, note, names), recovered, max(ages)


def _watch(port: int) -> tuple[list[int], list[float], list[str]]:
    """Request health and metrics repeatedly during the faults."""
    verdicts: list[int] = []
    seconds: list[float] = []
    texts: list[str] = []
    pause = Event()
    end = time.monotonic() + HOLD
    while time.monotonic() < end:
        started = time.monotonic()
        texts.append(get(port, "/metrics").body.decode())
        seconds.append(time.monotonic() - started)
        verdicts.append(get(port, "/-/healthy").status)
        pause.wait(0.5)
    return verdicts, seconds, texts
