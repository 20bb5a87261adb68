"""Whether one server answers: the one place that knows, for ``dify_up``, the log, the breaker and the pages.

Every poll reports its result here. What a failure says about the server:

- *up*: Dify answered and accepted the key, although it refused or garbled this one object.
- *unreachable*: the server was not reached. It is down; once ``SUSPECT_TARGETS`` different targets have failed like
  this without an answer in between, nothing is polled for a while.
- *refused* (401) and *suspect* (5xx, time-outs, answers that are not Dify's): the endpoint or the server may be at
  fault. A 401 closes the target type for a while; a suspect failure does once ``SUSPECT_TARGETS`` different targets of
  the type have failed in a row, or the heartbeat has, which is sent when nothing has been answered for
  ``HEARTBEAT_AFTER``. The server is *in doubt* from then on: the poller polls targets of other types (witnesses). An
  answer shows that only the endpoint is at fault; the server is down when no type is left that might answer.
- *nothing*: 404s and rate limits. A rate limit closes the target type.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from math import inf
from typing import TYPE_CHECKING, Literal, NamedTuple

import structlog
from msgspec.structs import replace

from exporter.dify import (
    BadAnswer,
    BadRequest,
    Forbidden,
    NotFound,
    RateLimited,
    ServerFailed,
    TimedOut,
    Unauthorized,
    Unreachable,
)
from exporter.polling.breaker import SERVER, Breaker, PollFailure, Scope
from exporter.polling.intervals import backoff
from exporter.polling.targets import DOCUMENT_DETAIL, HEARTBEAT, Target
from exporter.tracking.model import ServerStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from exporter.config import Polling
    from exporter.dify import DifyError
    from exporter.polling.targets import TargetType
    from exporter.tracking.model import ChangeListener, Document

SUSPECT_TARGETS = 3
"""Different targets that have to fail in a row before their failures are their type's; fewer where there are fewer."""

HEARTBEAT_AFTER = 60.0
"""Seconds without an answer after which a suspect failure calls for a heartbeat."""

_NOT_IMPLEMENTED = 501

_log = structlog.get_logger(__name__)

Evidence = Literal["up", "unreachable", "refused", "suspect", "nothing"]


class Watched(NamedTuple):
    """How many targets are polled for their own sake: of the server, and of the type of one target."""

    targets: int
    of_type: int


def evidence_of(error: DifyError) -> Evidence:
    """What a failed request says about the server."""
    evidence: Evidence = "suspect"
    match error:
        case TimedOut():
            pass
        case Unreachable():
            evidence = "unreachable"
        case Unauthorized():
            evidence = "refused"
        case NotFound() | RateLimited():
            evidence = "nothing"
        case BadRequest():
            evidence = "up"
        case Forbidden() | BadAnswer() if error.by_dify:
            evidence = "up"
    return evidence


def is_refusal(error: DifyError) -> bool:
    """Whether the server will not answer such a request at all. Otherwise it may do so later."""
    return isinstance(error, (NotFound, Forbidden, Unauthorized, BadRequest)) or error.status == _NOT_IMPLEMENTED


class ServerHealth:
    """The state of one server. Thread-safe."""

    def __init__(
        self, server: str, url: str, *, listener: ChangeListener, polling: Polling, random: Callable[[], float]
    ) -> None:
        """``random`` returns numbers from 0 to 1, for the jitter of the breaker."""
        self._server = server
        self._listener: ChangeListener | None = listener
        self._polling = polling
        self._random = random
        self._lock = threading.Lock()
        self._status = ServerStatus(server, url)
        self._failures: dict[Target, PollFailure] = {}
        self._logged: set[Target] = set()
        self._breaker = Breaker()
        self._released: dict[Target, None] = {}
        self._suspects: defaultdict[TargetType, set[Target]] = defaultdict(set)
        self._unreachable: set[Target] = set()
        self._answered_types: set[TargetType] = set()
        self._doubted: frozenset[TargetType] = frozenset()
        self._doubt = PollFailure("", "")
        self._reported: set[str] = set()
        self._unavailable = ""
        self._answered_at = -inf
        listener.changed([(None, self._status)])

    @property
    def status(self) -> ServerStatus:
        """The server as the last poll found it."""
        return self._status

    @property
    def unavailable(self) -> str:
        """The reason of the last failure while the server is unavailable, else ""."""
        return self._unavailable

    @property
    def doubted(self) -> frozenset[TargetType]:
        """While it is open whether the server is at fault: the types that have failed. Else empty."""
        return self._doubted

    @property
    def has_other_answers(self) -> bool:
        """Whether a type of targets that is not in doubt was answered at last."""
        return bool(self._answered_types - self._doubted - {HEARTBEAT})

    @property
    def awaits_probe(self) -> bool:
        """Whether targets wait for the first probe of their type, which decides if they can be read."""
        return not self._unavailable and self._breaker.awaits_probe()

    def admit(self, target: Target, now: float) -> float | None:
        """None: poll ``target`` now, and report the result; otherwise the monotonic second until which it waits."""
        with self._lock:
            return self._breaker.admit(target, now)

    def blocked_until(self, target: Target, now: float) -> float | None:
        """What ``admit`` would return."""
        with self._lock:
            return self._breaker.blocked_until(target, now)

    def is_undecided(self, target: Target) -> bool:
        """Whether ``target``, which waits, may still be read by the first probe of its type."""
        with self._lock:
            return not self._unavailable and self._breaker.awaits_probe(target)

    def take_released(self) -> list[Target]:
        """The targets that waited for what is answered again, each once and the longest first: poll them now."""
        if not self._released:
            return []
        with self._lock:
            released, self._released = self._released, {}
            return list(released)

    def needs_heartbeat(self, now: float) -> bool:
        """Whether only a request that concerns no single object can tell if the server is at fault."""
        with self._lock:
            is_suspect = bool(self._unreachable) or any(self._suspects.values())
            is_known = self._unavailable or self._doubted
            return is_suspect and not is_known and now - self._answered_at >= HEARTBEAT_AFTER

    def succeeded(self, target: Target, *, version: str, now: float) -> bool:
        """Report an answer. True when a failure of this target was logged, so that its recovery is worth a line."""
        with self._lock:
            self._failures.pop(target, None)
            self._answered(target, now)
            self._close(Scope(target.type, target.dataset_id))
            self._update(up=True, version=version)
            if target not in self._logged:
                return False
            self._logged.discard(target)
            return True

    def failed(self, target: Target, error: DifyError, *, version: str, now: float, watched: Watched) -> None:
        """Report a failed request. ``now``: monotonic seconds."""
        evidence = evidence_of(error)
        with self._lock:
            failure = self._failures[target] = PollFailure(error.reason, str(error), is_refusal(error))
            probed = self._breaker.probed(target)
            if evidence == "up":
                self._answered(target, now)
            else:
                self._answered_types.discard(target.type)
            self._update(up={"up": True, "unreachable": False}.get(evidence), version=version)
            if evidence == "unreachable":
                self._unreachable.add(target)
                if len(self._unreachable) >= min(SUSPECT_TARGETS, watched.targets):
                    self._report_unavailable(failure)
                    self._open(SERVER, target, error, now)
            elif not isinstance(error, TimedOut):
                self._unreachable.clear()
                self._close(SERVER)
            if evidence == "nothing":
                self._found_nothing(target, error)
            elif self._doubted and evidence != "up":
                self._doubted |= {target.type}
            closed = self._closed_by(target, error, evidence, watched.of_type)
            if evidence == "up" and not closed:
                self._close(Scope(target.type, target.dataset_id))
            for scope in {*closed, *filter(self._breaker.failures_of, probed)}:
                is_new = self._open(scope, target, error, now)
                if is_new and evidence in ("refused", "suspect") and scope in (*closed, Scope(target.type)):
                    self._doubt_server(target, failure)

    def confirm_outage(self, doubted: frozenset[TargetType]) -> None:
        """No other target can show that the server answers: it is down, unless an answer has arrived meanwhile."""
        with self._lock:
            if doubted and doubted == self._doubted:
                self._update(up=False, version="")
                self._report_unavailable(self._doubt)

    def is_own_failure(self, target: Target) -> bool:
        """Whether the failure of ``target`` is worth a log line: one is enough for a server, and for a type."""
        with self._lock:
            if self._unavailable or self._breaker.failures(target) > 1:
                return False
            self._logged.add(target)
            return True

    def poll_ended(self, target: Target) -> None:
        """The poll of ``target`` has ended, perhaps without a report: another one may be the probe."""
        with self._lock:
            self._breaker.poll_ended(target)

    def remove(self, target: Target) -> None:
        """``target`` is no longer polled."""
        with self._lock:
            self._failures.pop(target, None)
            self._logged.discard(target)
            self._suspects[target.type].discard(target)
            self._unreachable.discard(target)
            self._breaker.remove(target)

    def reconfigure(self, url: str, polling: Polling) -> None:
        """Use another configuration. Whatever waits is tried again now, by one probe each."""
        with self._lock:
            self._polling = polling
            self._released |= dict.fromkeys(self._breaker.end_waits())
            self._publish(replace(self._status, url=url))

    def start_over(self) -> None:
        """Another server or key is used from now on: failures so far say nothing about it."""
        with self._lock:
            self._released |= dict.fromkeys(self._breaker.close_all())
            self._suspects.clear()
            self._unreachable.clear()
            self._answered_types.clear()
            self._doubted = frozenset()
            self._reported.clear()

    def close(self) -> None:
        """The server is no longer watched: late reports reach nobody."""
        with self._lock:
            if self._listener is not None:
                self._listener.changed([(self._status, None)])
            self._listener = None

    def failure(self, target: Target) -> PollFailure | None:
        """Why ``target`` is not read: its own last failure, or the one for which it waits. None: it is read."""
        failure = self._failures.get(target)
        if failure is not None:
            return failure
        with self._lock:
            return self._breaker.failure(target)

    def is_refused(self, target: Target) -> bool:
        """Whether requests about ``target`` are not answered at all, although the server is not known to be down."""
        with self._lock:
            failure = self._breaker.failure(target) or self._failures.get(target)
            return not self._unavailable and failure is not None and failure.refusal

    def problem(self, target: Target) -> str:
        """Why ``target`` is not read, for people; "" when no reason is known."""
        failure = self.failure(target)
        return failure.text if failure else self._unavailable

    def failures_of_details(self, documents: Iterable[Document]) -> list[PollFailure | None]:
        """For each document whose detail is missing: why, as far as that is known; None while it may still be read.

        Documents that do not exist are left out, and with them all documents of a server that has no details.
        """
        targets = [
            Target(DOCUMENT_DETAIL, document.dataset_id, document.document_id)
            for document in documents
            if document.detail is None
        ]
        failures = [
            None if target not in self._failures and self.is_undecided(target) else self.failure(target)
            for target in targets
        ]
        return [failure for failure in failures if failure is None or failure.reason != NotFound.reason]

    def failure_reasons(self) -> set[str]:
        """The reasons of all present failures."""
        return {failure.reason for failure in list(self._failures.values())}

    def _answered(self, target: Target, now: float) -> None:
        """Dify has answered a request for a target, and accepted the key."""
        self._answered_at = now
        self._answered_types.add(target.type)
        self._suspects[target.type].clear()
        self._unreachable.clear()
        self._doubted = frozenset()
        self._close(SERVER, Scope(target.type))
        self._reported.clear()
        if self._unavailable:
            self._unavailable = ""
            _log.info("Dify server available again", server=self._server)

    def _found_nothing(self, target: Target, error: DifyError) -> None:
        """A 404 or a rate limit: no answer, but no failure of the server either."""
        if isinstance(error, NotFound):
            self._close(Scope(target.type), Scope(target.type, target.dataset_id))
            self._suspects[target.type].clear()
            if error.gone:
                # Dify looks for an object after it has accepted the key.
                self._doubted = frozenset()
        if self._doubted:
            self._doubted |= {target.type}

    def _closed_by(self, target: Target, error: DifyError, evidence: Evidence, of_type: int) -> set[Scope]:
        """The scopes that are not polled for a while because of a failure."""
        scopes = set()
        if isinstance(error, Forbidden):
            scopes.add(Scope(target.type, target.dataset_id))
        if isinstance(error, (Unauthorized, RateLimited)):
            scopes.add(Scope(target.type))
        if evidence == "suspect":
            suspects = self._suspects[target.type]
            suspects.add(target)
            is_heartbeat = target.type is HEARTBEAT and isinstance(error, (ServerFailed, TimedOut))
            enough = SUSPECT_TARGETS if target.type.is_follow_up else min(SUSPECT_TARGETS, of_type)
            if is_heartbeat or len(suspects) >= enough or self._unavailable:
                scopes.add(Scope(target.type))
        return scopes

    def _doubt_server(self, target: Target, failure: PollFailure) -> None:
        """The failure of a type, or of a gateway in front of it, may be that of the whole server."""
        if self._unavailable:
            self._report_unavailable(failure)
        else:
            self._doubted |= {target.type}
            self._doubt = failure

    def _report_unavailable(self, failure: PollFailure) -> None:
        self._unavailable = failure.reason
        self._doubted = frozenset()
        if failure.reason not in self._reported:
            self._reported.add(failure.reason)
            _log.error("Dify server unavailable", server=self._server, reason=failure.reason, error=failure.text)

    def _open(self, scope: Scope, target: Target, error: DifyError, now: float) -> bool:
        """Open a scope, for longer after each failed probe. False: the request was sent before it opened."""
        failures = self._breaker.failures_of(scope) + 1
        wait = max(backoff(failures, self._polling, random=self._random), error.retry_after or 0.0)
        failure = PollFailure(error.reason, str(error), is_refusal(error))
        also = self._suspects[target.type]
        return self._breaker.open(scope, target, failure, wait=wait, now=now, also=also, final=failure.refusal)

    def _close(self, *scopes: Scope) -> None:
        self._released |= dict.fromkeys(self._breaker.close(*scopes))

    def _update(self, *, up: bool | None, version: str) -> None:
        old = self._status
        self._publish(replace(old, version=version or old.version, up=old.up if up is None else up))

    def _publish(self, new: ServerStatus) -> None:
        old, self._status = self._status, new
        if new != old and self._listener is not None:
            self._listener.changed([(old, new)])
