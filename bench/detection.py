"""Whether stalled indexing is found, and nothing else taken for it: thousands of lives, each with its truth.

The same lives are judged by the exporter, by the static rule "unfinished for 15 minutes", and by the PromQL that a user
would write on the raw gauges. The rules are evaluated on what the exporter shows, scraped every 15 s.

- An *alarm* is true when it overlaps a time at which the scenario says that the batch is stalled; *precision* is the
  share of true alarms, *recall* the share of stalls that had one.
- *Late* is the time from when the rules first allow the verdict to the alarm: ``stall.after`` (while everything waits
  ``stall.queued_after``) after the last move. What moves while the exporter is not running, or the API not readable,
  counts from the end of that; so does what was seen within the last 30 s before a kill, and not saved. A stall that such
  a time hides for the most part is left out.
- The goal for lateness is one poll interval, the one at which what moved last is looked at, and a tick or two of 1 s:
  see ``_interval``.
"""

from __future__ import annotations

import math
import os
import statistics
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from typing import TYPE_CHECKING, NamedTuple

from bench.results import Row, show
from bench.rules import PROMQL, PROMQL_CAREFUL, STATIC, alarms_of_rules, own_alarms
from bench.stage import LIVES, perform
from exporter.config import Polling
from exporter.logs import set_up_logging
from exporter.tracking.cadence import JITTER, MAX_BACKOFF_FACTOR

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.lives import Move, Standstill
    from bench.stage import Performance, Span, Subject

OURS = "this exporter"
DETECTORS = (OURS, STATIC, PROMQL, PROMQL_CAREFUL)
UNDISTURBED, RESTARTED, UNREADABLE = "nothing else wrong", "exporter restarted", "API unreadable for 1 h"
CIRCUMSTANCES = (UNDISTURBED, RESTARTED, UNREADABLE)
TICKS = 2.0
"""Seconds: the exporter looks at its schedule every second, before the last move was seen and before the verdict."""

_POLLING = Polling()
_QUIET = 4 * _POLLING.discovery_interval
_BACKOFF = MAX_BACKOFF_FACTOR * _POLLING.max_interval * (1 + JITTER)


class Verdict(NamedTuple):
    """What a detector made of one subject: how many alarms were false, and for each stall the alarm if there was one."""

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

    ``again``: from when, if the last move was not yet seen when the exporter ended or the API failed. ``tellable``:
    seconds in which it can be told without a break, at most.
    """

    begins: float
    again: float
    ends: float
    interval: float
    tellable: float

    def late(self, alarm: Span) -> float:
        """Seconds by which an alarm is late; less than 0 when it is early."""
        return alarm.begins - (self.again if alarm.begins >= self.again - TICKS else self.begins)


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
    moved = subject.began + standstill.last.at
    seen = _after(moved, performance.deaf)
    again = max((span.ends for span in performance.deaf if moved <= span.begins <= moved + interval), default=seen)
    begins, again = (_after(instant + standstill.limit, performance.down) for instant in (seen, _after(again, performance.deaf)))
    ends = min(_after(subject.began + standstill.until, performance.down), performance.ends)
    outage = performance.outage
    if outage and any(outage.begins <= instant < outage.ends + _BACKOFF for instant in (moved, begins, again, ends)):
        interval = max(interval, _BACKOFF)
    return Due(begins, again, ends, interval, _longest(again, ends, performance.down))


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
    quiet knowledge base every 4 min, and the growth of a document that is being split every 10 min
    (``detail_interval``). An API that was unreadable is tried again after 6 min at the latest.
    """
    if not discovered:
        return _POLLING.settled_interval if move.rested else _POLLING.max_interval
    if move.grows:
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


def measure(servers: int = 44) -> list[Row]:
    """Print the tables; a row with goals for each of the circumstances."""
    verdicts, counted = run(servers)
    return [_row(circumstances, verdicts, counted[circumstances]) for circumstances in CIRCUMSTANCES]


def _row(circumstances: str, verdicts: dict[tuple[str, str], list[Verdict]], lives: int) -> Row:
    ours = verdicts[circumstances, OURS]
    found = [stall for verdict in ours for stall in verdict.stalls if stall.late is not None]
    punctual = all(-TICKS < stall.late <= stall.interval + TICKS for stall in found if stall.late is not None)
    return Row(
        f"stalls found, {lives:,} lives, {circumstances}",
        _words(ours),
        "; ".join(f"{name}: {_words(verdicts[circumstances, name])}" for name in DETECTORS[1:]),
        f"late by {max((stall.late or 0) / stall.interval for stall in found):.2f} poll intervals at most",
        "precision and recall 1, late by 1 poll interval at most",
        precision(ours) == recall(ours) == 1.0 and punctual,
    )


def _words(verdicts: Sequence[Verdict]) -> str:
    late = _lateness(verdicts)
    return (
        f"precision {precision(verdicts):.3f}, recall {recall(verdicts):.3f}, "
        f"late {_span(statistics.median(late))} / {_span(_percentile(late))} / {_span(late[-1])}"
    )


def _lateness(verdicts: Iterable[Verdict]) -> list[float]:
    return sorted(stall.late for verdict in verdicts for stall in verdict.stalls if stall.late is not None)


def _percentile(ordered: Sequence[float]) -> float:
    """The 99th."""
    return ordered[min(math.ceil(0.99 * len(ordered)), len(ordered)) - 1]


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s"


if __name__ == "__main__":
    _quiet()
    show(measure(int(sys.argv[1]) if sys.argv[1:] and sys.argv[1].isdecimal() else 44))
