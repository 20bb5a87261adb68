"""The table of what is exposed about the exporter itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.metrics.family import MetricType


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnFamily:
    """A metric family about the exporter itself."""

    name: str
    type: MetricType = "gauge"
    help: str
    labels: tuple[str, ...] = ()


def _row(name: str, kind: MetricType, text: str, *labels: str) -> OwnFamily:
    return OwnFamily(name=name, type=kind, help=text, labels=labels)


OWN = (
    _row(
        "dify_exporter_build_info",
        "gauge",
        "Version and revision of the exporter and the Python that runs it.",
        "version",
        "revision",
        "python_version",
    ),
    _row("dify_exporter_polls_total", "counter", "Polls that ended, well or not.", "server", "kind"),
    _row("dify_exporter_poll_failures_total", "counter", "Polls that failed.", "server", "kind", "reason"),
    _row(
        "dify_exporter_requests_total",
        "counter",
        "Requests to the server by HTTP status, or by reason when there was no answer.",
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
        "Seconds that requests waited for the budget of requests per second.",
        "server",
    ),
    _row("dify_exporter_schedule_lag_seconds", "gauge", "How late the most overdue poll is, in seconds.", "server"),
    _row("dify_exporter_targets", "gauge", "Targets by how their polls go.", "server", "kind", "state"),
    _row(
        "dify_exporter_unknown_values_total",
        "counter",
        "Statuses in answers that the exporter does not know, by field.",
        "server",
        "field",
    ),
    _row(
        "dify_exporter_clock_offset_seconds",
        "gauge",
        "Seconds by which the server's times are ahead of the exporter's clock; whole hours are a wrong time zone.",
        "server",
    ),
    _row(
        "dify_exporter_documents_collapsed",
        "gauge",
        "Documents without series of their own because of the limit; the sums of batches have them.",
        "server",
        "dataset_id",
    ),
    _row(
        "dify_exporter_state_last_save_timestamp_seconds",
        "gauge",
        "When the state was last saved, Unix seconds.",
    ),
    _row("dify_exporter_state_last_save_successful", "gauge", "Whether the last attempt to save the state succeeded."),
    _row(
        "dify_exporter_config_last_reload_successful", "gauge", "Whether the last load of the configuration succeeded."
    ),
    _row(
        "dify_exporter_config_last_reload_success_timestamp_seconds",
        "gauge",
        "When the configuration was last loaded with success, Unix seconds.",
    ),
    _row(
        "dify_exporter_web_config_last_reload_successful",
        "gauge",
        "Whether the web config file as it is now is in force, and not an earlier state of it.",
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
"""Every family that ``OwnMetrics`` gives, ``process_`` and ``python_`` as prometheus-client defines them on Linux."""
