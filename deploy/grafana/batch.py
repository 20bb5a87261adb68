"""One batch and one document: where they are, how they got there, and what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.grafana.colors import NO_YES, NO_YES_BAD, STATUS, STATUS_NUMBERS, STATUS_WORDS
from deploy.grafana.dashboard import (
    BATCHES,
    DATA_SOURCES,
    DATASET,
    JOB,
    NEWEST_BATCH,
    ONE_DOCUMENT,
    SERVER,
    dashboard,
    link,
)
from deploy.grafana.panels import (
    NONE_IS_GOOD,
    Column,
    Query,
    bar_gauge,
    graph,
    override,
    runbook,
    stat,
    state_timeline,
    table,
)
from deploy.grafana.queries import (
    BATCH,
    DATASETS,
    DOCUMENT,
    OF_BATCH,
    OF_DOCUMENT,
    batch_progress,
    status_number,
    with_dataset,
    with_document,
    with_status,
)

if TYPE_CHECKING:
    from deploy.grafana.panels import Json

_ROWS = 100
_RECENT = (
    f"topk({_ROWS}, dify_document_last_progress_timestamp_seconds{{{DATASETS}}} @ end() "
    f"and on ({OF_DOCUMENT}) dify_document_info{{{BATCH}}} @ end())"
)
"""The documents of the batch, or of all batches, that moved last. There may be thousands; nobody reads more."""


def _batch_now() -> tuple[Json, ...]:
    return (
        stat(
            "Batch stalled",
            "Whether nothing of an unfinished batch has moved for too long.",
            Query(f"max(dify_batch_stalled{{{BATCH}}})", kind="instant"),
            mappings=NO_YES_BAD,
            links=(runbook("DifyIndexingStalled"),),
            no_value="batch not known",
            size=(6, 4),
        ),
        stat(
            "Batch idle for",
            "Time since anything of the batch moved.",
            Query(f"time() - max(dify_batch_last_progress_timestamp_seconds{{{BATCH}}})", kind="instant"),
            unit="s",
            size=(6, 4),
        ),
        stat(
            "Expected to take",
            "Time until the batch is done at its recent pace; none when it is done or does not move.",
            Query(f"max(dify_batch_eta_timestamp_seconds{{{BATCH}}}) - time()", kind="instant"),
            unit="s",
            size=(6, 4),
            no_value="none",
        ),
        stat(
            "Progress",
            "The mean of the documents: share of segments indexed, finished ones count in full.",
            Query(
                f"avg({batch_progress()} and on ({OF_BATCH}) dify_batch_documents{{{BATCH}}})",
                kind="instant",
            ),
            unit="percentunit",
            size=(6, 4),
        ),
    )


def _batch_over_time() -> tuple[Json, ...]:
    number = with_document(f"({status_number(DATASETS)}) and on ({OF_DOCUMENT}) {_RECENT}", BATCH)
    done = f"dify_document_segments_completed{{{DATASETS}}} / (dify_document_segments{{{DATASETS}}} > 0)"
    by = "server, dataset_id, dataset, document_id, document, status"

    def row(expression: str) -> Query:
        named = with_document(with_status(f"{expression} and on ({OF_DOCUMENT}) {_RECENT}"), BATCH)
        return Query(f"max by ({by}) ({with_dataset(named)})", kind="table")

    to_document = link(
        BATCHES,
        dataset="${__data.fields.dataset_id}",
        batch="${batch}",
        document="${__data.fields.document_id}",
    )
    return (
        state_timeline(
            "Documents and their status",
            "A row a document, 20 a page; the hundred that moved last. One worker takes a whole batch: documents "
            "later in it are in parsing while earlier ones are indexed.",
            Query(f"max by (document_id, document) ({number})", "{{document}}"),
            mappings=STATUS_NUMBERS,
            size=(24, 9),
        ),
        graph(
            "Segments of the batch",
            "All, and those that are indexed. Both fall when a document is indexed again.",
            Query(f"sum(dify_batch_segments{{{BATCH}}})", "all"),
            Query(f"sum(dify_batch_segments_completed{{{BATCH}}})", "indexed"),
            colors={"all": "#8E8E8E", "indexed": "blue"},
        ),
        graph(
            "Documents of the batch by status",
            "All of the batch, also those without series of their own.",
            Query(f"sum by (status) (dify_batch_documents{{{BATCH}}})", "{{status}}"),
            stacked=True,
            calcs=("lastNotNull",),
            colors=STATUS,
            decimals=0,
        ),
        table(
            "Documents",
            "Those of the batch, the hundred that moved last; click one to see it below.",
            row(f"(time() - dify_document_last_progress_timestamp_seconds{{{DATASETS}}})"),
            row(f"({done})"),
            row(f"dify_document_segments{{{DATASETS}}}"),
            row(f"dify_document_error{{{DATASETS}}}"),
            columns=(
                Column("document", "Document", link=to_document),
                Column("dataset", "Knowledge base", width=220),
                Column("status", "Status", width=110, look="coloured", mappings=STATUS_WORDS),
                Column("#B", "Segments indexed", unit="percentunit", look="bar", maximum=1),
                Column("#C", "Segments", width=95),
                Column("#D", "Error", width=80, look="coloured", mappings=NO_YES_BAD),
                Column("#A", "Idle for", unit="s", width=120),
                Column("server", "Server", width=120),
                Column("dataset_id", "dataset_id", hidden=True),
                Column("document_id", "document_id", hidden=True),
            ),
            sort=("Document", False),
            size=(24, 8),
            no_value="no documents with series of their own",
        ),
    )


def _document_now() -> tuple[Json, ...]:
    return (
        stat(
            "Indexing status",
            "What the document does now, and for how long nothing of it has moved.",
            Query(f"max({status_number(DOCUMENT)})", kind="instant"),
            mappings=STATUS_NUMBERS,
        ),
        stat(
            "Display status",
            "As Dify's pages show it. No data: the document's detail has not been read.",
            Query(f"max by (status) (dify_document_display_status{{{DOCUMENT}}} == 1)", "{{status}}", "instant"),
        )
        | {"options": {**_NAME_ONLY}},
        stat(
            "Stalled",
            "Whether it is unfinished and has made no progress for too long.",
            Query(f"max(dify_document_stalled{{{DOCUMENT}}})", kind="instant"),
            mappings=NO_YES_BAD,
            links=(runbook("DifyIndexingStalled"),),
        ),
        stat(
            "Idle for",
            "Time since anything of it moved.",
            Query(f"time() - max(dify_document_last_progress_timestamp_seconds{{{DOCUMENT}}})", kind="instant"),
            unit="s",
        ),
        stat(
            "Error",
            "Whether indexing failed, or an error text of an earlier attempt is still there.",
            Query(f"max(dify_document_error{{{DOCUMENT}}})", kind="instant"),
            mappings=NO_YES_BAD,
            steps=NONE_IS_GOOD,
            links=(runbook("DifyDocumentsFailed"),),
        ),
        stat(
            "Takes part in retrieval",
            "Enabled and not archived.",
            Query(
                f"max(dify_document_enabled{{{DOCUMENT}}}) * (1 - max(dify_document_archived{{{DOCUMENT}}}))",
                kind="instant",
            ),
            mappings=NO_YES,
        ),
    )


_NAME_ONLY = {
    "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    "colorMode": "none",
    "graphMode": "none",
    "justifyMode": "auto",
    "textMode": "name",
    "orientation": "auto",
    "wideLayout": True,
}

_PHASES = (
    ("Created", "created"),
    ("Taken up by a worker", "processing_started"),
    ("Text extracted", "parsing_completed"),
    ("Text cleaned", "cleaning_completed"),
    ("Split into segments", "splitting_completed"),
    ("Completed", "completed"),
    ("Paused", "paused"),
    ("Failed", "stopped"),
    ("Updated", "updated"),
    ("Disabled", "disabled"),
)


def _time(word: str) -> str:
    return f"max(dify_document_{word}_timestamp_seconds{{{DOCUMENT}}})"


def _document_times() -> tuple[Json, ...]:
    stretches = (
        ("queued", "created", "processing_started", "#8E8E8E"),
        ("parsing", "processing_started", "parsing_completed", "light-blue"),
        ("splitting", "parsing_completed", "splitting_completed", "semi-dark-blue"),
        ("indexing", "splitting_completed", "completed", "dark-blue"),
    )
    return (
        state_timeline(
            "Status over time",
            "As the exporter saw it.",
            Query(f"max by (document) ({with_document(status_number(DOCUMENT), DOCUMENT)})", "{{document}}"),
            mappings=STATUS_NUMBERS,
            size=(24, 4),
        ),
        graph(
            "Segments of the document",
            "All, and those that are indexed: at most ten jumps.",
            Query(f"max(dify_document_segments{{{DOCUMENT}}})", "all"),
            Query(f"max(dify_document_segments_completed{{{DOCUMENT}}})", "indexed"),
            colors={"all": "#8E8E8E", "indexed": "blue"},
            size=(10, 10),
        ),
        bar_gauge(
            "Time in each phase",
            "By the API's own times; a phase that is not over has no bar. After a retry, some times may be of an "
            "earlier attempt, and those that do not fit are left out.",
            *(Query(f"{_time(end)} - {_time(start)} >= 0", name, "instant") for name, start, end, _ in stretches),
            unit="s",
            colors={name: color for name, _, _, color in stretches},
            size=(6, 10),
            no_value="no phase is over",
        ),
        {
            **table(
                "Times as Dify gives them",
                "May be of an earlier attempt. Off by whole hours: the time zone of Dify's API process.",
                *(Query(f"{_time(word)} * 1000", name, "instant") for name, word in _PHASES),
                columns=(Column("Field", "Event", width=180), Column("Last *", "Time", unit="dateTimeAsLocal")),
                size=(8, 10),
                links=(runbook("DifyClockOffset"),),
            ),
            "transformations": [{"id": "reduce", "options": {"reducers": ["lastNotNull"], "mode": "seriesToRows"}}],
            "fieldConfig": {
                "defaults": {"noValue": "no data", "custom": {"align": "auto", "filterable": False}},
                "overrides": [
                    override("Field", displayName="Event", custom__width=190),
                    override("Last *", displayName="Time", unit="dateTimeAsIso"),
                ],
            },
        },
    )


def _document_details() -> tuple[Json, ...]:
    named = (
        ("Segments", "segments", "short"),
        ("Segments stored", "stored_segments", "short"),
        ("Mean segment", "average_segment_length", "suffix: chars"),
        ("Characters", "characters", "short"),
        ("Tokens", "tokens", "short"),
        ("Embedding took", "indexing_duration_seconds", "s"),
        ("Retrieval hits", "hits", "short"),
    )
    limits = (
        ("Segment, at most", "chunk_max_tokens"),
        ("Overlap", "chunk_overlap_tokens"),
        ("Child chunk, at most", "subchunk_max_tokens"),
    )
    info = "document, dataset, batch, data_source_type, doc_form, doc_language, created_from, document_id, server"
    kinds = with_document(f"group by ({OF_DOCUMENT}) (dify_document_info{{{DOCUMENT}}})", DOCUMENT, *_KINDS)
    return (
        stat(
            "Sizes",
            "From the document's detail. What Dify leaves out is not shown.",
            *(Query(f"max(dify_document_{metric}{{{DOCUMENT}}})", name, "instant") for name, metric, _ in named),
            overrides=[override(name, unit=unit) for name, _, unit in named if unit != "short"],
            size=(24, 4),
        ),
        table(
            "What it is",
            "From the document's detail; empty where not known.",
            Query(f"max by ({info}) ({with_dataset(kinds)})", kind="table"),
            columns=(
                Column("document", "Document"),
                Column("dataset", "Knowledge base"),
                Column("batch", "Batch", width=190),
                Column("data_source_type", "Source", width=120),
                Column("doc_form", "Form", width=140),
                Column("doc_language", "Language", width=100),
                Column("created_from", "Created from", width=110),
                Column("document_id", "Id", width=300),
                Column("server", "Server", width=110),
                Column("#A", "Value", hidden=True),
            ),
            size=(24, 4),
        ),
        table(
            "Process rule",
            "The rule that the document was processed with.",
            Query(
                f"max by (mode, separator, parent_mode) (dify_document_process_rule_info{{{DOCUMENT}}})", kind="table"
            ),
            columns=(
                Column("mode", "Mode"),
                Column("separator", "Separator"),
                Column("parent_mode", "Parent mode"),
                Column("#A", "Value", hidden=True),
            ),
            size=(12, 4),
            no_value="detail not read, or no rule given",
        ),
        stat(
            "Sizes of the process rule",
            "In tokens. What the rule does not say is not shown.",
            *(Query(f"max(dify_document_{metric}{{{DOCUMENT}}})", name, "instant") for name, metric in limits),
            unit="suffix: tokens",
            size=(12, 4),
            no_value="not in the rule",
        ),
    )


_KINDS = ("batch", "data_source_type", "doc_form", "doc_language", "created_from")


def build() -> Json:
    """The dashboard."""
    return dashboard(
        BATCHES,
        "Dify / Batch and document",
        "How one batch and one document were indexed, and where they are now.",
        variables=(DATA_SOURCES, JOB, SERVER, DATASET, NEWEST_BATCH, ONE_DOCUMENT),
        rows=(
            ("Batch $batch", (*_batch_now(), *_batch_over_time())),
            ("Document $document", (*_document_now(), *_document_times(), *_document_details())),
        ),
    )
