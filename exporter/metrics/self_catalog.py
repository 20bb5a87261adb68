"""The table of the metrics about the exporter itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.metrics.families import MetricType


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfFamily:
    """A metric family about the exporter itself."""

    name: str
    type: MetricType = "gauge"
    help: str
    labels: tuple[str, ...] = ()


def _row(name: str, kind: MetricType, text: str, *labels: str) -> SelfFamily:
    return SelfFamily(name=name, type=kind, help=text, labels=labels)


SELF_METRICS = (
    _row(
        "dify_exporter_build_info",
        "gauge",
        "Version and revision of the exporter, and the version of Python.",
        "version",
        "revision",
        "python_version",
    ),
    _row("dify_exporter_polls_total", "counter", "Finished polls, successful or failed.", "server", "kind"),
    _row("dify_exporter_poll_failures_total", "counter", "Failed polls by reason.", "server", "kind", "reason"),
    _row(
        "dify_exporter_requests_total",
        "counter",
        "Requests to the server by HTTP status, or by failure reason when there was no answer.",
        "server",
        "endpoint",
        "code",
    ),
    _row(
        "dify_exporter_request_duration_seconds",
        "histogram",
        "Seconds from sending a request to the end of its answer.",
        "server",
        "endpoint",
    ),
    _row(
        "dify_exporter_throttled_seconds_total",
        "counter",
        "Seconds that requests waited because of the limit of requests per second.",
        "server",
    ),
    _row("dify_exporter_schedule_lag_seconds", "gauge", "Delay of the most overdue poll, in seconds.", "server"),
    _row("dify_exporter_targets", "gauge", "Targets by kind and polling state.", "server", "kind", "state"),
    _row(
        "dify_exporter_unknown_values_total",
        "counter",
        "Unknown statuses in answers, by field.",
        "server",
        "field",
    ),
    _row(
        "dify_exporter_clock_offset_seconds",
        "gauge",
        "Seconds by which the server's times are ahead of the exporter's clock; whole hours mean a wrong time zone.",
        "server",
    ),
    _row(
        "dify_exporter_documents_collapsed",
        "gauge",
        "Documents without their own series because of the document limit; batch totals include them.",
        "server",
        "dataset_id",
    ),
    _row(
        "dify_exporter_state_last_save_timestamp_seconds",
        "gauge",
        "Time at which the state was last saved, Unix seconds.",
    ),
    _row("dify_exporter_state_last_save_successful", "gauge", "1 if the last attempt to save the state succeeded."),
    _row("dify_exporter_config_last_reload_successful", "gauge", "1 if the last load of the configuration succeeded."),
    _row(
        "dify_exporter_config_last_reload_success_timestamp_seconds",
        "gauge",
        "Time of the last successful load of the configuration, Unix seconds.",
    ),
    _row(
        "dify_exporter_web_config_last_reload_successful",
        "gauge",
        "1 if the current web config file is in use, 0 if an earlier version of it is.",
    ),
    _row("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes."),
    _row("process_resident_memory_bytes", "gauge", "Resident memory size in bytes."),
    _row("process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds."),
    _row("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds."),
    _row("process_open_fds", "gauge", "Number of open file descriptors."),
    _row("process_max_fds", "gauge", "Maximum number of open file descriptors."),
    _row(
        "python_info",
        "gauge",
        "Python platform information",
        "implementation",
        "major",
        "minor",
        "patchlevel",
        "version",
    ),
)
"""Every family that ``SelfMetrics`` renders; ``process_`` and ``python_`` are prometheus-client's own, on Linux."""
