"""The overview dashboard: stalled and failed indexing, progress, and throughput."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.grafana.colors import DISPLAY_STATUS, FINISHED, NO_YES_BAD, STATUS, STATUS_WORDS
from deploy.grafana.dashboard import (
    BATCHES,
    DATA_SOURCES,
    DATASET,
    EXPORTER,
    INDEXING,
    JOB,
    SERVER,
    choice,
    dashboard,
    link,
)
from deploy.grafana.graphs import by_state
from deploy.grafana.panels import NONE_IS_GOOD, SOME_ARE_ODD, Query, bar_gauge, graph, heat_map, runbook, stat
from deploy.grafana.queries import (
    DATASETS,
    OF_BATCH,
    OF_DATASET,
    OF_DOCUMENT,
    SERVERS,
    batch_progress,
    total,
    unfinished_batches,
    unfinished_documents,
    with_dataset,
    with_document,
    with_status,
)
from deploy.grafana.tables import Column, table

if TYPE_CHECKING:
    from deploy.grafana.panels import Json

_ALERTS = ("DifyIndexingStalled", "DifyDocumentsStalled", "DifyDocumentsFailed", "DifyDocumentsPaused")
_SHOWN = "server, dataset_id, dataset"
_ROWS = 20
_TO_BATCH = link(BATCHES, dataset="${__data.fields.dataset_id}", batch="${__data.fields.batch}")
_TO_DOCUMENT = link(
    BATCHES, dataset="${__data.fields.dataset_id}", batch="$__all", document="${__data.fields.document_id}"
)
_IDLE = f"time() - dify_document_last_progress_timestamp_seconds{{{DATASETS}}}"


def _now() -> tuple[Json, ...]:
    to_exporter = {"title": "Exporter", "url": link(EXPORTER)}
    return (
        stat(
            "Stalled batches",
            "Unfinished batches without progress for longer than stall.after (or stall.queued_after while the whole "
            "batch is queued). No data: no batch is watched.",
            Query(total(f"dify_batch_stalled{{{DATASETS}}}"), kind="instant"),
            steps=NONE_IS_GOOD,
            links=(runbook("DifyIndexingStalled"),),
        ),
        stat(
            "Stalled documents",
            "Unfinished documents without progress for too long, judged with their batch where it is known.",
            Query(total(f"dify_document_stalled{{{DATASETS}}}"), kind="instant"),
            steps=NONE_IS_GOOD,
            links=(runbook("DifyIndexingStalled"),),
        ),
        stat(
            "Failed documents",
            "Documents whose current indexing status is error.",
            Query(total(f'dify_document_indexing_status{{{DATASETS},status="error"}}'), kind="instant"),
            steps=NONE_IS_GOOD,
            links=(runbook("DifyDocumentsFailed"),),
        ),
        stat(
            "Queued documents",
            "Documents that no worker has picked up yet.",
            Query(total(f'dify_document_indexing_status{{{DATASETS},status="waiting"}}'), kind="instant"),
            links=(runbook("DifyIndexingQueued"),),
        ),
        stat(
            "Longest time without progress",
            "Of all documents that are neither finished nor paused. 0: there are no such documents.",
            Query(
                f"max(time() - dify_document_last_progress_timestamp_seconds{{{DATASETS}}} "
                f"and on ({OF_DOCUMENT}) {unfinished_documents()}) or 0 * sum(dify_up{{{SERVERS}}})",
                kind="instant",
            ),
            unit="s",
            steps=((None, "green"), (900, "orange"), (1800, "red")),
        ),
        stat(
            "Unreadable targets",
            "Batches, documents and knowledge bases whose last poll failed: their data on this dashboard is outdated.",
            Query(total(f"1 - dify_exporter_target_success{{{SERVERS}}}"), kind="instant"),
            steps=SOME_ARE_ODD,
            links=(to_exporter,),
        ),
    )


def _attention() -> Json:
    wrong = (
        f"dify_document_stalled{{{DATASETS}}} == 1 "
        f'or on ({OF_DOCUMENT}) dify_document_indexing_status{{{DATASETS},status=~"error|paused"}} == 1'
    )
    age = with_document(with_status(f"{_IDLE} and on ({OF_DOCUMENT}) ({wrong})"), DATASETS, "batch")
    by = f"{_SHOWN}, document_id, document, batch, status"
    return table(
        "Stalled, failed and paused documents",
        "Longest idle first. Dify's own page of the document has the error text; the metrics have only the "
        "error reason, summed below.",
        Query(f"topk(50, max by ({by}) ({with_dataset(age)}))", kind="table"),
        columns=(
            Column("dataset", "Knowledge base", width=220),
            Column("document", "Document", link=_TO_DOCUMENT),
            Column("batch", "Batch", width=190, link=_TO_BATCH),
            Column("status", "Status", width=110, look="coloured", mappings=STATUS_WORDS),
            Column("#A", "Idle for", unit="s", width=120),
            Column("server", "Server", width=120),
            Column("dataset_id", "dataset_id", hidden=True),
            Column("document_id", "document_id", hidden=True),
        ),
        sort=("Idle for", True),
        size=(24, 8),
        no_value="none, or no data (see Stalled documents)",
        links=tuple(runbook(alert) for alert in _ALERTS),
    )


def _batch_table() -> Json:
    unfinished = unfinished_batches()

    def of_unfinished(expression: str) -> Query:
        limited = f"{expression} and on ({OF_BATCH}) {unfinished}"
        return Query(f"max by ({_SHOWN}, batch) ({with_dataset(limited)})", kind="table")

    return table(
        "Unfinished batches",
        "Progress is the mean over the documents. The end is estimated from the recent rate of progress; batches "
        "without progress have no estimate.",
        of_unfinished(f"sum by ({OF_BATCH}) (dify_batch_documents{{{DATASETS}}})"),
        of_unfinished(f'sum by ({OF_BATCH}) (dify_batch_documents{{{DATASETS},status=~"completed|error"}})'),
        of_unfinished(f"({batch_progress()})"),
        of_unfinished(f"(dify_batch_eta_timestamp_seconds{{{DATASETS}}} * 1000)"),
        of_unfinished(f"(time() - dify_batch_last_progress_timestamp_seconds{{{DATASETS}}})"),
        of_unfinished(f"dify_batch_stalled{{{DATASETS}}}"),
        columns=(
            Column("dataset", "Knowledge base", width=220),
            Column("batch", "Batch", width=190, link=_TO_BATCH),
            Column("#A", "Documents", width=95),
            Column("#B", "Finished", width=95),
            Column("#C", "Progress", unit="percentunit", look="bar", maximum=1),
            Column("#D", "Expected end", unit="dateTimeFromNow", width=140),
            Column("#E", "Idle for", unit="s", width=110),
            Column("#F", "Stalled", width=80, look="coloured", mappings=NO_YES_BAD),
            Column("server", "Server", width=120),
            Column("dataset_id", "dataset_id", hidden=True),
        ),
        sort=("Idle for", True),
        size=(24, 7),
        no_value="no unfinished batches, or no batch watched",
    )


def _progress() -> tuple[Json, ...]:
    moving = f"({batch_progress()}) and on ({OF_BATCH}) {unfinished_batches()}"
    documents = (
        f"(dify_document_segments_completed{{{DATASETS}}} / (dify_document_segments{{{DATASETS}}} > 0)) "
        f'and on ({OF_DOCUMENT}) dify_document_indexing_status{{{DATASETS},status="indexing"}} == 1'
    )
    to_batch = link(BATCHES, dataset="${__field.labels.dataset_id}", batch="${__field.labels.batch}")
    to_document = link(
        BATCHES, dataset="${__field.labels.dataset_id}", batch="$__all", document="${__field.labels.document_id}"
    )
    legend = "{{dataset}} · {{batch}}"

    def bars(expression: str, stalled: str) -> Query:
        limited = f"{expression} and on ({OF_BATCH}) dify_batch_stalled{{{DATASETS}}} == {stalled}"
        name = legend + (" · stalled" if stalled == "1" else "")
        return Query(f"topk({_ROWS}, max by ({_SHOWN}, batch) ({with_dataset(limited)}))", name, "instant")

    red = {
        "matcher": {"id": "byFrameRefID", "options": "B"},
        "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": "red"}}],
    }
    return (
        bar_gauge(
            "Progress of unfinished batches",
            "Mean over all documents: the share of indexed segments; finished documents count as 100 %. Red: stalled.",
            bars(moving, "0"),
            bars(moving, "1"),
            unit="percentunit",
            maximum=1,
            overrides=[red],
            data_link={"title": "Open batch", "url": to_batch},
            size=(12, 10),
            no_value="no unfinished batches, or no data",
        ),
        bar_gauge(
            "Progress of documents in indexing",
            "Share of indexed segments, lowest first.",
            Query(
                f"bottomk({_ROWS}, max by ({_SHOWN}, document_id, document) "
                f"({with_dataset(with_document(documents))}))",
                "{{document}}",
                "instant",
            ),
            unit="percentunit",
            maximum=1,
            data_link={"title": "Open document", "url": to_document},
            size=(12, 10),
            no_value="no documents in indexing, or no data",
        ),
        _batch_table(),
    )


def _over_time() -> tuple[Json, ...]:
    rate = f"clamp_min(deriv(dify_document_segments_completed{{{DATASETS}}}[$__rate_interval]), 0) * 60"
    rates = f"sum by ({OF_DATASET}) ({rate})"
    return (
        by_state(
            "Watched documents by indexing status",
            "Documents with series: documents of watched batches, and documents found by discovery, until some time "
            "after they finished.",
            f"dify_document_indexing_status{{{DATASETS}}}",
            "status",
            STATUS,
        ),
        by_state(
            "All documents of the knowledge bases by display status",
            "As counted by discovery. No data: discovery is off (set discover: true in the configuration).",
            f"dify_dataset_documents{{{DATASETS}}}",
            "display_status",
            DISPLAY_STATUS,
        ),
        graph(
            "Segments indexed",
            "The count of a document increases in at most ten steps, so short documents cause spikes.",
            Query(f"max by ({_SHOWN}) ({with_dataset(rates)})", "{{dataset}}"),
            unit="suffix:/min",
            interval="1m",
        ),
        graph(
            "Documents finished",
            "Documents observed to finish (completed or error), counted once per attempt.",
            Query(
                total(f"rate(dify_documents_finished_total{{{DATASETS}}}[$__rate_interval]) * 60", "status"),
                "{{status}}",
            ),
            unit="suffix:/min",
            colors=FINISHED,
            interval="1m",
        ),
    )


def _failures() -> tuple[Json, ...]:
    failed = f'dify_documents_finished_total{{{DATASETS},status="error"}}'
    restarted = f"increase(dify_documents_restarted_total{{{DATASETS}}}[$__range])"
    return (
        graph(
            "Failures by reason",
            "Documents per minute that were observed to fail. The reason is derived from the error text.",
            Query(total(f"rate({failed}[$__rate_interval]) * 60", "reason"), "{{reason}}"),
            unit="suffix:/min",
            bars=True,
            stacked=True,
            interval="1m",
            size=(8, 8),
            links=(runbook("DifyDocumentsFailed"), runbook("DifyFailureRatioHigh")),
        ),
        bar_gauge(
            "Failures in the time range",
            "Number of documents that were observed to fail, by reason.",
            Query(total(f"increase({failed}[$__range])", "reason"), "{{reason}}", "instant"),
            steps=((None, "green"), (0.5, "red")),
            overrides=[{"matcher": {"id": "byType", "options": "number"}, "properties": [_WHOLE]}],
            size=(10, 8),
            names="left",
        ),
        bar_gauge(
            "Documents reindexed in the time range",
            "Documents that restarted indexing after completed or error: retries, updates, changed models.",
            Query(
                f"max by ({_SHOWN}) ({with_dataset(restarted)})",
                "{{dataset}}",
                "instant",
            ),
            overrides=[{"matcher": {"id": "byType", "options": "number"}, "properties": [_WHOLE]}],
            size=(6, 8),
        ),
    )


_WHOLE = {"id": "decimals", "value": 0}


def _durations() -> tuple[Json, ...]:
    buckets = f"dify_document_phase_duration_seconds_bucket{{{DATASETS}"
    seconds = f"dify_document_phase_duration_seconds_sum{{{DATASETS}}}[$__rate_interval]"
    count = f"dify_document_phase_duration_seconds_count{{{DATASETS}}}[$__rate_interval]"
    return (
        heat_map(
            "Duration of phase $phase",
            "Completed documents by duration of the phase selected above, based on times reported by the API.",
            Query(total(f'increase({buckets},phase="$phase"}}[$__rate_interval])', "le"), "{{le}}", "heatmap"),
            unit="s",
            interval="1m",
        ),
        graph(
            "Mean duration per phase",
            "Of the documents completed at that time. queued: until a worker picks up the document; indexing: "
            "embedding and storing. No line: no document was completed.",
            Query(f"sum by (phase) (rate({seconds})) / (sum by (phase) (rate({count})) > 0)", "{{phase}}"),
            unit="s",
            interval="1m",
            links=(runbook("DifyIndexingSlow"),),
        ),
    )


def build() -> Json:
    """Build the dashboard."""
    return dashboard(
        INDEXING,
        "Dify / Indexing",
        "Stalled, failed and queued documents of Dify's knowledge bases; progress and throughput of indexing.",
        variables=(
            DATA_SOURCES,
            JOB,
            SERVER,
            DATASET,
            choice("phase", "Phase", "total", "queued", "parsing", "splitting", "indexing"),
        ),
        rows=(
            ("Now", (*_now(), _attention())),
            ("Progress", _progress()),
            ("Over time", _over_time()),
            ("Failures", _failures()),
            ("Durations", _durations()),
        ),
    )
