"""Whether one server answers: the one place that knows, for ``dify_up``, the log, the breaker and the pages.

Every poll reports its result here. What a failure says about the server:

- *up*: Dify answered and accepted the key, although it refused or garbled this one object.
- *down*: the server was not reached, or it refused the key.
- *suspect*: the server or this one object may be at fault (5xx, time-outs, answers that are not Dify's). The server
  counts as down once ``SUSPECT_TARGETS`` different targets have failed like this without an answer in between, or the
  heartbeat has, which is sent when nothing has been answered for ``HEARTBEAT_AFTER``.
- *nothing*: 404s and rate limits.
"""

from __future__ import annotations

import threading
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
from exporter.polling.intervals import backoff
from exporter.polling.targets import DOCUMENT_DETAIL, HEARTBEAT, Target
from exporter.tracking.model import ServerStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from exporter.config import Polling
    from exporter.dify import DifyError
    from exporter.tracking.model import ChangeListener, Document

SUSPECT_TARGETS = 3
"""Different targets that have to fail in a row before their failures are the server's; fewer where there are fewer."""

HEARTBEAT_AFTER = 60.0
"""Seconds without an answer after which a suspect failure calls for a heartbeat."""

_SERVER = ""
"""The scope of refusals that concern every target; others have a dataset's id."""

_log = structlog.get_logger(__name__)

Evidence = Literal["up", "down", "suspect", "nothing"]


class PollFailure(NamedTuple):
    """Why the last poll of a target failed: the label ``reason`` of the metrics, and a text for people."""

    reason: str
    text: str


def evidence_of(error: DifyError) -> Evidence:
    """What a failed request says about the server."""
    match error:
        case TimedOut():
            return "suspect"
        case Unreachable() | Unauthorized():
            return "down"
        case NotFound() | RateLimited():
            return "nothing"
        case BadRequest():
            return "up"
        case Forbidden() | BadAnswer():
            return "up" if error.by_dify else "suspect"
        case _:
            return "suspect"


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
        self._suspects: set[Target] = set()
        self._refused_until: dict[str, tuple[int, float]] = {}
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

    def blocked_until(self, target: Target, now: float) -> float | None:
        """The monotonic second before which ``target`` must not be polled; None: poll it."""
        if not self._refused_until:
            return None
        until = max(self._refused_until.get(scope, (0, 0.0))[1] for scope in (_SERVER, target.dataset_id))
        return until if until > now else None

    def needs_heartbeat(self, now: float) -> bool:
        """Whether only a request that concerns no single object can tell if the server is at fault."""
        with self._lock:
            return bool(self._suspects) and not self._unavailable and now - self._answered_at >= HEARTBEAT_AFTER

    def succeeded(self, target: Target, *, version: str, now: float) -> bool:
        """Report an answer. True when a failure of this target was logged, so that its recovery is worth a line."""
        with self._lock:
            self._answered_at = now
            self._failures.pop(target, None)
            self._refused_until.pop(target.dataset_id, None)
            self._answered()
            self._update(up=True, version=version)
            if target not in self._logged:
                return False
            self._logged.discard(target)
            return True

    def failed(self, target: Target, error: DifyError, *, version: str, now: float, targets: int) -> None:
        """Report a failed request. ``now``: monotonic seconds; ``targets``: how many targets are watched."""
        evidence = evidence_of(error)
        with self._lock:
            self._failures[target] = PollFailure(error.reason, str(error))
            if evidence == "up":
                self._answered_at = now
                self._answered()
                self._update(up=True, version=version)
            elif evidence == "nothing":
                if error.by_dify and not self._unavailable:
                    self._suspects.clear()
                self._update(up=None, version=version)
            else:
                self._suspects.add(target)
                is_heartbeat = target.type is HEARTBEAT and isinstance(error, (ServerFailed, TimedOut))
                is_outage = is_heartbeat or len(self._suspects) >= min(SUSPECT_TARGETS, targets)
                is_down = is_outage or evidence == "down" or self._unavailable
                self._update(up=False if is_down else None, version=version)
                if is_outage or isinstance(error, Unauthorized):
                    self._report_unavailable(error)
            self._refuse(target, error, evidence, now)

    def is_own_failure(self, target: Target) -> bool:
        """Whether the failure of ``target`` is worth a log line: while the server is unavailable one line is enough."""
        with self._lock:
            if self._unavailable:
                return False
            self._logged.add(target)
            return True

    def remove(self, target: Target) -> None:
        """``target`` is no longer polled."""
        with self._lock:
            self._failures.pop(target, None)
            self._logged.discard(target)
            self._suspects.discard(target)

    def reconfigure(self, url: str, polling: Polling) -> None:
        """The server is reached in another way from now on: what it refused so far says nothing about that."""
        with self._lock:
            self._polling = polling
            self._refused_until.clear()
            self._suspects.clear()
            self._publish(replace(self._status, url=url))

    def close(self) -> None:
        """The server is no longer watched: late reports reach nobody."""
        with self._lock:
            if self._listener is not None:
                self._listener.changed([(self._status, None)])
            self._listener = None

    def failure(self, target: Target) -> PollFailure | None:
        """Why the last poll of ``target`` failed; None when it succeeded."""
        return self._failures.get(target)

    def problem(self, target: Target) -> str:
        """Why ``target`` is not read, for people; "" when no reason is known."""
        failure = self._failures.get(target)
        return failure.text if failure else self._unavailable

    def refusal_of_dataset(self, dataset_id: str) -> PollFailure | None:
        """Why nothing in a dataset is read: Dify refused access to it."""
        failures = (failure for target, failure in list(self._failures.items()) if target.dataset_id == dataset_id)
        return next((failure for failure in failures if failure.reason == Forbidden.reason), None)

    def failures_of_details(self, documents: Iterable[Document]) -> list[PollFailure | None]:
        """For each document whose detail is missing: why, as far as that is known.

        Documents that do not exist are left out, and with them all documents of a server that has no details.
        """
        failures = [
            self.failure(Target(DOCUMENT_DETAIL, document.dataset_id, document.document_id))
            for document in documents
            if document.detail is None
        ]
        return [failure for failure in failures if failure is None or failure.reason != NotFound.reason]

    def failure_reasons(self) -> set[str]:
        """The reasons of all present failures."""
        return {failure.reason for failure in list(self._failures.values())}

    def _answered(self) -> None:
        self._suspects.clear()
        self._reported.clear()
        self._refused_until.pop(_SERVER, None)
        if self._unavailable:
            self._unavailable = ""
            _log.info("Dify server available again", server=self._server)

    def _report_unavailable(self, error: DifyError) -> None:
        self._unavailable = error.reason
        if error.reason not in self._reported:
            self._reported.add(error.reason)
            _log.error("Dify server unavailable", server=self._server, reason=error.reason, error=str(error))

    def _refuse(self, target: Target, error: DifyError, evidence: Evidence, now: float) -> None:
        """Open the breaker: for every target of the server, or for those of one dataset."""
        if isinstance(error, (Unauthorized, RateLimited)):
            scope = _SERVER
        elif isinstance(error, Forbidden):
            scope = target.dataset_id
        elif evidence in ("down", "suspect") and (
            len(self._suspects) >= SUSPECT_TARGETS or _SERVER in self._refused_until or target.type is HEARTBEAT
        ):
            scope = _SERVER
        else:
            return
        failures, until = self._refused_until.get(scope, (0, 0.0))
        if until > now:
            # The request was sent before the breaker opened.
            return
        wait = max(backoff(failures + 1, self._polling, random=self._random), error.retry_after or 0.0)
        self._refused_until[scope] = failures + 1, now + wait

    def _update(self, *, up: bool | None, version: str) -> None:
        old = self._status
        self._publish(replace(old, version=version or old.version, up=old.up if up is None else up))

    def _publish(self, new: ServerStatus) -> None:
        old, self._status = self._status, new
        if new != old and self._listener is not None:
            self._listener.changed([(old, new)])
