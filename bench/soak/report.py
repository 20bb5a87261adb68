"""The findings of a run, each with its limit."""

from __future__ import annotations

import os
import re
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from bench.soak.counts import differences, explain, summary, traces
from bench.soak.faults import ALL, name_of
from bench.soak.knowledge import BY_ID, KEYS, OTHER_KEY
from bench.soak.stalls import false_stalls, unreported
from bench.soak.verdict import LONG, creep, percentile, rise, slope, warm
from exporter.simulator import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bench.soak.run import Run
    from bench.soak.truth import Event
    from bench.soak.watch import PageNote, Sample, Scrapers

MOST_A_RUN: Final = 0.1
MOST_AN_HOUR: Final = 0.01
"""Maximum memory growth: over the measured part of a short run, and per hour of a long one."""

P99: Final = 0.1
"""Maximum seconds of a scrape."""

ALONE: Final = ("text", "openmetrics", "plain")
"""The ways of scraping that normally run alone, but sometimes coincide with a crowd."""

LATEST: Final = 3.0
"""Maximum seconds by which the polls of the undisturbed server are late, and without any poll of it."""

AFTER_SUSPENSION: Final = 6.0
"""Seconds after a suspension in which polls may be late."""

MOST_TRACES: Final = 15


class Finding(NamedTuple):
    """A row of the report. ``traces``: monotonic second and text of what explains it."""

    what: str
    found: str
    limit: str
    met: bool
    traces: tuple[tuple[float, str], ...] = ()


def findings(run: Run, scrapers: Scrapers) -> Iterator[Finding]:
    """All findings."""
    yield from check_samples(run.samples)
    yield from check_ends(run)
    yield check_kill(run.counted, run.after_kill)
    reports = run.reports(scrapers.stalled)
    false = tuple(false_stalls(reports, run.histories))
    yield Finding("false stalls", f"{len(false)}, of {len(reports)} reports", "none", not false, false)
    missed = tuple(unreported([each for each in reports if each.server == "good"], run.histories["good"], run.ended))
    yield Finding("stalls of the good server that were not reported", str(len(missed)), "none", not missed, missed)
    yield from check_good_server(scrapers.notes, run.suspensions, run.ended)
    yield from check_file(run.tries, run.file_problems)
    yield from check_scrapes(scrapers, run.suspensions)
    yield check_faults(run.faults)
    yield from check_end(run.log, run.stopped)


def print_report(found: Sequence[Finding], events: Sequence[Event], begun: float) -> None:
    """Print the findings as Markdown, then the traces of those that exceed their limit."""
    print("| what | found | limit | met |\n|---|---|---|---|")
    for finding in found:
        print(f"| {finding.what} | {finding.found} | {finding.limit} | {'yes' if finding.met else '**no**'} |")
    for finding in found:
        if finding.met or not finding.traces:
            continue
        print(f"\n{finding.what}, the first of {len(finding.traces)} traces (seconds from the start):\n")
        print("\n".join(islice(explained(finding, events, begun), MOST_TRACES)))


def explained(finding: Finding, events: Sequence[Event], begun: float) -> Iterator[str]:
    """The traces of a finding in the order of time, each with the events before it."""
    for at, text in sorted(finding.traces):
        yield f"- {at - begun:.1f}: {text}\n  - before it: {explain(at, events, begun) or 'nothing'}"


def check_samples(samples: Sequence[Sample]) -> Iterator[Finding]:
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


def check_ends(run: Run) -> Iterator[Finding]:
    """Every finished document is counted once."""
    wrong = differences(run.histories, run.counted)
    found = summary(run.histories, run.counted)
    for (server, dataset, status), (expected, counted) in wrong.items():
        found += f"; {server} {BY_ID[dataset].mode} {status}: {counted} of {expected}"
    explained = tuple(trace for key in wrong for trace in traces(key, run.histories, run.lines, run.begun))
    yield Finding("document completions and failures, counted", found, "each once", not wrong, explained)


def check_kill(before: Mapping[tuple[str, str, str], int], after: Mapping[tuple[str, str, str], int]) -> Finding:
    """A kill loses no counted end."""
    lost = {key: (value, after.get(key, 0)) for key, value in before.items() if after.get(key, 0) != value}
    lost = {key: value for key, value in lost.items() if key[1] in BY_ID}
    sums = [sum(value for key, value in each.items() if key[1] in BY_ID) for each in (after, before)]
    found = f"{sums[0]} of {sums[1]}" + (f": {lost}" if lost else "")
    return Finding("counted after a kill and a restart", found, "the same", not lost)


def check_good_server(
    notes: Iterable[PageNote], suspensions: Sequence[tuple[float, float]], until: float
) -> Iterator[Finding]:
    """The undisturbed server is polled in time, is up, and none of its polls fails."""
    notes = sorted(note for note in notes if note.at <= until)
    awake = [note for note in notes if not any(one <= note.at <= two + AFTER_SUSPENSION for one, two in suspensions)]
    late = tuple((note.at, f"{note.lag['good']:.1f} s late") for note in awake if note.lag.get("good", 0.0) > LATEST)
    down = tuple((note.at, "down") for note in awake if note.up.get("good", 1.0) != 1.0)
    still = tuple(_without_polls(awake, suspensions))
    failed = max((note.failures.get("good", 0.0) for note in notes), default=0.0)
    worst = max((note.lag.get("good", 0.0) for note in awake), default=0.0)
    problems = (*late, *down, *still)
    found = (
        f"at most {worst:.1f} s late, {len(down)} pages with dify_up 0, {len(still)} gaps without polls,"
        f" {failed:.0f} failed polls"
    )
    limit = f"≤ {LATEST:g} s, none, none, none"
    yield Finding("the good server beside the bad one", found, limit, not problems and not failed, problems)


def _without_polls(
    notes: Sequence[PageNote], suspensions: Sequence[tuple[float, float]]
) -> Iterator[tuple[float, str]]:
    """Spans longer than ``LATEST`` between two pages that count the same number of polls."""
    polls: float | None = None
    since = 0.0
    for note in notes:
        if polls is None or note.polls.get("good", 0.0) > polls:
            polls, since = note.polls.get("good", 0.0), note.at
        elif note.at - since > LATEST and not any(
            since <= two + AFTER_SUSPENSION and one <= note.at for one, two in suspensions
        ):
            yield note.at, f"no poll of the good server for {note.at - since:.1f} s"
            since = note.at


def check_file(tries: Sequence[tuple[float, str]], problems: Sequence[str]) -> Iterator[Finding]:
    """The state file is whole, and no second exporter got it."""
    broken = tuple((at, problem) for at, problem in tries if problem)
    found = f"refused {len(tries) - len(broken)} of {len(tries)} times"
    yield Finding("second exporter on the state file", found, "always refused", bool(tries) and not broken, broken)
    yield Finding("state file", "; ".join(problems) or "whole", "whole", not problems)


def check_faults(answers: Mapping[str, int]) -> Finding:
    """Every fault changed an answer; a run of five minutes suffices."""
    expected = {name_of(Fault(**each.settings)) for each in ALL}
    never = sorted(name for name in expected if not answers.get(name))
    found = f"{len(expected) - len(never)} of {len(expected)}" + "".join(f"; not: {name}" for name in never[:5])
    return Finding("faults that changed answers", found, "all", not never)


def check_scrapes(scrapers: Scrapers, suspensions: Sequence[tuple[float, float]]) -> Iterator[Finding]:
    """Every page is valid, and fast while the machine runs."""
    problems = scrapers.problems
    taken = len(scrapers.times(*ALONE, "crowd"))
    found = f"{taken} scrapes, {scrapers.read} pages read, {scrapers.parsed} parsed, {len(problems)} problems"
    yield Finding("pages", found + "".join(f"; {each}" for each in problems[:3]), "all valid", not problems)
    times = scrapers.times(*ALONE, without=suspensions)
    alone, middle = percentile(times, 0.99), percentile(times, 0.5)
    control = percentile(scrapers.times("healthy", without=suspensions), 0.99)
    found = f"{alone * 1e3:.1f} ms, p50 {middle * 1e3:.1f} ms (/-/healthy at the same time: p99 {control * 1e3:.1f} ms)"
    yield Finding("scrape, p99", found, f"< {P99 * 1e3:.0f} ms", alone < P99)
    if crowded := scrapers.times("crowd", without=suspensions):
        worst = percentile(crowded, 0.99)
        yield Finding("twenty simultaneous scrapes, p99", f"{worst * 1e3:.1f} ms", "< 1 s", worst < 1.0)


def check_end(log: str, stopped: float) -> Iterator[Finding]:
    """No internal error, no key in the log, and a fast shutdown."""
    bugs = [line for line in log.splitlines() if re.search("Traceback|bug in the exporter|level=critical", line)]
    keys = sum(log.count(key) for key in (*KEYS.values(), OTHER_KEY))
    found = f"{log.count(os.linesep)} lines, {len(bugs)} bugs, {keys} keys" + "".join(
        f"; {bug[:300]}" for bug in bugs[:3]
    )
    yield Finding("log", found, "none", not bugs and not keys)
    yield Finding("shutdown", f"{stopped:.1f} s", "≤ 10 s", stopped <= 10.0)
