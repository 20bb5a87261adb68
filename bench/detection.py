"""Detection of stalled indexing, and false alarms: thousands of simulated lifecycles with known ground truth.

The same lifecycles are judged by the exporter, by the static rule "unfinished for 15 minutes", and by the PromQL that a
user would write on the raw gauges. The rules are evaluated on the exporter's metrics, scraped every 15 s.

- An *alarm* is true when it overlaps a time in which the batch is stalled according to the scenario; *precision* is the
  share of true alarms, *recall* the share of stalls with an alarm.
- *Late* is the time from the earliest verdict that the rules allow to the alarm: ``stall.after``
  (``stall.queued_after`` while everything is queued) after the last progress. Progress during a downtime of the
  exporter or the API counts from the end of the downtime; so does progress seen within the last 30 s before a kill, and
  not saved. Stalls that a downtime mostly hides are excluded.
- The goal for lateness is one poll interval, that of the object that progressed last (see ``_interval``), plus the
  ticks of the exporter's own loop.
"""

from __future__ import annotations

import math
import os
import statistics
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from typing import TYPE_CHECKING, NamedTuple

from bench.markdown import grid, met
from bench.rules import PROMQL, PROMQL_CAREFUL, STATIC, alarms_of_rules, own_alarms
from bench.simulation import LIFECYCLES, simulate
from exporter.config import Polling
from exporter.daemon.logs import set_up_logging
from exporter.polling.intervals import JITTER, longest_backoff

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.lifecycles import Standstill, Step
    from bench.simulation import Record, Span, Subject

OURS = "this exporter"
DETECTORS = (OURS, STATIC, PROMQL, PROMQL_CAREFUL)
UNDISTURBED, RESTARTED, UNREADABLE = "none", "exporter restarts", "API unreadable for 1 h"
CIRCUMSTANCES = (UNDISTURBED, RESTARTED, UNREADABLE)
TICKS = 3.0
"""Seconds: the exporter checks its schedule every second, both before it sees the last progress and before the verdict;

requests also wait for the request budget.
"""

_POLLING = Polling()
_QUIET = 4 * _POLLING.discovery_interval
_BACKOFF = longest_backoff(_POLLING) * (1 + JITTER)


class Verdict(NamedTuple):
    """A detector's alarms for one subject, and the outcome of each stall."""

    mode: str
    true: int
    false: int
    stalls: tuple[Found, ...]


class Found(NamedTuple):
    """A stall. ``late``: seconds until its alarm, None without an alarm. ``interval``: the poll interval."""

    late: float | None
    interval: float


class Due(NamedTuple):
    """A stall as it can be detected: verdicts are correct from ``begins`` to ``ends``.

    ``later``: alternative start times for lateness: the last progress had not been seen when the exporter stopped or
    the API failed, or the verdict fell due during the downtime. ``tellable``: the longest uninterrupted time in seconds
    in which the stall can be detected.
    """

    begins: float
    later: tuple[float, ...]
    ends: float
    interval: float
    tellable: float

    def late(self, alarm: Span) -> float:
        """Seconds by which an alarm is late; negative when it is early."""
        return alarm.begins - max([base for base in self.later if base <= alarm.begins + TICKS], default=self.begins)


def verdicts_of(record: Record) -> dict[str, list[Verdict]]:
    """The verdicts of each detector on each lifecycle."""
    verdicts: dict[str, list[Verdict]] = {name: [] for name in DETECTORS}
    for subject in record.subjects:
        dues = [_due(subject, standstill, record) for standstill in subject.truth]
        alarms = {OURS: own_alarms(subject.shown, record.ends)}
        alarms |= alarms_of_rules(subject.shown, record.ends)
        for name in DETECTORS:
            verdicts[name].append(_verdict(subject, alarms[name], dues))
    return verdicts


def _verdict(subject: Subject, alarms: Sequence[Span], dues: Sequence[Due]) -> Verdict:
    def overlap(alarm: Span, due: Due) -> bool:
        return alarm.begins < due.ends + due.interval + TICKS and alarm.ends > due.begins

    true = [alarm for alarm in alarms if any(overlap(alarm, due) for due in dues)]
    stalls = []
    for due in dues:
        if due.tellable > due.interval + TICKS:
            first = min((alarm for alarm in true if overlap(alarm, due)), default=None)
            stalls.append(Found(None if first is None else due.late(first), due.interval))
    return Verdict(subject.mode, len(true), len(alarms) - len(true), tuple(stalls))


def _due(subject: Subject, standstill: Standstill, record: Record) -> Due:
    """When the stall can be detected: the scenario's time, moved out of the downtimes."""
    interval = _interval(standstill.last, discovered=subject.discovered)
    seen = _after(moved := subject.began + standstill.last.at, record.down)
    unseen = [span.ends for span in record.deaf if span.begins <= moved + interval and moved < span.ends]
    again = _after(max(unseen, default=seen), record.deaf)
    begins, later = (_after(instant + standstill.limit, record.down) for instant in (seen, again))
    unsaid = [span.ends for span in record.down if later <= span.begins <= later + interval + TICKS]
    ends = min(_after(subject.began + standstill.until, record.down), record.ends)
    if record.outage:
        first, last = record.outage.begins - interval, record.outage.ends + _BACKOFF
        if any(first <= instant < last for instant in (moved, again, begins, later, ends)):
            interval = max(interval, _BACKOFF)
    return Due(begins, (later, *unsaid), ends, interval, _longest(later, ends, record.down))


def _longest(begins: float, ends: float, down: Iterable[Span]) -> float:
    """The longest time between the two without an interruption."""
    longest = 0.0
    for span in down:
        if span.ends > begins:
            longest = max(longest, min(span.begins, ends) - begins)
            begins = max(begins, span.ends)
    return max(longest, ends - begins)


def _interval(step: Step, *, discovered: bool) -> float:
    """The poll interval that applies to the last progress.

    An unfinished batch is polled at least every minute (``max_interval``), one that has finished first every 10 min
    (``settled_interval``). Without a batch id, an unfinished document is seen every minute (``discovery_interval``), an
    idle knowledge base every 4 min, and what only the detail shows every 10 min (``detail_interval``). An API that was
    unreadable is retried after 6 min at most.
    """
    if not discovered:
        return _POLLING.settled_interval if step.settled else _POLLING.max_interval
    if step.hidden:
        return _POLLING.detail_interval
    return _QUIET if step.settled or not step.at else _POLLING.discovery_interval


def _after(instant: float, spans: Iterable[Span]) -> float:
    for span in spans:
        if span.begins <= instant < span.ends:
            instant = span.ends
    return instant


def run(servers: int, *, processes: int | None = None) -> tuple[dict[tuple[str, str], list[Verdict]], Counter[str]]:
    """All verdicts by circumstances and detector, of ``servers`` servers without restarts and as many with restarts."""
    verdicts: dict[tuple[str, str], list[Verdict]] = {}
    counted: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        numbers = range(2 * servers)
        if processes == 1:
            found = list(map(_one, numbers, repeat(folder)))
        else:
            workers = processes or os.cpu_count() or 1
            with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_quiet) as pool:
                found = list(pool.map(_one, numbers, repeat(folder), chunksize=4))
    for circumstances, by_detector in found:
        counted[circumstances] += LIFECYCLES
        for name, some in by_detector.items():
            verdicts.setdefault((circumstances, name), []).extend(some)
    return verdicts, counted


def _one(number: int, folder: str) -> tuple[str, dict[str, list[Verdict]]]:
    record = simulate(number, folder)
    if record.outage:
        return UNREADABLE, verdicts_of(record)
    return RESTARTED if record.down else UNDISTURBED, verdicts_of(record)


def _quiet() -> None:
    """Suppress log lines about the faults that are injected on purpose."""
    set_up_logging("error", "logfmt")


def precision(verdicts: Iterable[Verdict]) -> float:
    """The share of alarms that are true."""
    true, false = 0, 0
    for verdict in verdicts:
        true += verdict.true
        false += verdict.false
    return true / (true + false) if true + false else math.nan


def recall(verdicts: Iterable[Verdict]) -> float:
    """The share of stalls that were detected."""
    found = [stall.late is not None for verdict in verdicts for stall in verdict.stalls]
    return sum(found) / len(found) if found else math.nan


class Tally(NamedTuple):
    """The results of a detector over many lifecycles. ``late``: sorted, seconds. ``latest``: in poll intervals."""

    precision: float
    recall: float
    late: tuple[float, ...]
    latest: float
    good: bool


def tally(verdicts: Sequence[Verdict]) -> Tally:
    """Aggregate the verdicts. ``good``: the goals are met."""
    found = [(stall.late, stall.interval) for verdict in verdicts for stall in verdict.stalls if stall.late is not None]
    punctual = all(-TICKS <= late <= interval + TICKS for late, interval in found)
    latest = max((late / interval for late, interval in found), default=math.nan)
    right, complete = precision(verdicts), recall(verdicts)
    return Tally(
        right, complete, tuple(sorted(late for late, _ in found)), latest, right == complete == 1.0 and punctual
    )


def study(servers: int = 44, *, processes: int | None = None) -> str:
    """The tables, from ``servers`` servers without restarts and as many with, each with ``LIFECYCLES`` lifecycles."""
    verdicts, counted = run(servers, processes=processes)
    rows, modes = [], Counter[str]()
    for circumstances in CIRCUMSTANCES:
        for name in DETECTORS:
            found = tally(verdicts[circumstances, name])
            meanwhile = f"{circumstances} ({counted[circumstances]:,} lifecycles)"
            rows.append((meanwhile, name, *_words(found), met(found.good) if name == OURS else ""))
        modes.update(verdict.mode for verdict in verdicts[circumstances, OURS])
    columns = (
        "disturbance",
        "detector",
        "precision",
        "recall",
        "late: median",
        "p99",
        "maximum",
        "in poll intervals",
        "met",
    )
    stalls = sum(len(verdict.stalls) for each in CIRCUMSTANCES for verdict in verdicts[each, OURS])
    explained = (
        f"{sum(counted.values()):,} batch lifecycles with {stalls:,} stalls. *Late*: time from the due time of "
        "the verdict to the alarm; the verdict is due 15 min after the last progress, or 30 min while the whole batch "
        "is queued; negative: early. Goal: precision and recall 1, never early, late by at most one poll interval."
    )
    drawn = "Drawn from: " + ", ".join(f"{mode} {number}" for mode, number in modes.most_common()) + "."
    return "\n\n".join(("### Stall detection", explained, grid(columns, rows), drawn))


def _words(found: Tally) -> tuple[str, ...]:
    late = found.late
    percentile = late[min(math.ceil(0.99 * len(late)), len(late)) - 1] if late else math.nan
    spans = (statistics.median(late or (math.nan,)), percentile, late[-1] if late else math.nan)
    return f"{found.precision:.3f}", f"{found.recall:.3f}", *(f"{span:.0f} s" for span in spans), f"{found.latest:.2f}"


if __name__ == "__main__":
    _quiet()
    print(study())
