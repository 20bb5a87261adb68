"""Polls the targets of one server: takes what is due, fetches it, and decides when to poll it again.

The one place where errors of requests are caught.
"""

from __future__ import annotations

import random
import threading
from itertools import chain
from math import inf
from typing import TYPE_CHECKING

import structlog

from exporter.dify import DifyError, NotFound, Stopped
from exporter.polling.breaker import PROBE_CHECK
from exporter.polling.fetch import Fetcher
from exporter.polling.health import Watched
from exporter.polling.intervals import (
    after_answer,
    after_failure,
    after_missing,
    after_partial_answer,
    longest_wait,
)
from exporter.polling.running import RunningPolls
from exporter.polling.schedule import Schedule, next_due
from exporter.polling.targets import (
    CONFIGURED_DOCUMENT,
    DATASET_LIST,
    DATASET_SCAN,
    DOCUMENT_DETAIL,
    HEARTBEAT,
    Target,
    follow_ups,
    scan_of,
    with_unused_datasets,
)
from exporter.tracking import EventLog
from exporter.tracking.model import ServerSchedule

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from exporter.clock import Clock
    from exporter.config import Polling, ServerConfig
    from exporter.dify import DifyApi
    from exporter.polling.discovery import Selection
    from exporter.polling.health import ServerHealth
    from exporter.polling.intervals import PollInterval
    from exporter.polling.target_statuses import TargetStatuses
    from exporter.tracking import Outcome, PollObserver, Store

FINISHED_LAST = 0.001
"""Seconds by which targets that were finished before a restart are scheduled behind all others."""

REFUSALS = 2
"""Refused requests for the detail of a document that no list contains before it is removed."""

_log = structlog.get_logger(__name__)


class Poller:
    """The polls of one server. ``work`` may run in several threads at once, one request each."""

    def __init__(
        self,
        server: ServerConfig,
        client: DifyApi,
        store: Store,
        statuses: TargetStatuses,
        health: ServerHealth,
        *,
        polling: Polling,
        observer: PollObserver,
        clock: Clock,
        after_poll: Callable[[], None] = lambda: None,
        jitter: Callable[[], float] = random.random,
        document_name: bool = True,
    ) -> None:
        """``after_poll`` is called after each poll, in the polling thread: rendering is done there.

        ``document_name``: whether names of documents appear in the log.
        """
        self.name = server.name
        self.store = store
        self.statuses = statuses
        self.health = health
        self.schedule = Schedule()
        self._client = client
        self._polling = polling
        self._observer = observer
        self._clock = clock
        self._after_poll = after_poll
        self._jitter = jitter
        self._running = RunningPolls(server, clock.monotonic())
        self._changes = 0
        self._lock = threading.Lock()
        self._fetcher = Fetcher(server, client, store, polling, clock=clock, last_success=statuses.last_success)
        self._event_log = EventLog(server.name, store, document_name=document_name)

    @property
    def watched(self) -> set[Target]:
        """The targets that are polled for their own sake."""
        return set(self.statuses.all())

    @property
    def unpolled(self) -> int:
        """How many targets have not been polled yet."""
        return self.statuses.unpolled

    @property
    def selection(self) -> Selection:
        """What the last list of datasets contained."""
        return self._fetcher.discovery.selection

    def watch(self, targets: Iterable[Target]) -> None:
        """Poll ``targets`` from now on; those that were finished before a restart after all others."""
        targets = list(targets)
        for dataset_id in {target.dataset_id for target in targets if target.dataset_id}:
            self.store.watch_dataset(dataset_id)
        now = self._clock.monotonic()
        for target in self.statuses.add(targets):
            last = target.type.starts_last(self.store, target.dataset_id, target.id)
            self.schedule.put(target, now + FINISHED_LAST * last)

    def unwatch(self, targets: Iterable[Target]) -> None:
        """Poll ``targets`` no more and remove their objects; a dataset stays while anything needs it."""
        self._end(with_unused_datasets(targets, self.watched, self._fetcher.discovery.holds))

    def close(self) -> None:
        """Poll nothing more and remove everything."""
        self._end(self.watched)

    def reconfigure(self, server: ServerConfig, client: DifyApi, polling: Polling) -> None:
        """Use another configuration. Polls under way end as they began; none waits longer than the new intervals."""
        with self._lock:
            before = self._fetcher
            self._running.reconfigure(server)
            self._client = client
            self._polling = polling
            self.health.reconfigure(server.url, polling)
            self._fetcher = before.reconfigured(server, client, polling)
        self._poll_released()
        now = self._clock.monotonic()
        for target, present in self.statuses.intervals().items():
            if self._is_fetched_differently(target, before):
                wait = 0.0
            else:
                wait = longest_wait(present, target.type.intervals(self._fetcher, target.dataset_id))
            self.schedule.bring_forward(target, now + wait)

    def start_over(self) -> None:
        """Poll everything now, because the server or the key is another one: what failed so far may succeed."""
        with self._lock:
            self._changes += 1
        self.health.start_over()
        self._poll_released()
        self.schedule.bring_all_forward(self._clock.monotonic())

    def close_connections(self) -> None:
        """Close idle connections at the end of a burst: the server has few of them."""
        self._client.close_connections()

    def has_due(self) -> bool:
        """Whether there is something to poll now."""
        return self.schedule.has_due(self._clock.monotonic())

    def work(self, stop: threading.Event, *, on_more: Callable[[], None] = lambda: None) -> None:
        """Poll until nothing is due any more or ``stop`` is set. ``on_more``: there is work for one more thread."""
        while not stop.is_set():
            taken = self._running.begin(self.schedule.take, self._clock.monotonic())
            if taken is None:
                return
            if self.has_due():
                on_more()
            try:
                self._poll(*taken)
            except Stopped:
                self._put_back(*taken)
                return
            except BaseException:
                self._restore(taken[0])
                raise
            finally:
                self._running.end(taken[0])
            self._after_poll()

    def problem(self) -> str | None:
        """Why nothing is polled although it is due, for people; None while all is well."""
        return self._running.problem(self.schedule.next_due(), self._clock.monotonic())

    def snapshot(self) -> ServerSchedule:
        """The schedule now, for the exporter's own metrics."""
        lag = self.schedule.lag(self._clock.monotonic())
        return ServerSchedule(self.name, lag, self.statuses.counts(), self.store.offset.seconds)

    def _restore(self, target: Target) -> None:
        """Schedule a target whose poll has ended by a bug, after a while: the next one may end in the same way."""
        self.schedule.done(target, self._clock.monotonic() + self._polling.interval)
        self.health.poll_ended(target)

    def _poll(self, target: Target, due: float) -> None:
        """Poll one target, whatever the result, and put it back into the schedule."""
        target_type, dataset_id, id_ = target
        if not target_type.is_needed(self.store, dataset_id, id_):
            self._put_back(target, None)
            return
        started = self._clock.monotonic()
        interval = self.statuses.interval(target)
        blocked_until = self.health.admit(target, started)
        if blocked_until is not None:
            self.statuses.mark_unread(target)
            blocked_until = min(blocked_until, self._confirm_refused(target))
            self._put_back(target, blocked_until, None if self.health.is_undecided(target) else interval)
            return
        again: float | None = None
        new: PollInterval | None
        changes = self._changes
        try:
            outcome = target_type.fetch(self._fetcher, dataset_id, id_)
            new = self._answered(target, interval, outcome)
            if new is not None:
                again = next_due(due, started, new.interval)
                again = again if outcome.stall_due is None else min(again, outcome.stall_due)
        except Stopped:
            raise
        except DifyError as error:
            if changes != self._changes:
                # The request was sent with another key, or to another server.
                self._put_back(target, due)
                return
            new = self._failed(target, interval, error)
            again = min(self._clock.monotonic() + new.interval, self._confirm_refused(target))
        except Exception:  # noqa: BLE001 one bug must not end all polling
            fields = target.log_fields(self.name)
            _log.exception("poll failed because of a bug in the exporter: please report it", **fields)
            self._observer.poll_failed(self.name, target_type.label, "internal")
            new = after_failure(interval, self._polling, retry_after=None, random=self._jitter)
            again = self._clock.monotonic() + new.interval
            self._invalidate(target)
            self.statuses.polled(target, success=False, now=self._clock.time(), interval=new.interval)
        self._observer.polled(self.name, target_type.label)
        self._put_back(target, again, new)

    def _put_back(self, target: Target, due: float | None, interval: PollInterval | None = None) -> None:
        """End a poll. ``due`` None: no further one; ``interval`` None: the poll was not made."""
        self.health.poll_ended(target)
        with self._lock:
            watched = self.schedule.done(target, due)
            if due is None or not watched:
                self.health.remove(target)
                self._invalidate(target)
            elif interval is not None:
                self.statuses.put_interval(target, interval)
        if target.type.is_follow_up:
            if due is None or not watched:
                self.statuses.remove([target])
        elif not watched:
            # The target was unwatched while its poll was under way: the answer must not stay.
            self._remove_objects([target])

    def _end(self, targets: Collection[Target]) -> None:
        with self._lock:
            for target in targets:
                self.schedule.remove(target)
                self.health.remove(target)
        for target in targets:
            self._invalidate(target)
        self.statuses.remove(targets)
        self._remove_objects(targets)

    def _remove_objects(self, targets: Iterable[Target]) -> None:
        """Remove the objects of targets that are no longer polled; a dataset goes with the last target in it."""
        datasets = set()
        for target in targets:
            datasets.add(target.dataset_id)
            if target.type is DATASET_SCAN:
                continue
            discovers = self._fetcher.discovery.discovers(target.dataset_id)
            if target.type is CONFIGURED_DOCUMENT and discovers:
                self._invalidate(target)
                self.store.leave_to_discovery(target.dataset_id, target.id)
            else:
                self._remove_object(target)
        for dataset_id in datasets - {target.dataset_id for target in self.watched}:
            self.store.remove_dataset(dataset_id)

    def _remove_object(self, target: Target) -> list[Target]:
        """Remove the object of ``target``; returns what to poll now."""
        self._invalidate(target)
        return list(follow_ups(target.dataset_id, target.type.on_missing(self.store, target.dataset_id, target.id)))

    def _invalidate(self, target: Target) -> None:
        self._fetcher.invalidate(target.type.name, target.dataset_id, target.id)

    def _is_fetched_differently(self, target: Target, before: Fetcher) -> bool:
        """Whether the former fetcher sent other requests: other patterns for the list, discovery switched."""
        if target.type is DATASET_SCAN:
            discovers = self._fetcher.discovery.discovers(target.dataset_id)
            return discovers != before.discovery.discovers(target.dataset_id)
        return target.type is DATASET_LIST

    def _answered(self, target: Target, interval: PollInterval, outcome: Outcome) -> PollInterval | None:
        """Process an answer. Returns the interval from now on; None: no further poll."""
        refusal = outcome.refusal
        if refusal is None and self.health.succeeded(target, version=self._client.version, now=self._clock.monotonic()):
            _log.info("poll succeeded again", failures=interval.failures, **target.log_fields(self.name))
        self._poll_released()
        self._event_log.write(outcome)
        self._follow_up(target, outcome)
        if target.type.is_follow_up and outcome.settled:
            return None
        polling = target.type.intervals(self._fetcher, target.dataset_id)
        if refusal is not None:
            new = after_partial_answer(interval, polling, moved=outcome.moved, settled=outcome.settled)
            return self._failed(target, interval, refusal, new)
        interval = after_answer(interval, polling, moved=outcome.moved, settled=outcome.settled)
        self.statuses.polled(target, success=True, now=self._clock.time(), interval=interval.interval)
        return interval

    def _follow_up(self, target: Target, outcome: Outcome) -> None:
        """Poll what the answer makes worth polling, and stop polling what has vanished."""
        now = self._clock.monotonic()
        self.watch(map(scan_of, outcome.wanted.datasets))
        if target.type is DATASET_LIST:
            # All datasets that are known, because a reload may have unwatched some that the list then returned.
            self.unwatch(map(scan_of, {*outcome.vanished, *self.store.dataset_ids}))
        for wanted in follow_ups(target.dataset_id, outcome.wanted):
            self._remove_untraced(wanted, self.statuses.interval(wanted))
            if self._is_worth_polling(wanted):
                self.schedule.put(wanted, now)
        for document_id in outcome.wanted.missing:
            self.schedule.put_new(Target(DOCUMENT_DETAIL, target.dataset_id, document_id), now)

    def _poll_released(self) -> None:
        """Poll what waited for an endpoint, or for the server, that answers again."""
        for target in self.health.take_released():
            self.schedule.bring_forward(target, self._clock.monotonic())

    def _poll_witness(self, now: float) -> None:
        """While the server is in doubt, poll a target that can show that it answers; without one it is down.

        That is a target of another type which was read, or not polled yet; otherwise the heartbeat of any dataset.
        """
        doubted = self.health.doubted
        if not doubted:
            return
        watched = (target for target, status in self.statuses.all().items() if status.success is not False)
        heartbeats = (Target(HEARTBEAT, dataset_id, "") for dataset_id in self.store.dataset_ids)
        for witness in chain(watched, heartbeats if self.health.has_other_answers else ()):
            if witness.type not in doubted and self.health.blocked_until(witness, now) is None:
                if witness.type is HEARTBEAT:
                    self._send_heartbeat(witness.dataset_id, now)
                else:
                    self.schedule.bring_forward(witness, now)
                return
        self.health.confirm_outage(doubted)

    def _send_heartbeat(self, dataset_id: str, now: float) -> None:
        heartbeat = Target(HEARTBEAT, dataset_id, "")
        if heartbeat not in self.schedule:
            self.schedule.put(heartbeat, now)

    def _is_worth_polling(self, target: Target) -> bool:
        if not target.type.is_follow_up:
            return target in self.statuses
        if target not in self.schedule:
            return True
        # A request that was refused is repeated after its backoff, however often its answer is missed.
        failed = self.statuses.interval(target).state in ("failing", "gone")
        return not failed and not target.type.keeps_schedule(self.store, target.dataset_id, target.id)

    def _confirm_refused(self, target: Target) -> float:
        """Let lists speak for a document about which requests are refused, as far as the server answers and lists are.

        Returns the monotonic second at which to do so again; inf: no need.
        """
        scan = self.statuses.get(scan_of(target.dataset_id))
        if scan is None or not scan.success or not self.health.is_refused(target):
            return inf
        if self.health.doubted:
            return self._clock.monotonic() + PROBE_CHECK
        outcome = target.type.on_refused(self._fetcher, target.dataset_id, target.id)
        self._event_log.write(outcome)
        return inf if outcome.stall_due is None else outcome.stall_due

    def _remove_untraced(self, target: Target, interval: PollInterval) -> None:
        """Remove a document that no list contains any more and whose detail was refused twice: nobody knows its end."""
        refused = interval.state in ("failing", "gone") and interval.failures >= REFUSALS
        if target.type is not DOCUMENT_DETAIL or not refused:
            return
        if self.store.remove_untraced(target.dataset_id, target.id):
            fields = target.log_fields(self.name)
            _log.info("document removed: no list contains it, and Dify refuses its detail", **fields)

    def _failed(
        self, target: Target, interval: PollInterval, error: DifyError, new: PollInterval | None = None
    ) -> PollInterval:
        """Process a failure. Returns the interval from now on: ``new``, if only a part of the request failed."""
        now = self._clock.monotonic()
        self._observer.poll_failed(self.name, target.type.label, error.reason)
        watched = Watched(len(self.statuses), self.statuses.count(target.type))
        self.health.failed(target, error, version=self._client.version, now=now, watched=watched)
        self._poll_released()
        self._poll_witness(now)
        if target.dataset_id and self.health.needs_heartbeat(now):
            self._send_heartbeat(target.dataset_id, now)
        if new is not None:
            pass
        elif isinstance(error, NotFound) and (error.gone or target.type.is_follow_up):
            for wanted in self._remove_object(target) if error.gone else ():
                self.schedule.bring_forward(wanted, self._clock.monotonic())
            new = after_missing(interval, self._polling)
        else:
            new = after_failure(interval, self._polling, retry_after=error.retry_after, random=self._jitter)
        if interval.state != new.state and self.health.is_own_failure(target):
            _log.warning(
                "target not found" if new.state == "gone" else "poll failed",
                reason=error.reason,
                error=str(error),
                retry_in=round(new.interval),
                **target.log_fields(self.name),
            )
        self.statuses.polled(target, success=False, now=self._clock.time(), interval=new.interval)
        if error.status is not None:
            self._remove_untraced(target, new)
        return new
