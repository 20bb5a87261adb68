"""Whether stalled indexing is found, and nothing else taken for it: thousands of lives, each with its truth.

The same lives are judged by the exporter, by the static rule "unfinished for 15 minutes", and by the PromQL that a user
would write on the raw gauges. The rules are evaluated on what the exporter shows, scraped every 15 s.

- An *alarm* is true when it overlaps a time at which the scenario says that the batch is stalled; *precision* is the
  share of true alarms, *recall* the share of stalls that had one.
- *Late* is the time from when the rules first allow the verdict to the alarm: ``stall.after`` (while everything waits
  ``stall.queued_after``) after the last move. What moves while the exporter is not running, or the API not readable,
  counts from the end of that; so does what was seen within the last 30 s before a kill, and not saved. A stall that
  such a time hides for the most part is left out.
- The goal for lateness is one poll interval, the one at which what moved last is looked at (see ``_interval``), and
  the ticks of the exporter's own loop.
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
from bench.stage import LIVES, perform
from exporter.config import Polling
from exporter.logs import set_up_logging
from exporter.tracking.cadence import JITTER, longest_backoff

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.lives import Move, Standstill
    from bench.stage import Performance, Span, Subject

OURS = "this exporter"
DETECTORS = (OURS, STATIC, PROMQL, PROMQL_CAREFUL)
UNDISTURBED, RESTARTED, UNREADABLE = "nothing else wrong", "exporter restarted", "API unreadable for 1 h"
CIRCUMSTANCES = (UNDISTURBED, RESTARTED, UNREADABLE)
TICKS = 3.0
"""Seconds: the exporter looks at its schedule every second, before it sees the last move and before the verdict; and
requests wait for the budget."""

_POLLING = Polling()
_QUIET = 4 * _POLLING.discovery_interval
_BACKOFF = longest_backoff(_POLLING) * (1 + JITTER)


class Verdict(NamedTuple):
    """What a detector made of one subject: its alarms, and what became of each stall."""

    mode: str
    true: int
    false: int
    stalls: tuple[Found, ...]


class Found(NamedTuple):
    """A stall. ``late``: seconds until its alarm, None without one. ``interval``: that of the polls."""

    late: float | None
    interval: float


class Due(NamedTuple):
    """A stall as it can be found: verdicts are right from ``begins`` to ``ends``.

    ``later``: instants from which lateness counts too: the last move was not yet seen when the exporter ended or the
    API failed, or the verdict fell due meanwhile. ``tellable``: seconds in which it can be told without a break, at
    most.
    """

    begins: float
    later: tuple[float, ...]
    ends: float
    interval: float
    tellable: float

    def late(self, alarm: Span) -> float:
        """Seconds by which an alarm is late; less than 0 when it is early."""
        return alarm.begins - max([base for base in self.later if base <= alarm.begins + TICKS], default=self.begins)


def judge(performance: Performance) -> dict[str, list[Verdict]]:
    """What each detector made of each life."""
    verdicts: dict[str, list[Verdict]] = {name: [] for name in DETECTORS}
    for subject in performance.subjects:
        dues = [_due(subject, standstill, performance) for standstill in subject.truth]
        alarms = {OURS: own_alarms(subject.shown, performance.ends)}
        alarms |= alarms_of_rules(subject.shown, performance.ends)
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


def _due(subject: Subject, standstill: Standstill, performance: Performance) -> Due:
    """When the stall can be told. The time is that of the scenario, moved out of what nobody could see."""
    interval = _interval(standstill.last, discovered=subject.discovered)
    seen = _after(moved := subject.began + standstill.last.at, performance.down)
    unseen = [span.ends for span in performance.deaf if span.begins <= moved + interval and moved < span.ends]
    again = _after(max(unseen, default=seen), performance.deaf)
    begins, later = (_after(instant + standstill.limit, performance.down) for instant in (seen, again))
    unsaid = [span.ends for span in performance.down if later <= span.begins <= later + interval + TICKS]
    ends = min(_after(subject.began + standstill.until, performance.down), performance.ends)
    if performance.outage:
        first, last = performance.outage.begins - interval, performance.outage.ends + _BACKOFF
        if any(first <= instant < last for instant in (moved, again, begins, later, ends)):
            interval = max(interval, _BACKOFF)
    return Due(begins, (later, *unsaid), ends, interval, _longest(later, ends, performance.down))


def _longest(begins: float, ends: float, down: Iterable[Span]) -> float:
    """The longest time between the two without a break."""
    longest = 0.0
    for span in down:
        if span.ends > begins:
            longest = max(longest, min(span.begins, ends) - begins)
            begins = max(begins, span.ends)
    return max(longest, ends - begins)


def _interval(move: Move, *, discovered: bool) -> float:
    """How often it is looked at what moved there.

    A batch that is unfinished every minute at the latest (``max_interval``), one that was finished every 10 min at
    first (``settled_interval``). Without a batch id: an unfinished document every minute (``discovery_interval``), a
    quiet knowledge base every 4 min, and what only a detail tells every 10 min (``detail_interval``). An API that was
    unreadable is tried again after 6 min at the latest.
    """
    if not discovered:
        return _POLLING.settled_interval if move.rested else _POLLING.max_interval
    if move.hidden:
        return _POLLING.detail_interval
    return _QUIET if move.rested or not move.at else _POLLING.discovery_interval


def _after(instant: float, spans: Iterable[Span]) -> float:
    for span in spans:
        if span.begins <= instant < span.ends:
            instant = span.ends
    return instant


def run(servers: int, *, processes: int | None = None) -> tuple[dict[tuple[str, str], list[Verdict]], Counter[str]]:
    """All verdicts by circumstances and detector, of ``servers`` servers without restarts and as many with."""
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
    for circumstances, judged in found:
        counted[circumstances] += LIVES
        for name, some in judged.items():
            verdicts.setdefault((circumstances, name), []).extend(some)
    return verdicts, counted


def _one(number: int, folder: str) -> tuple[str, dict[str, list[Verdict]]]:
    performance = perform(number, folder)
    if performance.outage:
        return UNREADABLE, judge(performance)
    return RESTARTED if performance.down else UNDISTURBED, judge(performance)


def _quiet() -> None:
    """Nothing of what goes wrong on purpose belongs on the screen."""
    set_up_logging("error", "logfmt")


def precision(verdicts: Iterable[Verdict]) -> float:
    """The share of alarms that are true."""
    true, false = 0, 0
    for verdict in verdicts:
        true += verdict.true
        false += verdict.false
    return true / (true + false) if true + false else math.nan


def recall(verdicts: Iterable[Verdict]) -> float:
    """The share of stalls that were found."""
    found = [stall.late is not None for verdict in verdicts for stall in verdict.stalls]
    return sum(found) / len(found) if found else math.nan


class Tally(NamedTuple):
    """What a detector made of many lives. ``late``: in order, seconds. ``latest``: the most, in poll intervals."""

    precision: float
    recall: float
    late: tuple[float, ...]
    latest: float
    good: bool


def tally(verdicts: Sequence[Verdict]) -> Tally:
    """Sum up. ``good``: the goals are met."""
    found = [(stall.late, stall.interval) for verdict in verdicts for stall in verdict.stalls if stall.late is not None]
    punctual = all(-TICKS <= late <= interval + TICKS for late, interval in found)
    latest = max((late / interval for late, interval in found), default=math.nan)
    right, complete = precision(verdicts), recall(verdicts)
    return Tally(
        right, complete, tuple(sorted(late for late, _ in found)), latest, right == complete == 1.0 and punctual
    )


def study(servers: int = 44, *, processes: int | None = None) -> str:
    """The tables. So many servers without restarts, and as many with, each with ``LIVES`` lives."""
    verdicts, counted = run(servers, processes=processes)
    rows, modes = [], Counter[str]()
    for circumstances in CIRCUMSTANCES:
        for name in DETECTORS:
            found = tally(verdicts[circumstances, name])
            meanwhile = f"{circumstances} ({counted[circumstances]:,} lives)"
            rows.append((meanwhile, name, *_words(found), met(found.good) if name == OURS else ""))
        modes.update(verdict.mode for verdict in verdicts[circumstances, OURS])
    columns = (
        "meanwhile",
        "detector",
        "precision",
        "recall",
        "late: median",
        "p99",
        "most",
        "in poll intervals",
        "met",
    )
    stalls = sum(len(verdict.stalls) for each in CIRCUMSTANCES for verdict in verdicts[each, OURS])
    explained = (
        f"{sum(counted.values()):,} lives of batches with {stalls:,} stalls. *Late*: after the verdict falls due, "
        "which is 15 min after the last progress, 30 min while all waits; less than 0 s: before that. Goal: precision "
        "and recall 1, never before the verdict is due, late by one poll interval at most."
    )
    drawn = "Drawn from: " + ", ".join(f"{mode} {number}" for mode, number in modes.most_common()) + "."
    return "\n\n".join(("### Stalls found, and nothing else taken for one", explained, grid(columns, rows), drawn))


def _words(found: Tally) -> tuple[str, ...]:
    late = found.late
    percentile = late[min(math.ceil(0.99 * len(late)), len(late)) - 1] if late else math.nan
    spans = (statistics.median(late or (math.nan,)), percentile, late[-1] if late else math.nan)
    return f"{found.precision:.3f}", f"{found.recall:.3f}", *(f"{span:.0f} s" for span in spans), f"{found.latest:.2f}"


if __name__ == "__main__":
    _quiet()
    print(study())
