"""Polls the targets of one server: takes what is due, fetches it, updates the store and schedules the next poll.

The only place where errors of polls are caught.
"""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

import structlog

from exporter.dify import DifyError, NotFound, Stopped
from exporter.polling.breaker import Breaker
from exporter.polling.fetch import Fetcher
from exporter.polling.intervals import PollInterval, after_answer, after_failure, after_gone, longest
from exporter.polling.problems import Problems
from exporter.polling.schedule import Schedule, next_due
from exporter.polling.service import Service
from exporter.polling.target_intervals import PollIntervals
from exporter.tracking.event_log import EventLog
from exporter.tracking.model import ServerSchedule
from exporter.tracking.parse import FINISHED
from exporter.tracking.targets import Target, with_bases

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from exporter.clock import Clock
    from exporter.config import Polling, ServerConfig
    from exporter.dify.api import Upstream
    from exporter.polling.target_statuses import TargetStatuses
    from exporter.tracking.model import PollObserver
    from exporter.tracking.outcome import Outcome
    from exporter.tracking.store import Store

SETTLED_LAST = 0.001
"""Seconds by which targets that were finished before a restart are queued behind all others."""

_log = structlog.get_logger(__name__)


class Poller:
    """Polls one server. ``work`` may run in several threads at once, with one request each."""

    def __init__(
        self,
        server: ServerConfig,
        client: Upstream,
        store: Store,
        statuses: TargetStatuses,
        polling: Polling,
        *,
        observer: PollObserver,
        clock: Clock,
        after_poll: Callable[[], None] = lambda: None,
        jitter: Callable[[], float] = random.random,
        document_name: bool = True,
    ) -> None:
        """``after_poll`` is called after each poll, in the polling thread: pending rendering is done there.

        ``document_name``: whether names of documents are logged.
        """
        self.name = server.name
        self.store = store
        self.statuses = statuses
        self._client = client
        self.schedule = Schedule()
        self._polling = polling
        self._observer = observer
        self._clock = clock
        self._after_poll = after_poll
        self._jitter = jitter
        self._breaker = Breaker(polling, random=jitter)
        self._lock = threading.Lock()
        self._intervals = PollIntervals()
        self._fetcher = Fetcher(server, client, store, polling, clock=clock)
        self.problems = Problems()
        self._service = Service(server.name)
        self._event_log = EventLog(server.name, store, document_name=document_name)

    def watch(self, targets: Iterable[Target]) -> None:
        """Poll ``targets`` from now on. Those that were finished before a restart come last."""
        targets = list(targets)
        self.statuses.add(targets)
        for dataset_id in {target.dataset_id for target in targets if target.dataset_id}:
            self.store.open_dataset(dataset_id)
        now = self._clock.monotonic()
        with self._lock:
            for target in targets:
                if self._intervals.add(target):
                    self.schedule.put(target, now + SETTLED_LAST * self.store.was_settled(target))

    @property
    def watched(self) -> set[Target]:
        """The targets that are polled, without follow-ups."""
        return self._intervals.targets()

    def leave(self, targets: Iterable[Target]) -> None:
        """Stop polling ``targets`` and remove their objects. Datasets stay as long as anything refers to them."""
        self._end(with_bases(targets, self.watched, self._fetcher.holds))

    def close(self) -> None:
        """Stop polling and remove all objects."""
        self._end(self.watched)

    def change(self, server: ServerConfig, client: Upstream, polling: Polling) -> None:
        """Apply a changed configuration. Running polls finish as they started; no target waits longer than it says."""
        with self._lock:
            before = self._fetcher
            self._client = client
            self._polling = polling
            self._breaker = Breaker(polling, random=self._jitter)
            self._fetcher = before.changed(server, client, polling)
        now = self._clock.monotonic()
        for target, pace in self._intervals.all().items():
            wait = 0.0 if self._fetcher.asks_anew(target, before) else longest(pace, self._fetcher.rhythm(target))
            self.schedule.hasten(target, now + wait)

    def unwatch(self, targets: Iterable[Target]) -> None:
        """Stop polling ``targets``. Removing their objects is up to the caller."""
        targets = list(targets)
        with self._lock:
            for target in targets:
                self.schedule.drop(target)
                self._intervals.drop(target)
                self.problems.forget(target)
        for target in targets:
            self._fetcher.forget(target)
        self.statuses.drop(targets)

    @property
    def unpolled(self) -> int:
        """Number of targets that have not been polled yet."""
        return self._intervals.unpolled

    def close_connections(self) -> None:
        """Close the connections at the end of a burst: the server has only a few."""
        self._client.close_connections()

    def problem(self, target: Target) -> str:
        """Why the last poll of ``target`` failed, for people; "" if no failure is known."""
        known = self.problems.of(target)
        return known.text if known else self._service.trouble

    def has_due(self) -> bool:
        """Whether a target is due."""
        return self.schedule.has_due(self._clock.monotonic())

    def work(self, stop: threading.Event, *, on_more: Callable[[], None] = lambda: None) -> None:
        """Poll until nothing is due or ``stop`` is set. ``on_more`` is called if there is work for one more thread."""
        while not stop.is_set():
            taken = self.schedule.take(self._clock.monotonic())
            if taken is None:
                return
            if self.has_due():
                on_more()
            try:
                self._poll(*taken)
            except Stopped:
                self._put_back(*taken)
                return
            self._after_poll()

    def snapshot(self) -> ServerSchedule:
        """The current schedule, for the exporter's own metrics."""
        lag = self.schedule.lag(self._clock.monotonic())
        return ServerSchedule(self.name, lag, self._intervals.counts(), self.store.offset.seconds)

    def _poll(self, target: Target, due: float) -> None:
        """Poll one target, handle its errors and put it back into the schedule."""
        if target.is_step and self.store.document(target.dataset_id, target.id) is None:
            self._put_back(target, None)
            return
        started = self._clock.monotonic()
        pace = self._intervals.of(target)
        closed_until = self._breaker.closed_until(target, started)
        if closed_until is not None:
            self.statuses.mark_unread(target)
            self._put_back(target, closed_until, pace)
            return
        try:
            outcome = self._fetcher.ask(target)
        except DifyError as error:
            pace = self._failed(target, pace, error)
        except Stopped:
            raise
        except Exception:  # noqa: BLE001 one bug must not end all polling
            _log.exception("poll failed because of a bug in the exporter: please report it", **target.words(self.name))
            self._observer.poll_failed(self.name, target.metric_kind, "internal")
            pace = after_failure(pace, self._polling, retry_after=None, random=self._jitter)
            self._fetcher.forget(target)
            self.statuses.note(target, success=False, now=self._clock.time(), interval=pace.interval)
        else:
            answered = self._answered(target, pace, outcome)
            self._observer.polled(self.name, target.metric_kind)
            again = next_due(due, started, answered.interval) if answered else None
            if again is not None and outcome.verdict_at is not None:
                again = min(again, outcome.verdict_at)
            self._put_back(target, again, answered)
            return
        self._observer.polled(self.name, target.metric_kind)
        self._put_back(target, self._clock.monotonic() + pace.interval, pace)

    def _put_back(self, target: Target, due: float | None, pace: PollInterval | None = None) -> None:
        """Reschedule a target after a poll, or after a skipped one, which keeps its interval. ``due`` None: never."""
        with self._lock:
            watched = self.schedule.done(target, due)
            if due is None or not watched:
                self._intervals.drop(target)
                self.problems.forget(target)
                self._fetcher.forget(target)
            elif pace is not None:
                self._intervals.note(target, pace)
        if not watched and not target.is_step:
            # It was unwatched during its poll: remove what the poll stored.
            self._forget([target])

    def _end(self, targets: Collection[Target]) -> None:
        self.unwatch(targets)
        self._forget(targets)

    def _forget(self, targets: Iterable[Target]) -> None:
        """Remove the objects of unwatched targets; those of a dataset with the last target in it."""
        datasets = set()
        for target in targets:
            datasets.add(target.dataset_id)
            if target.kind != "dataset":
                self._fetcher.left(target)
        for dataset_id in datasets - {target.dataset_id for target in self.watched}:
            self.store.forget_dataset(dataset_id)

    def _answered(self, target: Target, pace: PollInterval, outcome: Outcome) -> PollInterval | None:
        """Record a successful poll. Returns the interval from now on; None: no further poll."""
        self._breaker.answered(target)
        self.problems.forget(target)
        self.statuses.note_server(up=True, version=self._client.version)
        self._service.answers()
        if pace.state in ("failing", "gone"):
            _log.info("poll succeeded again", failures=pace.failures, **target.words(self.name))
        self._event_log.tell(outcome)
        self._follow(target, outcome)
        if target.is_step and outcome.settled:
            return None
        pace = after_answer(pace, self._fetcher.rhythm(target), moved=outcome.moved, settled=outcome.settled)
        self.statuses.note(target, success=True, now=self._clock.time(), interval=pace.interval)
        return pace

    def _follow(self, target: Target, outcome: Outcome) -> None:
        """Schedule the targets that a poll asks for, and stop polling those that it ends."""
        now = self._clock.monotonic()
        self.watch(found for found in outcome.wanted if found.kind == "dataset")
        if target.kind == "datasets":
            # Check all known datasets: a list fetched during a reload may have restored some that the reload removed.
            known = [Target("dataset", dataset_id, dataset_id) for dataset_id in self.store.dataset_ids]
            self.leave([*outcome.dropped, *known])
        for wanted in outcome.wanted:
            if self._is_worth(wanted):
                self.schedule.put(wanted, now)

    def _is_worth(self, target: Target) -> bool:
        """Whether to poll ``target`` at once. A segment count keeps its own interval until the document finishes."""
        match target.kind:
            case "batch" | "dataset" | "document":
                return target in self._intervals
            case "segments":
                document = self.store.document(target.dataset_id, target.id)
                return target not in self.schedule or document is None or document.progress.status in FINISHED
            case kind:
                return kind == "detail"

    def _failed(self, target: Target, pace: PollInterval, error: DifyError) -> PollInterval:
        """Record a failed poll. Returns the interval from now on."""
        self._observer.poll_failed(self.name, target.metric_kind, error.reason)
        self._breaker.failed(target, error, self._clock.monotonic())
        self.problems.note(target, error)
        self.statuses.note_server(up=error.accepted, version=self._client.version)
        if error.accepted:
            self._service.answers()
        elif error.accepted is False:
            self._service.fails(target, error, len(self.watched))
        if isinstance(error, NotFound) and (error.gone or target.is_step):
            for left in self._fetcher.gone(target) if error.gone else ():
                self.schedule.hasten(left, self._clock.monotonic())
            new = after_gone(pace, self._polling)
        else:
            new = after_failure(pace, self._polling, retry_after=error.retry_after, random=self._jitter)
        if pace.state != new.state:
            _log.warning(
                "target not found" if new.state == "gone" else "poll failed",
                reason=error.reason,
                error=str(error),
                retry_in=round(new.interval),
                **target.words(self.name),
            )
        self.statuses.note(target, success=False, now=self._clock.time(), interval=new.interval)
        return new
