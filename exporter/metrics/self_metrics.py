"""The metrics about the exporter itself, counted by prometheus-client in a separate registry."""

from __future__ import annotations

import os
import platform
import threading
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain, product
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from prometheus_client import Counter, Histogram, PlatformCollector, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from exporter import __version__
from exporter.dify import DifyError
from exporter.metrics.catalog import SELF_METRICS
from exporter.metrics.families import encodable
from exporter.metrics.formats import Format
from exporter.tracking.model import KINDS, TARGET_STATES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client import Metric

    from exporter.state import StateFile
    from exporter.tracking.model import Kind, ServerSchedule

_END = b"# EOF\n"
_REVISION = "DIFY_EXPORTER_REVISION"

_ROWS = {row.name: row for row in SELF_METRICS}


def _reasons(error: type[DifyError]) -> Iterator[str]:
    subclasses = error.__subclasses__()
    if not subclasses:
        yield error.reason
    for subclass in subclasses:
        yield from _reasons(subclass)


REASONS = tuple(dict.fromkeys(_reasons(DifyError)))
"""Every reason for a failed poll in the error tree."""

_DURATION_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_UNKNOWN_FIELDS = ("indexing_status", "display_status")

_STATUSES = frozenset(f"{status:d}" for status in (*HTTPStatus, *range(520, 528)))
"""The statuses of HTTP and, from 520, those of Cloudflare."""

_M = TypeVar("_M", Counter, Histogram)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessState:
    """What ``SelfMetrics`` reads at each scrape. A source that is None has no series.

    ``schedules``: lag, targets and clock offset of each server. ``collapsed``: number of documents without series, by
    server and dataset. ``dropped_log_lines``: how many lines of the log could not be written. ``web_config_loaded``:
    whether the current web config file is in use. ``web_certificate``: from when and until when the exporter's own TLS
    certificate is valid, in Unix seconds.
    """

    schedules: Callable[[], Iterable[ServerSchedule]]
    collapsed: Callable[[], Mapping[tuple[str, str], int]]
    dropped_log_lines: Callable[[], int] = lambda: 0
    state_file: StateFile | None = None
    web_config_loaded: Callable[[], bool] | None = None
    web_certificate: Callable[[], tuple[float, float] | None] = lambda: None


def code_label(code: str) -> str:
    """The label for an HTTP status or a reason: other statuses than the usual ones by class, such as ``5xx``.

    A broken server, or a hostile one, therefore cannot create a series for each number.
    """
    if not code.isdecimal() or code in _STATUSES:
        return code
    return f"{code[0]}xx" if len(code) == len("404") and code[0] in "12345" else "other"


class _Children(Generic[_M]):
    """The children of a metric by their labels, the server first, until that server is removed.

    Children are cached: asking the library for one is ten times as expensive as a lookup.
    """

    def __init__(self, metric: _M) -> None:
        self.metric: _M = metric
        self._children: dict[tuple[str, ...], _M] = {}
        self._lock = threading.Lock()
        self._removed: set[str] = set()

    def child(self, *labels: str) -> _M | None:
        """The child, created on first use. None for a removed server: one of its polls ended late."""
        return self._children.get(labels) or self._create(labels)

    def add_server(self, server: str) -> None:
        """Allow children for the server, for the first time or again."""
        with self._lock:
            self._removed.discard(server)

    def remove_server(self, server: str) -> None:
        """Remove the children of the server and create no more."""
        with self._lock:
            self._removed.add(server)
            for labels in [labels for labels in self._children if labels[0] == server]:
                del self._children[labels]
                self.metric.remove(*map(encodable, labels))

    def _create(self, labels: tuple[str, ...]) -> _M | None:
        with self._lock:
            if labels[0] in self._removed:
                return None
            child = self._children[labels] = self.metric.labels(*map(encodable, labels))
            return child


class _Counter(_Children[Counter]):
    """A counter with one child per set of labels."""

    def __init__(self, name: str) -> None:
        row = _ROWS[name]
        super().__init__(Counter(row.name, row.help, row.labels, registry=None))

    def add(self, *labels: str, amount: float = 1.0) -> None:
        """Add ``amount`` to the counter."""
        if (child := self.child(*labels)) is not None:
            child.inc(amount)


class SelfMetrics(Collector):
    """Counts polls and requests (as ``PollObserver`` and ``RequestObserver``) and renders the result."""

    def __init__(self, environ: Mapping[str, str] = os.environ, *, of_process: bool = True) -> None:
        """``environ`` may contain the revision of the build, ``DIFY_EXPORTER_REVISION``.

        ``of_process``: with ``process_*`` and ``python_info``.
        """
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._build = (__version__, encodable(environ.get(_REVISION, "")), platform.python_version())
        self._process: ProcessState | None = None
        self._reload_successful: bool | None = None
        self._last_reload_success: float | None = None
        self._polls = _Counter("dify_exporter_polls_total")
        self._failures = _Counter("dify_exporter_poll_failures_total")
        self._requests = _Counter("dify_exporter_requests_total")
        self._throttled = _Counter("dify_exporter_throttled_seconds_total")
        self._unknown = _Counter("dify_exporter_unknown_values_total")
        self._restarts = _Counter("dify_exporter_worker_restarts_total")
        row = _ROWS["dify_exporter_request_duration_seconds"]
        self._durations = _Children(Histogram(row.name, row.help, row.labels, registry=None, buckets=_DURATION_BOUNDS))
        counters = (self._polls, self._failures, self._requests, self._throttled, self._unknown, self._restarts)
        self._by_server: tuple[_Children[Any], ...] = (*counters, self._durations)
        self._of_process: tuple[Collector, ...] = ()
        if of_process:
            self._of_process = ProcessCollector(registry=None), PlatformCollector(registry=None)

    def observe(self, process: ProcessState) -> None:
        """Read ``process`` at each scrape from now on."""
        self._process = process

    def add_server(self, server: str) -> None:
        """Initialize the counters of a server to 0, so that ``rate`` and ``increase`` see the first event."""
        for children in self._by_server:
            children.add_server(server)
        for kind in KINDS:
            self._polls.add(server, kind, amount=0)
            for reason in REASONS:
                self._failures.add(server, kind, reason, amount=0)
        for field in _UNKNOWN_FIELDS:
            self._unknown.add(server, field, amount=0)
        self._throttled.add(server, amount=0)
        self._restarts.add(server, amount=0)

    def remove_server(self, server: str) -> None:
        """Remove all counts of a server. Later events of it are not counted until the server is added again."""
        for children in self._by_server:
            children.remove_server(server)

    def polled(self, server: str, kind: Kind) -> None:
        """Count a finished poll, successful or failed."""
        self._polls.add(server, kind)

    def poll_failed(self, server: str, kind: Kind, reason: str) -> None:
        """Count a failed poll; ``reason`` comes from the error tree."""
        self._failures.add(server, kind, reason)

    def unknown_value(self, server: str, field: str) -> None:
        """Count an unknown status, or an odd value that was ignored."""
        self._unknown.add(server, field)

    def worker_restarted(self, server: str) -> None:
        """Count a polling thread that died and was started again."""
        self._restarts.add(server)

    def requested(self, server: str, endpoint: str, code: str, seconds: float) -> None:
        """Record a finished request; ``code`` is the HTTP status, or the reason when there was no answer."""
        self._requests.add(server, endpoint, code_label(code))
        if (child := self._durations.child(server, endpoint)) is not None:
            child.observe(seconds)

    def throttled(self, server: str, seconds: float) -> None:
        """Add ``seconds`` that a request waited for the request budget."""
        self._throttled.add(server, amount=seconds)

    def reloaded(self, now: float, *, success: bool) -> None:
        """Record whether loading the configuration at ``now`` (Unix seconds) succeeded, the first load included."""
        self._reload_successful = success
        if success:
            self._last_reload_success = now

    def collect(self) -> Iterator[Metric]:
        """The families that have samples, for prometheus-client."""
        counted = (children.metric.collect() for children in self._by_server)
        of_process = (collector.collect() for collector in self._of_process)
        return (metric for metric in chain(*counted, self._measured(), *of_process) if metric.samples)

    def render(self, fmt: Format) -> bytes:
        """The lines in ``fmt``, without the end mark of OpenMetrics."""
        if fmt is Format.OPENMETRICS:
            return generate_openmetrics(self).removesuffix(_END)  # type: ignore[no-any-return, no-untyped-call]
        return generate_latest(self)

    def _measured(self) -> Iterator[Metric]:
        """The metrics whose values are read at the instant of a scrape."""
        yield _gauge("dify_exporter_build_info", [(self._build, 1)])
        yield _optional("dify_exporter_config_last_reload_successful", self._reload_successful)
        yield _optional("dify_exporter_config_last_reload_success_timestamp_seconds", self._last_reload_success)
        process = self._process
        if process is None:
            return
        if process.state_file is not None:
            yield _optional("dify_exporter_state_last_save_timestamp_seconds", process.state_file.last_save)
            yield _optional("dify_exporter_state_last_save_successful", process.state_file.last_save_successful)
        if process.web_config_loaded is not None:
            yield _optional("dify_exporter_web_config_last_reload_successful", process.web_config_loaded())
        not_before, not_after = process.web_certificate() or (None, None)
        yield _optional("dify_exporter_web_certificate_not_before_timestamp_seconds", not_before)
        yield _optional("dify_exporter_web_certificate_not_after_timestamp_seconds", not_after)
        yield _count("dify_exporter_log_lines_dropped_total", process.dropped_log_lines())
        yield _gauge("dify_exporter_documents_collapsed", process.collapsed().items())
        schedules = list(process.schedules())
        yield _gauge("dify_exporter_schedule_lag_seconds", [((s.server,), s.lag) for s in schedules])
        states: list[Any] = list(product(KINDS, TARGET_STATES))
        targets = [((s.server, *state), s.targets.get(state, 0)) for s in schedules for state in states]
        yield _gauge("dify_exporter_targets", targets)
        unread = [((s.server,), s.batch_list_problems) for s in schedules]
        yield _gauge("dify_exporter_batch_list_problems", unread)
        offsets = [((s.server,), s.clock_offset) for s in schedules if s.clock_offset is not None]
        yield _gauge("dify_exporter_clock_offset_seconds", offsets)


def _gauge(name: str, samples: Iterable[tuple[tuple[str, ...], float]]) -> GaugeMetricFamily:
    row = _ROWS[name]
    family = GaugeMetricFamily(row.name, row.help, labels=row.labels)
    for labels, value in samples:
        family.add_metric([encodable(label) for label in labels], value)
    return family


def _count(name: str, value: int) -> CounterMetricFamily:
    """A counter without labels."""
    row = _ROWS[name]
    return CounterMetricFamily(row.name, row.help, value=value)


def _optional(name: str, value: float | None) -> GaugeMetricFamily:
    """A gauge without labels; no series while ``value`` is None."""
    return _gauge(name, [] if value is None else [((), value)])
