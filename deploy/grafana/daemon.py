"""The dashboard of the exporter itself: failed polls, throughput, and resource usage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.grafana.colors import TARGETS
from deploy.grafana.dashboard import DATA_SOURCES, EXPORTER, JOB, SERVER, dashboard
from deploy.grafana.panels import SOME_ARE_ODD, Query, graph, heat_map, override, runbook, stat, values_as
from deploy.grafana.queries import SERVERS, of_exporters, total
from deploy.grafana.tables import Column, table

if TYPE_CHECKING:
    from deploy.grafana.panels import Json

_JOB = 'job=~"$job"'
_UP = values_as({0: ("down", "red"), 1: ("up", "green")})
_LOADED = values_as({0: ("refused", "red"), 1: ("loaded", "green")})
_SAVED = values_as({0: ("failed", "red"), 1: ("saved", "green")})


def _health() -> tuple[Json, ...]:
    return (
        stat(
            "Exporters",
            "Whether Prometheus can scrape each exporter.",
            Query(
                f"min by (instance) ({of_exporters(f'up{{{_JOB}}}')} or up{{{_JOB}}} == 0)", "{{instance}}", "instant"
            ),
            mappings=_UP,
            links=(runbook("DifyExporterDown"),),
        ),
        stat(
            "Dify servers",
            "Whether Dify answered the last request and accepted the key.",
            Query(f"min by (server) (dify_up{{{SERVERS}}})", "{{server}}", "instant"),
            mappings=_UP,
            links=(runbook("DifyServerUnreachable"), runbook("DifyKeyRefused")),
        ),
        stat(
            "Unreadable targets",
            "Targets whose last poll failed; see the list below.",
            Query(total(f"1 - dify_exporter_target_success{{{SERVERS}}}"), kind="instant"),
            steps=SOME_ARE_ODD,
            links=(runbook("DifyTargetUnreadable"),),
        ),
        stat(
            "Configuration",
            "Whether the last load of the configuration and of the web config file (if any) succeeded. If not, "
            "the previous one is still in use.",
            Query(f"min(dify_exporter_config_last_reload_successful{{{_JOB}}})", "config", "instant"),
            Query(f"min(dify_exporter_web_config_last_reload_successful{{{_JOB}}})", "web config", "instant"),
            mappings=_LOADED,
            links=(runbook("DifyConfigReloadFailed"), runbook("DifyWebConfigReloadFailed")),
        ),
        stat(
            "State",
            "Result of the last attempt to save the state, and time since the last success. Off: the "
            "configuration has no state.path, and the state is lost on restart.",
            Query(f"min(dify_exporter_state_last_save_successful{{{_JOB}}})", "last save", "instant"),
            Query(
                f"time() - min(dify_exporter_state_last_save_timestamp_seconds{{{_JOB}}})", "time since save", "instant"
            ),
            unit="s",
            overrides=[override("last save", mappings=list(_SAVED))],
            no_value="off",
            links=(runbook("DifyStateNotSaved"),),
        ),
        stat(
            "Documents without series",
            "Documents over limits.documents; only the totals of their batches include them.",
            Query(
                f"{total(f'dify_exporter_documents_collapsed{{{SERVERS}}}')} or 0 * sum(dify_up{{{SERVERS}}})",
                kind="instant",
            ),
            steps=SOME_ARE_ODD,
            links=(runbook("DifySeriesLimitReached"),),
        ),
        table(
            "Details of unreadable targets",
            "While polls of a target fail, its series keep their last values. No last success: never read.",
            _unreadable(f"dify_exporter_target_interval_seconds{{{SERVERS}}}"),
            _unreadable(f"(time() - dify_exporter_target_last_success_timestamp_seconds{{{SERVERS}}})"),
            columns=(
                Column("server", "Server", width=140),
                Column("kind", "Kind", width=110),
                Column("dataset_id", "Knowledge base", width=310),
                Column("target", "Target"),
                Column("#B", "Last success", unit="s", width=130),
                Column("#A", "Poll interval", unit="s", width=150),
            ),
            size=(24, 6),
            no_value="none, or no data (see above)",
            links=(runbook("DifyTargetUnreadable"),),
        ),
    )


def _unreadable(expression: str) -> Query:
    return Query(
        f"max by (server, kind, dataset_id, target) ({expression} "
        f"and on (job, instance, server, kind, dataset_id, target) dify_exporter_target_success{{{SERVERS}}} == 0)",
        kind="table",
    )


def _polling() -> tuple[Json, ...]:
    return (
        graph(
            "Targets by state",
            "active: unfinished; settled: finished, polled rarely; failing: last poll failed; gone: answered 404.",
            Query(total(f"dify_exporter_targets{{{SERVERS}}}", "state"), "{{state}}"),
            stacked=True,
            colors=TARGETS,
            decimals=0,
            size=(8, 8),
        ),
        graph(
            "Poll lateness",
            "Delay of the most overdue poll. A lasting delay means more targets than requests_per_second allows.",
            Query(f"max by (server) (dify_exporter_schedule_lag_seconds{{{SERVERS}}})", "{{server}}"),
            unit="s",
            steps=((None, "transparent"), (60, "orange")),
            size=(8, 8),
            links=(runbook("DifyPollsLate"),),
        ),
        graph(
            "Waiting for the request budget",
            "Seconds per second that requests waited for requests_per_second, for the exporter that waits most.",
            Query(
                f"max by (server) (rate(dify_exporter_throttled_seconds_total{{{SERVERS}}}[$__rate_interval]))",
                "{{server}}",
            ),
            unit="percentunit",
            size=(8, 8),
        ),
        graph(
            "Polls",
            "Finished polls by kind of target, summed over all exporters.",
            Query(
                f"sum by (kind) (rate(dify_exporter_polls_total{{{SERVERS}}}[$__rate_interval]))",
                "{{kind}}",
            ),
            unit="reqps",
        ),
        graph(
            "Failed polls by reason",
            "Summed over all exporters. Every reason is shown, at 0 when there are no failures.",
            Query(
                f"sum by (reason) (rate(dify_exporter_poll_failures_total{{{SERVERS}}}[$__rate_interval]))",
                "{{reason}}",
            ),
            unit="reqps",
            soft_max=0.1,
            links=(runbook("DifyTargetUnreadable"),),
        ),
    )


def _requests() -> tuple[Json, ...]:
    bucket = f"dify_exporter_request_duration_seconds_bucket{{{SERVERS}}}[$__rate_interval]"
    return (
        graph(
            "Requests by status",
            "Summed over all exporters, by HTTP status, or by failure reason when there was no answer.",
            Query(
                f"sum by (code) (rate(dify_exporter_requests_total{{{SERVERS}}}[$__rate_interval]))",
                "{{code}}",
            ),
            unit="reqps",
            stacked=True,
            size=(8, 8),
        ),
        graph(
            "Request latency, 95th percentile",
            "From sending the request to the end of the answer, by endpoint.",
            Query(f"histogram_quantile(0.95, sum by (le, endpoint) (rate({bucket})))", "{{endpoint}}"),
            unit="s",
            size=(8, 8),
        ),
        heat_map(
            "Request latency",
            "All endpoints, all exporters.",
            Query(f"sum by (le) (increase({bucket}))", "{{le}}", "heatmap"),
            unit="s",
            size=(8, 8),
        ),
    )


def _odd() -> tuple[Json, ...]:
    return (
        graph(
            "Clock offset",
            "How far the server's times are ahead of the exporter's clock. Whole hours: the time zone of Dify's API "
            "process.",
            Query(f"dify_exporter_clock_offset_seconds{{{SERVERS}}}", "{{server}} · {{instance}}"),
            unit="s",
            size=(8, 7),
            links=(runbook("DifyClockOffset"),),
            signed=True,
        ),
        stat(
            "Unknown values in the time range",
            "Statuses in answers that this version of the exporter does not know. Update the exporter.",
            Query(
                total(f"increase(dify_exporter_unknown_values_total{{{SERVERS}}}[$__range])", "field"),
                "{{field}}",
                "instant",
            ),
            steps=SOME_ARE_ODD,
            size=(8, 7),
            decimals=0,
        ),
        table(
            "Servers",
            "The version is read from Dify's answers.",
            Query(f"max by (server, url, version) (dify_server_info{{{SERVERS}}})", kind="table"),
            columns=(
                Column("server", "Server", width=120),
                Column("url", "Address"),
                Column("version", "Version", width=100),
                Column("#A", "Value", hidden=True),
            ),
            size=(8, 7),
        ),
    )


def _process() -> tuple[Json, ...]:
    def of(metric: str) -> str:
        return of_exporters(f"{metric}{{{_JOB}}}")

    return (
        graph(
            "Memory",
            "Resident memory is the physical memory that the process uses.",
            Query(of("process_resident_memory_bytes"), "resident {{instance}}"),
            Query(of("process_virtual_memory_bytes"), "virtual {{instance}}"),
            unit="bytes",
            size=(6, 7),
        ),
        graph(
            "CPU",
            "Fraction of one core.",
            Query(of_exporters(f"rate(process_cpu_seconds_total{{{_JOB}}}[$__rate_interval])"), "{{instance}}"),
            unit="percentunit",
            size=(6, 7),
        ),
        graph(
            "Open files",
            "Includes network connections.",
            Query(of("process_open_fds"), "open {{instance}}"),
            size=(6, 7),
        ),
        graph(
            "Scrapes",
            "Duration of a scrape as measured by Prometheus, and number of series scraped.",
            Query(of("scrape_duration_seconds"), "seconds {{instance}}"),
            Query(of("scrape_samples_scraped"), "series {{instance}}"),
            unit="s",
            size=(6, 7),
            overrides=[_ON_THE_RIGHT],
        ),
        table(
            "Exporters",
            "Versions of the running exporters, and their start times.",
            Query(
                f"max by (job, instance, version, revision, python_version) (dify_exporter_build_info{{{_JOB}}})",
                kind="table",
            ),
            Query(
                f"max by (job, instance, version, revision, python_version) ("
                f"(process_start_time_seconds{{{_JOB}}} * 1000) * on (job, instance) "
                f"group_left (version, revision, python_version) dify_exporter_build_info)",
                kind="table",
            ),
            Query(
                f"max by (job, instance, version, revision, python_version) ("
                f"(dify_exporter_config_last_reload_success_timestamp_seconds{{{_JOB}}} * 1000) * on (job, instance) "
                f"group_left (version, revision, python_version) dify_exporter_build_info)",
                kind="table",
            ),
            Query(
                f"max by (job, instance, version, revision, python_version) ("
                f"(process_open_fds{{{_JOB}}} / process_max_fds{{{_JOB}}}) * on (job, instance) "
                f"group_left (version, revision, python_version) dify_exporter_build_info)",
                kind="table",
            ),
            columns=(
                Column("job", "Job", width=140),
                Column("instance", "Instance"),
                Column("version", "Version", width=110),
                Column("revision", "Revision", width=120),
                Column("python_version", "Python", width=100),
                Column("#B", "Started", unit="dateTimeFromNow", width=160),
                Column("#C", "Configuration loaded", unit="dateTimeFromNow", width=180),
                Column("#D", "Open files, share of the limit", unit="percentunit", width=180),
                Column("#A", "Value", hidden=True),
            ),
            size=(24, 5),
        ),
    )


_ON_THE_RIGHT: Json = {
    "matcher": {"id": "byFrameRefID", "options": "B"},
    "properties": [{"id": "unit", "value": "short"}, {"id": "custom.axisPlacement", "value": "right"}],
}


def build() -> Json:
    """Build the dashboard."""
    return dashboard(
        EXPORTER,
        "Dify / Exporter",
        "Poll failures, request latency and resource usage of dify-exporter.",
        variables=(DATA_SOURCES, JOB, SERVER),
        rows=(
            ("Health", _health()),
            ("Polling", _polling()),
            ("Requests to Dify", _requests()),
            ("Anomalies", _odd()),
            ("Process", _process()),
        ),
    )
