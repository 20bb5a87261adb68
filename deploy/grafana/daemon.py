"""The exporter itself: whether it reads what it should, how fast, and what it costs."""

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
            "Whether Prometheus can scrape them.",
            Query(
                f"min by (instance) ({of_exporters(f'up{{{_JOB}}}')} or up{{{_JOB}}} == 0)", "{{instance}}", "instant"
            ),
            mappings=_UP,
            links=(runbook("DifyExporterDown"),),
        ),
        stat(
            "Dify servers",
            "Whether the last request was answered with accepted credentials.",
            Query(f"min by (server) (dify_up{{{SERVERS}}})", "{{server}}", "instant"),
            mappings=_UP,
            links=(runbook("DifyServerUnreachable"), runbook("DifyKeyRefused")),
        ),
        stat(
            "Unreadable targets",
            "Targets whose last poll failed; they are listed below.",
            Query(total(f"1 - dify_exporter_target_success{{{SERVERS}}}"), kind="instant"),
            steps=SOME_ARE_ODD,
            links=(runbook("DifyTargetUnreadable"),),
        ),
        stat(
            "Configuration",
            "Whether the last load of the configuration, and of the web config file where there is one, succeeded. "
            "Refused: the one before it is still in use.",
            Query(f"min(dify_exporter_config_last_reload_successful{{{_JOB}}})", "config", "instant"),
            Query(f"min(dify_exporter_web_config_last_reload_successful{{{_JOB}}})", "web config", "instant"),
            mappings=_LOADED,
            links=(runbook("DifyConfigReloadFailed"), runbook("DifyWebConfigReloadFailed")),
        ),
        stat(
            "State",
            "How the last attempt to save it went, and when one last succeeded. Off: no state.path in the "
            "configuration, and a restart forgets.",
            Query(f"min(dify_exporter_state_last_save_successful{{{_JOB}}})", "last save", "instant"),
            Query(f"time() - min(dify_exporter_state_last_save_timestamp_seconds{{{_JOB}}})", "saved ago", "instant"),
            unit="s",
            overrides=[override("last save", mappings=list(_SAVED))],
            no_value="off",
            links=(runbook("DifyStateNotSaved"),),
        ),
        stat(
            "Documents without series",
            "Because of limits.documents; the sums of their batches have them.",
            Query(
                f"{total(f'dify_exporter_documents_collapsed{{{SERVERS}}}')} or 0 * sum(dify_up{{{SERVERS}}})",
                kind="instant",
            ),
            steps=SOME_ARE_ODD,
            links=(runbook("DifySeriesLimitReached"),),
        ),
        table(
            "Targets that cannot be read",
            "While a target cannot be read, what is known of it stays as it was. Never read: no time of a last answer.",
            _unreadable(f"dify_exporter_target_interval_seconds{{{SERVERS}}}"),
            _unreadable(f"(time() - dify_exporter_target_last_success_timestamp_seconds{{{SERVERS}}})"),
            columns=(
                Column("server", "Server", width=140),
                Column("kind", "Kind", width=110),
                Column("dataset_id", "Knowledge base", width=310),
                Column("target", "Target"),
                Column("#B", "Last read ago", unit="s", width=130),
                Column("#A", "Asked again every", unit="s", width=150),
            ),
            size=(24, 6),
            no_value="none, or no data: see above",
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
            "active: unfinished; settled: finished, asked rarely; failing: last poll failed; gone: 404.",
            Query(total(f"dify_exporter_targets{{{SERVERS}}}", "state"), "{{state}}"),
            stacked=True,
            colors=TARGETS,
            decimals=0,
            size=(8, 8),
        ),
        graph(
            "Lateness of polls",
            "How late the most overdue poll is. Late for long: more targets than requests_per_second allows.",
            Query(f"max by (server) (dify_exporter_schedule_lag_seconds{{{SERVERS}}})", "{{server}}"),
            unit="s",
            steps=((None, "transparent"), (60, "orange")),
            size=(8, 8),
            links=(runbook("DifyPollsLate"),),
        ),
        graph(
            "Waiting for the request budget",
            "Seconds a second that requests waited because of requests_per_second, of the exporter that waits most.",
            Query(
                f"max by (server) (rate(dify_exporter_throttled_seconds_total{{{SERVERS}}}[$__rate_interval]))",
                "{{server}}",
            ),
            unit="percentunit",
            size=(8, 8),
        ),
        graph(
            "Polls",
            "Ended polls by kind of target, of all exporters together.",
            Query(
                f"sum by (kind) (rate(dify_exporter_polls_total{{{SERVERS}}}[$__rate_interval]))",
                "{{kind}}",
            ),
            unit="reqps",
        ),
        graph(
            "Failed polls by reason",
            "Of all exporters together. All reasons are there, at 0 while all is well.",
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
            "Of all exporters together, by HTTP status, or by the reason when there was no answer.",
            Query(
                f"sum by (code) (rate(dify_exporter_requests_total{{{SERVERS}}}[$__rate_interval]))",
                "{{code}}",
            ),
            unit="reqps",
            stacked=True,
            size=(8, 8),
        ),
        graph(
            "Latency of requests, 95 %",
            "From sending a request to the end of its answer, by endpoint.",
            Query(f"histogram_quantile(0.95, sum by (le, endpoint) (rate({bucket})))", "{{endpoint}}"),
            unit="s",
            size=(8, 8),
        ),
        heat_map(
            "Latency of requests",
            "All endpoints and exporters.",
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
            "Statuses in answers that this version does not know: time for an update.",
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
            "The version is what Dify's answers say.",
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
            "Resident: what the process really takes.",
            Query(of("process_resident_memory_bytes"), "resident {{instance}}"),
            Query(of("process_virtual_memory_bytes"), "virtual {{instance}}"),
            unit="bytes",
            size=(6, 7),
        ),
        graph(
            "CPU",
            "Share of one core.",
            Query(of_exporters(f"rate(process_cpu_seconds_total{{{_JOB}}}[$__rate_interval])"), "{{instance}}"),
            unit="percentunit",
            size=(6, 7),
        ),
        graph(
            "Open files",
            "Connections are files too.",
            Query(of("process_open_fds"), "open {{instance}}"),
            size=(6, 7),
        ),
        graph(
            "Scrapes",
            "How long Prometheus takes for the page, and how many series it has.",
            Query(of("scrape_duration_seconds"), "seconds {{instance}}"),
            Query(of("scrape_samples_scraped"), "series {{instance}}"),
            unit="s",
            size=(6, 7),
            overrides=[_ON_THE_RIGHT],
        ),
        table(
            "Exporters",
            "What runs where, and since when.",
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
                Column("#D", "Open files, of the limit", unit="percentunit", width=180),
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
    """The dashboard."""
    return dashboard(
        EXPORTER,
        "Dify / Exporter",
        "Whether dify-exporter reads what it should, how fast, and what it costs.",
        variables=(DATA_SOURCES, JOB, SERVER),
        rows=(
            ("Health", _health()),
            ("Polling", _polling()),
            ("Requests to Dify", _requests()),
            ("Odd things", _odd()),
            ("Process", _process()),
        ),
    )
