"""The dashboard of one batch and one document: their current state, their history and their properties."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.grafana import document
from deploy.grafana.colors import NO_YES_BAD, STATUS, STATUS_NUMBERS, STATUS_WORDS
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
from deploy.grafana.graphs import by_state, segments
from deploy.grafana.panels import Query, runbook, stat, state_timeline
from deploy.grafana.queries import (
    BATCH,
    DATASETS,
    OF_BATCH,
    OF_DOCUMENT,
    batch_progress,
    status_number,
    total,
    with_dataset,
    with_document,
    with_status,
)
from deploy.grafana.tables import Column, table

if TYPE_CHECKING:
    from deploy.grafana.panels import Json

_ROWS = 100
_ONE_DOCUMENT = "job, server, dataset_id, document_id"
"""Without ``instance``: a document that several exporters see gets one row."""
_RECENT = (
    f"topk({_ROWS}, max by ({_ONE_DOCUMENT}) (dify_document_last_progress_timestamp_seconds{{{DATASETS}}} @ end() "
    f"and on ({OF_DOCUMENT}) dify_document_info{{{BATCH}}} @ end()))"
)
"""The documents of the batch, or of all batches, that progressed last. A batch can have thousands."""


def _batch_now() -> tuple[Json, ...]:
    return (
        stat(
            "Batch stalled",
            "Whether an unfinished batch has made no progress for too long.",
            Query(f"max(dify_batch_stalled{{{BATCH}}})", kind="instant"),
            mappings=NO_YES_BAD,
            links=(runbook("DifyIndexingStalled"),),
            no_value="unknown batch",
            size=(6, 4),
        ),
        stat(
            "Batch idle for",
            "Time since the batch last made progress.",
            Query(f"time() - max(dify_batch_last_progress_timestamp_seconds{{{BATCH}}})", kind="instant"),
            unit="s",
            size=(6, 4),
        ),
        stat(
            "Time remaining",
            "Estimated from the recent rate of progress; none when the batch is finished or makes no progress.",
            Query(f"max(dify_batch_eta_timestamp_seconds{{{BATCH}}}) - time()", kind="instant"),
            unit="s",
            size=(6, 4),
            no_value="none",
        ),
        stat(
            "Progress",
            "Mean over all documents: the share of indexed segments; finished documents count as 100 %.",
            Query(
                f"avg({batch_progress()} and on ({OF_BATCH}) dify_batch_documents{{{BATCH}}})",
                kind="instant",
            ),
            unit="percentunit",
            size=(6, 4),
        ),
    )


def _batch_over_time() -> tuple[Json, ...]:
    number = with_document(f"({status_number(DATASETS)}) and on ({_ONE_DOCUMENT}) {_RECENT}", BATCH)
    done = f"dify_document_segments_completed{{{DATASETS}}} / (dify_document_segments{{{DATASETS}}} > 0)"
    by = "server, dataset_id, dataset, document_id, document, status"

    def row(expression: str) -> Query:
        named = with_document(with_status(f"{expression} and on ({_ONE_DOCUMENT}) {_RECENT}"), BATCH)
        return Query(f"max by ({by}) ({with_dataset(named)})", kind="table")

    to_document = link(
        BATCHES,
        dataset="${__data.fields.dataset_id}",
        batch="${batch}",
        document="${__data.fields.document_id}",
    )
    return (
        state_timeline(
            "Document status",
            "One row per document, 20 per page, for the 100 documents that progressed last. One worker processes a "
            "whole batch: later documents stay in parsing while earlier ones are indexed.",
            Query(f"max by (document_id, document) ({number})", "{{document}}"),
            mappings=STATUS_NUMBERS,
            size=(24, 9),
        ),
        segments(
            "Segments of the batch",
            "All segments, and the indexed ones. Both drop when a document is indexed again.",
            total(f"dify_batch_segments{{{BATCH}}}"),
            total(f"dify_batch_segments_completed{{{BATCH}}}"),
        ),
        by_state(
            "Documents of the batch by status",
            "All documents of the batch, including documents without series.",
            f"dify_batch_documents{{{BATCH}}}",
            "status",
            STATUS,
        ),
        table(
            "Documents",
            "The 100 documents of the batch that progressed last; click a document to show it below.",
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
            no_value="no documents with series",
        ),
    )


def build() -> Json:
    """Build the dashboard."""
    return dashboard(
        BATCHES,
        "Dify / Batch and document",
        "Indexing history and current state of one batch and one document.",
        variables=(DATA_SOURCES, JOB, SERVER, DATASET, NEWEST_BATCH, ONE_DOCUMENT),
        rows=(
            ("Batch $batch", (*_batch_now(), *_batch_over_time())),
            ("Document $document", document.panels()),
        ),
    )
