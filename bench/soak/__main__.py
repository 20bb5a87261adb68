"""``python -m bench.soak --minutes 5`` runs the real process on an embedded Dify in fast motion.

Faults, reloads and restarts of Dify happen all the time. Prints the findings as Markdown; exit code 1 when a limit is
exceeded.
"""

from __future__ import annotations

import argparse
import http.client
import os
import re
import signal
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import yaml

from bench.side import side
from bench.soak.dify import KEY, PERMANENT, serve
from bench.soak.verdict import LONG, creep, percentile, rise, slope, warm
from bench.soak.watch import Exporter, Sample, Scrapers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.soak.watch import Scrape

MOST_A_RUN: Final = 0.1
MOST_AN_HOUR: Final = 0.01
"""Maximum memory growth: over the measured part of a short run, and per hour of a long one."""

P99: Final = 0.1
"""Maximum seconds of a scrape."""

ALONE: Final = ("text", "openmetrics", "plain")
"""The ways of scraping that normally run alone, but sometimes coincide with a crowd."""

SETTLED_WITHIN: Final = 60.0


class Finding(NamedTuple):
    """A row of the report."""

    what: str
    found: str
    limit: str
    met: bool


def main() -> int:
    """Run the soak test and print the report."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep the log, the configuration and the tables here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        findings = list(soak(folder.absolute(), arguments.minutes * 60, arguments.seed))
    print("| what | found | limit | met |\n|---|---|---|---|")
    for finding in findings:
        print(f"| {finding.what} | {finding.found} | {finding.limit} | {'yes' if finding.met else '**no**'} |")
    return 0 if all(finding.met for finding in findings) else 1


def soak(folder: Path, seconds: float, seed: int) -> Iterator[Finding]:
    """Run the soak test for ``seconds``."""
    random = Random(seed)  # noqa: S311 the same course again
    with side(serve, str(folder), seed) as dify:
        dify.ask("make")
        url = dify.ask("url").value
        write_config(folder, url)
        exporter = Exporter(folder)
        scrapers = Scrapers(exporter.port)
        samples: list[Sample] = []
        reloads = 0
        try:
            begun, again = time.monotonic(), 20.0
            pause = threading.Event()
            while (at := time.monotonic() - begun) < seconds:
                samples.append(exporter.sample(at))
                if at >= again:
                    reloads += reload(folder, url, exporter, random)
                    again = at + random.uniform(10.0, 30.0)
                pause.wait(1.0)
            write_config(folder, url)
            exporter.process.send_signal(signal.SIGHUP)
            dify.ask("quiet")
            expected = dify.ask("ends").value
            counted = settle(scrapers, expected)
            happened = dify.ask("happened").value
            requests = dify.ask("requests").value
            days = dify.ask("elapsed").value / 86_400
            scrapers.stop()
            stopped = exporter.stop()
        finally:
            if exporter.process.poll() is None:
                exporter.process.kill()
                exporter.process.wait()
        write_table(folder / "samples.csv", samples)
        write_table(folder / "scrapes.csv", scrapers.scrapes)
    log = exporter.log_path.read_text(encoding="utf-8")
    print(f"{seconds / 60:.0f} minutes simulated {days:.1f} days; {requests} requests, {reloads} reloads")
    print(f"machine load at the end: {os.getloadavg()[1]:.1f} (5 minutes), {os.cpu_count()} processors")
    print(", ".join(f"{count} {name}" for name, count in sorted(happened.items())) + "\n")
    yield from check_samples(samples)
    yield from check_ends(expected, counted)
    yield from check_scrapes(scrapers)
    yield from check_end(log, stopped)


def settle(scrapers: Scrapers, expected: Mapping[str, int]) -> dict[str, int]:
    """The exporter's counts, once they are as expected or the time limit is reached."""
    end, pause = time.monotonic() + SETTLED_WITHIN, threading.Event()
    pause.wait(10.0)  # what is counted twice would be by now
    while (counted := _lasting(scrapers.counted())) != expected and time.monotonic() < end:
        pause.wait(1.0)
    return counted


def _lasting(counted: Mapping[str, int]) -> dict[str, int]:
    return {key: value for key, value in counted.items() if key.partition(" ")[0] in PERMANENT and value}


def write_config(folder: Path, url: str, random: Random | None = None) -> None:
    """Write the configuration. ``random`` varies it, but not what is watched on the main server."""
    main: dict[str, Any] = {
        "name": "main",
        "url": url,
        "api_key": KEY,
        "discover": True,
        "timeout": "2s",
        "concurrency": 4,
        "requests_per_second": 300,
        "batch_files": ["batches/*.json"],
    }
    polling = {
        "interval": "1s",
        "max_interval": "2s",
        "settled_interval": "1s",
        "max_settled_interval": "3s",
        "discovery_interval": "1s",
        "detail_interval": "10s",
    }
    servers = [main]
    if random:
        main["concurrency"] = random.choice((2, 4, 8))
        main["requests_per_second"] = random.choice((200, 300))
        if random.random() < 0.5:
            servers.append({**main, "name": "spare", "batch_files": [], "requests_per_second": 50})
        if random.random() < 0.3:
            servers.append({"name": "dead", "url": "http://127.0.0.1:9/v1", "api_key": KEY, "discover": True})
    content = {
        "servers": servers,
        "polling": polling,
        "stall": {"after": "8s", "queued_after": "40s"},
        "retention": {"finished": "2m"},
        "state": {"path": "state.db"},
    }
    put(folder / "config.yaml", yaml.safe_dump(content))


def put(path: Path, text: str) -> None:
    """Replace a file atomically, because the exporter may be reading it."""
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def reload(folder: Path, url: str, exporter: Exporter, random: Random) -> int:
    """Change or break the configuration and trigger a reload in a random way; return the number of reloads."""
    write_config(folder, url, random if random.random() < 0.5 else None)
    if random.random() < 0.25:
        put(folder / "config.yaml", random.choice(("servers: [", "", "servers: []\nunheard: 1\n")))
    match random.randrange(5):
        case 0:
            for _ in range(20):
                exporter.process.send_signal(signal.SIGHUP)
            return 20
        case 1:
            with closing(http.client.HTTPConnection("127.0.0.1", exporter.port, timeout=10)) as connection:
                connection.request("POST", "/-/reload")
                connection.getresponse().read()
        case _:
            exporter.process.send_signal(signal.SIGHUP)
    return 1


def check_samples(samples: list[Sample]) -> Iterator[Finding]:
    """Memory, descriptors, threads."""
    measured = warm(samples)
    span = measured[-1].at - measured[0].at
    peak = max(sample.memory for sample in samples)
    memory = f"{measured[0].memory / 1e6:.1f} → {measured[-1].memory / 1e6:.1f} MB, peak {peak / 1e6:.1f} MB"
    if span >= LONG:
        growth = slope(measured)
        limit = f"≤ {MOST_AN_HOUR:.0%} per hour"
        yield Finding("memory", f"{growth:+.2%} per hour ({memory})", limit, growth <= MOST_AN_HOUR)
    else:
        growth = rise(measured)
        limit = f"≤ {MOST_A_RUN:.0%} in a short run"
        yield Finding("memory", f"{growth:+.2%} in {span:.0f} s ({memory})", limit, growth <= MOST_A_RUN)
    for name in ("descriptors", "threads"):
        values = [getattr(sample, name) for sample in measured]
        found = f"{min(values)} to {max(values)}, minimum {creep(values):+d}"
        yield Finding(name, found, "minimum +2", creep(values) <= 2)


def check_ends(expected: Mapping[str, int], counted: Mapping[str, int]) -> Iterator[Finding]:
    """Every finished document is counted once."""
    found = f"{sum(counted.values())} of {sum(expected.values())}"
    wrong = {key: counted.get(key, 0) - expected.get(key, 0) for key in {*expected, *counted}}
    wrong = {key: value for key, value in wrong.items() if value}
    yield Finding(
        "document completions and failures, counted", found + (f": {wrong}" if wrong else ""), "each once", not wrong
    )


def check_scrapes(scrapers: Scrapers) -> Iterator[Finding]:
    """Every page is valid, and fast."""
    problems = scrapers.problems
    taken = len(scrapers.times(*ALONE, "crowd"))
    found = f"{taken} scrapes, {scrapers.read} pages read, {len(problems)} problems"
    yield Finding("pages", found + "".join(f"; {each}" for each in problems[:3]), "all valid", not problems)
    times = scrapers.times(*ALONE)
    alone, middle = percentile(times, 0.99), percentile(times, 0.5)
    control = percentile(scrapers.times("healthy"), 0.99)
    found = f"{alone * 1e3:.1f} ms, p50 {middle * 1e3:.1f} ms (/-/healthy at the same time: p99 {control * 1e3:.1f} ms)"
    yield Finding("scrape, p99", found, f"< {P99 * 1e3:.0f} ms", alone < P99)
    if crowded := scrapers.times("crowd"):
        worst = percentile(crowded, 0.99)
        yield Finding("twenty simultaneous scrapes, p99", f"{worst * 1e3:.1f} ms", "< 1 s", worst < 1.0)


def check_end(log: str, stopped: float) -> Iterator[Finding]:
    """No internal error, no key in the log, and a fast shutdown."""
    bugs = len(re.findall("Traceback|bug in the exporter|level=critical", log))
    yield Finding(
        "log", f"{log.count(os.linesep)} lines, {bugs} bugs, {log.count(KEY)} keys", "none", not bugs + log.count(KEY)
    )
    yield Finding("shutdown", f"{stopped:.1f} s", "≤ 10 s", stopped <= 10.0)


def write_table(path: Path, rows: Sequence[Sample] | Sequence[Scrape]) -> None:
    """Write a CSV file."""
    lines = (",".join(f"{value:.4f}" if isinstance(value, float) else str(value) for value in row) for row in rows)
    path.write_text("\n".join((",".join(rows[0]._fields), *lines)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
