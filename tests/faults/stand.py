"""Runs the fault matrix: one exporter, one "server" a row, all faults at the same time, and takes the evidence."""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass
from threading import Event, Thread
from typing import TYPE_CHECKING, NamedTuple

import yaml
from msgspec import structs

from exporter.clock import SystemClock
from exporter.simulator import BatchPlan, DatasetPlan, DocumentPlan, Scenario, World
from exporter.simulator.documents import stable_id
from tests.faults import odd
from tests.faults.gates import Way
from tests.faults.rows import CANARY, fault_rows
from tests.integration.harness import EXPORTER, Done, Program, get, run, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from exporter.simulator import SimulatorServer
    from tests.faults.certificates import Certificates
    from tests.faults.gates import Gate, Gates
    from tests.faults.rows import Row

TIMEOUT = 2.0
"""Seconds for an answer, in every row."""

LONGEST_STEP = 6.0
"""Seconds of the longest back-off: five times the longest interval of 1 s, and a fifth for the jitter."""

HOLD = 4.0
"""Seconds that the faults go on after every row has failed once: two more polls of each, at least."""

MAIN = "main"
"""The server of tests that watch one alone."""

WITNESS = "witness"
"""The server that nothing happens to."""

_FAILURES = re.compile(r'dify_exporter_poll_failures_total\{kind="\w+",reason="(\w+)"')
_LINE = re.compile(r'^(dify_\w+\{.*?\bserver="([^"]+)".*\}) (\S+)$', re.MULTILINE)


class Page:
    """A page of metrics: values by server and series."""

    def __init__(self, text: str = "") -> None:
        self._servers: dict[str, dict[str, float]] = {}
        for series, server, value in _LINE.findall(text):
            self._servers.setdefault(server, {})[series] = float(value)

    @classmethod
    def of(cls, port: int) -> Page:
        """The page of this moment."""
        return cls(get(port, "/metrics").body.decode())

    def server(self, server: str) -> dict[str, float]:
        """All series of a server."""
        return self._servers.get(server, {})

    def target(self, name: str, server: str, number: int = 0) -> float | None:
        """A value of ``dify_exporter_target_…`` about the first batch of a server, or another one."""
        batch = batches(server)[number]
        labels = f'server="{server}",kind="batch",dataset_id="{dataset(server)}",target="{batch}"'
        return self.server(server).get(f"dify_exporter_target_{name}{{{labels}}}")

    def is_known(self, server: str) -> bool:
        """Whether both batches of a server are read, and its document with its detail."""
        detail = f'dify_document_created_timestamp_seconds{{server="{server}",dataset_id="{dataset(server)}"'
        known = f'{detail},document_id="{document(server)}"}}' in self.server(server)
        return known and all(self.target("success", server, number) == 1 for number in (0, 1))

    def read_after(self, server: str, when: float) -> bool:
        """Whether the first batch of a server was read after ``when``, and well."""
        last = self.target("last_success_timestamp_seconds", server)
        return self.target("success", server) == 1 and last is not None and last > when

    def polls(self, server: str) -> float:
        """How many polls of batches there were."""
        return self.server(server).get(f'dify_exporter_polls_total{{kind="batch",server="{server}"}}', 0.0)

    def failures(self, server: str) -> dict[str, float]:
        """Failed polls of a server by reason, those that are not 0."""
        found: dict[str, float] = {}
        for series, value in self.server(server).items():
            about = _FAILURES.match(series)
            if about and value:
                found[about[1]] = found.get(about[1], 0.0) + value
        return found

    def of_batch(self, server: str) -> dict[str, float]:
        """The domain's series of a server's first batch, and of its document."""
        batch, found = f'batch="{batches(server)[0]}"', f'document_id="{document(server)}"'
        return {
            series: value
            for series, value in self.server(server).items()
            if series.startswith(("dify_batch_", "dify_document_")) and (batch in series or found in series)
        }


@dataclass(frozen=True)
class Evidence:
    """What a run of the matrix showed. Times are Unix seconds.

    ``recovered``: when each row was read again. ``verdicts``, ``seconds``: of a look each half second while all was
    broken, at /-/healthy and at how long a scrape takes. ``outputs``: all that was said anywhere.
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
    code: int
    verdicts: list[int]
    seconds: list[float]
    outputs: dict[str, bytes]
    elsewhere: int
    by_proxy: int


class Line(NamedTuple):
    """A line of the log that tells of a state; ``target`` "" when it is about a whole server."""

    message: str
    target: str


def lines(log: str, server: str) -> list[Line]:
    """The log's lines about a server, in order."""
    about = re.compile(rf'msg="([^"]+)".* server={re.escape(server)}(?: kind=\w+ dataset_id=\S+ target=(\S+))?(?: |$)')
    return [Line(*found.groups("")) for text in log.splitlines() if (found := about.search(text))]


def dataset(server: str) -> str:
    """The id of the knowledge base that a row watches."""
    return stable_id(server)


def batches(server: str) -> tuple[str, str]:
    """The ids of the batches that a row watches: the one that faults strike, and another one."""
    return f"{server}-first", f"{server}-second"


def document(server: str) -> str:
    """The id of the document in the first batch of a row."""
    return stable_id(f"{server} document")


def world(servers: Iterable[str]) -> World:
    """A Dify in which every document waits for ever: whatever changes on the page, a fault has changed it."""
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
    """The embedded Dify, the doors to it, and the exporter that watches all of it."""

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
        """All is well, all is broken, all is well again."""
        rows = fault_rows()
        names = [row.name for row in rows]
        self._key_file.write_text(CANARY)
        config = self._configure("config.yaml", rows)
        # `check` greets one server after the other: each that never answers would cost it a time-out.
        answering = self._configure("answering.yaml", [row for row in rows if row.reason != "timeout"])
        proxies = {"http_proxy": f"http://127.0.0.1:{self._proxy.port}", "no_proxy": "127.0.0.1"}
        listen = ("--web.listen-address", "127.0.0.1:0", "--log.level", "debug")
        program = Program(self._folder / "process", *EXPORTER, "run", "--config.file", config, *listen, **proxies)
        with contextlib.closing(program):
            port = program.port()
            good = _await(port, Page.is_known, names)
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
            mended = _await(port, lambda page, name: page.read_after(name, mended_at), names)
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
                recovered={name: mended.target("last_success_timestamp_seconds", name) or 0.0 for name in names},
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
            "timeout": f"{TIMEOUT:g}s",
            "datasets": [{"id": dataset(name), "batches": list(batches(name))}],
        }


class _Command:
    """A command that runs meanwhile."""

    def __init__(self, *arguments: str, **variables: str) -> None:
        self._done: list[Done] = []
        self._thread = Thread(target=lambda: self._done.append(run(*EXPORTER, *arguments, timeout=60, **variables)))
        self._thread.start()

    def said(self) -> bytes:
        """What it said, once it has ended."""
        self._thread.join(30)
        return (self._done[0].out + self._done[0].err).encode()


def _replace(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


def _await(port: int, condition: Callable[[Page, str], object], names: list[str]) -> Page:
    """The first page on which that is true of every server."""
    page = Page()
    missing: list[str] = []

    def look() -> bool:
        nonlocal page, missing
        page = Page.of(port)
        missing = [name for name in names if not condition(page, name)]
        return not missing

    until(look, 30, why=lambda: f"still not: {missing}")
    return page


def _watch(port: int) -> tuple[list[int], list[float], list[str]]:
    """Look for a while."""
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
