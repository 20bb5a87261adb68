"""One run: two servers, the exporter between them, and everything that happens to it."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import threading
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final

from bench.side import side
from bench.soak.config import reload, write_config
from bench.soak.counts import Line, differences, parse_line
from bench.soak.dify import serve
from bench.soak.intruder import Intruder, is_refused
from bench.soak.knowledge import BY_ID, SERVERS
from bench.soak.machine import Machine
from bench.soak.stalls import Report
from bench.soak.truth import Event
from bench.soak.watch import Exporter, Sample, Scrapers

if TYPE_CHECKING:
    from pathlib import Path

    from bench.side import Side
    from bench.soak.knowledge import ServerName
    from bench.soak.truth import History

FIRST_LIFE: Final = 4.0
"""Seconds until the exporter is started again, so that it runs on a state file that exists."""

SETTLED_WITHIN: Final = 60.0
INTRUDER_EVERY: Final = 40.0
CLOCK_EVERY: Final = 14.0
SUSPENDED_EVERY: Final = (60.0, 100.0)

READ_AFTER_KILL: Final = 15.0
"""Seconds after a kill until the counters are read from the restarted exporter."""


@dataclass
class Run:
    """What was seen in a run. Times are monotonic seconds."""

    begun: float = field(default_factory=time.monotonic)
    ended: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    log: str = ""
    reloads: int = 0
    requests: int = 0
    happened: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    histories: dict[str, History] = field(default_factory=dict)
    counted: dict[tuple[str, str, str], int] = field(default_factory=dict)
    after_kill: dict[tuple[str, str, str], int] = field(default_factory=dict)
    tries: list[tuple[float, str]] = field(default_factory=list)
    suspensions: list[tuple[float, float]] = field(default_factory=list)
    file_problems: list[str] = field(default_factory=list)
    stopped: float = 0.0

    def note(self, what: str) -> None:
        """Record an event."""
        self.events.append(Event(time.monotonic(), what))

    def read_log(self, exporter: Exporter) -> None:
        """Parse what the exporter has logged since the last call."""
        self.lines += [parse_line(time.monotonic(), line) for line in exporter.new_lines()]

    def reports(self, pages: dict[tuple[str, str, str, str], list[float]]) -> list[Report]:
        """Everything that the log, or a page, called stalled."""
        found = [Report(at, "page", *subject) for subject, times in pages.items() for at in times]
        for line in self.lines:
            if line.message.startswith("indexing stalled") and line.fields.get("server") in SERVERS:
                kind = "document" if "document_id" in line.fields else "batch"
                id_ = line.fields.get("document_id") or line.fields.get("batch", "")
                found.append(Report(line.at, "log", line.fields["server"], line.fields["dataset_id"], kind, id_))
        return [report for report in found if report.dataset in BY_ID]


@dataclass(frozen=True)
class Stage:
    """What a run disturbs."""

    folder: Path
    urls: dict[ServerName, str]
    exporter: Exporter
    machine: Machine
    bad: Side
    random: Random


def soak(folder: Path, seconds: float, seed: int) -> tuple[Run, Scrapers]:
    """Run for ``seconds``, and the time to start and to settle."""
    random = Random(seed)  # noqa: S311 the same course again
    run = Run()
    clean(folder)
    (folder / "batches").mkdir()
    (folder / "clock").touch()
    with ExitStack() as stack:
        sides: dict[ServerName, Side] = {
            name: stack.enter_context(side(serve, name, str(folder), seed)) for name in SERVERS
        }
        for each in sides.values():
            each.ask("make")
        urls = {name: each.ask("url").value for name, each in sides.items()}
        write_config(folder, urls)
        exporter = Exporter(folder)
        stack.callback(exporter.kill)
        threading.Event().wait(FIRST_LIFE)
        exporter.stop()
        first_log = exporter.log()
        exporter = Exporter(folder)
        stack.callback(exporter.kill)
        scrapers = Scrapers(exporter.port, run.begun)
        stack.callback(scrapers.stop)
        intruder = Intruder(folder, INTRUDER_EVERY)
        stack.callback(intruder.stop)
        machine = Machine(folder, exporter, random)
        stage = Stage(folder, urls, exporter, machine, sides["bad"], random)
        _disturb(run, stage, seconds)
        intruder.stop()
        machine.reset()
        write_config(folder, urls)
        exporter.process.send_signal(signal.SIGHUP)
        for each in sides.values():
            each.ask("quiet")
        run.note("quiet")
        run.ended = time.monotonic()
        run.histories = {name: each.ask("history").value for name, each in sides.items()}
        run.counted = _settle(run, scrapers, exporter)
        for each in sides.values():
            for mine, theirs in ((run.happened, "happened"), (run.faults, "faults")):
                for what, number in each.ask(theirs).value.items():
                    mine[what] = mine.get(what, 0) + number
        run.requests = sum(each.ask("requests").value for each in sides.values())
        scrapers.stop()
        run.tries, run.suspensions = intruder.tries, machine.suspensions
        exporter.kill()
        logs = [first_log, exporter.log()]
        exporter = Exporter(folder)
        stack.callback(exporter.kill)
        run.after_kill = _counted_after_kill(exporter)
        run.tries.append((time.monotonic(), "" if is_refused(folder) else "after a kill: the second exporter got it"))
        run.stopped = exporter.stop()
        run.log = "".join((*logs, exporter.log()))
    run.file_problems = file_problems(folder)
    return run, scrapers


def _disturb(run: Run, stage: Stage, seconds: float) -> None:
    """Reload, set the clock and suspend the machine until the time is over; sample the exporter all the while."""
    begun = time.monotonic()
    end = begun + seconds
    due = {"reload": begun + 20.0, "clock": begun + 10.0, "suspend": begun + 50.0}
    pause = threading.Event()
    while (now := time.monotonic()) < end:
        run.samples.append(stage.exporter.sample(now - run.begun))
        run.read_log(stage.exporter)
        if now >= due["reload"]:
            run.reloads += reload(stage.folder, stage.urls, stage.exporter, stage.random)
            run.note("reload")
            due["reload"] = now + stage.random.uniform(10.0, 30.0)
        if now >= due["clock"]:
            run.note(stage.machine.set_clock())
            due["clock"] = now + CLOCK_EVERY
        if now >= due["suspend"]:
            if stage.bad.ask("hold").value:
                run.note(stage.machine.suspend())
                due["suspend"] = time.monotonic() + stage.random.uniform(*SUSPENDED_EVERY)
            else:
                due["suspend"] = now + 1.0
        pause.wait(1.0)


def _settle(run: Run, scrapers: Scrapers, exporter: Exporter) -> dict[tuple[str, str, str], int]:
    """The exporter's counts, once they are as expected or the time limit is reached."""
    end, pause = time.monotonic() + SETTLED_WITHIN, threading.Event()
    twice = time.monotonic() + 10.0  # what is counted twice would be by now
    while time.monotonic() < twice or (
        differences(run.histories, counted := scrapers.counted()) and time.monotonic() < end
    ):
        run.read_log(exporter)
        run.samples.append(exporter.sample(time.monotonic() - run.begun))
        pause.wait(1.0)
    return counted


def _counted_after_kill(exporter: Exporter) -> dict[tuple[str, str, str], int]:
    """The counts of an exporter that was killed and started again."""
    scrapers = Scrapers(exporter.port, time.monotonic())
    threading.Event().wait(READ_AFTER_KILL)
    counted = scrapers.counted()
    scrapers.stop()
    return counted


def file_problems(folder: Path) -> list[str]:
    """What is wrong with the state file: it was set aside, or SQLite finds damage."""
    problems = [f"set aside: {path.name}" for path in folder.glob("state.db.corrupt*")]
    try:
        with closing(sqlite3.connect(folder / "state.db")) as connection:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    except sqlite3.Error as error:
        return [*problems, str(error)]
    return problems + ([] if found == ["ok"] else found)


def clean(folder: Path) -> None:
    """Remove what an earlier run in the folder wrote."""
    for pattern in ("state.db*", "*.log", "*.csv", "*.yaml", "clock*", "bad.key*"):
        for path in folder.glob(pattern):
            path.unlink()
    shutil.rmtree(folder / "batches", ignore_errors=True)
