"""Panels about one document: its current state, its history and its properties."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.grafana.colors import NO_YES, NO_YES_BAD, STATUS_NUMBERS
from deploy.grafana.graphs import segments
from deploy.grafana.panels import NONE_IS_GOOD, Query, bar_gauge, override, runbook, stat, state_timeline
from deploy.grafana.queries import (
    DOCUMENT,
    OF_DOCUMENT,
    status_number,
    with_dataset,
    with_document,
)
from deploy.grafana.tables import Column, table

if TYPE_CHECKING:
    from deploy.grafana.panels import Json


def _document_now() -> tuple[Json, ...]:
    return (
        stat(
            "Indexing status",
            "Current indexing status of the document.",
            Query(f"max({status_number(DOCUMENT)})", kind="instant"),
            mappings=STATUS_NUMBERS,
        ),
        _name_only(
            stat(
                "Display status",
                "As Dify's web pages show it. No data: the document detail has not been read.",
                Query(f"max by (status) (dify_document_display_status{{{DOCUMENT}}} == 1)", "{{status}}", "instant"),
            )
        ),
        stat(
            "Stalled",
            "Whether the document is unfinished and has made no progress for too long.",
            Query(f"max(dify_document_stalled{{{DOCUMENT}}})", kind="instant"),
            mappings=NO_YES_BAD,
            links=(runbook("DifyIndexingStalled"),),
        ),
        stat(
            "Idle for",
            "Time since the document last made progress.",
            Query(f"time() - max(dify_document_last_progress_timestamp_seconds{{{DOCUMENT}}})", kind="instant"),
            unit="s",
        ),
        stat(
            "Error",
            "Whether indexing failed, or an error text of an earlier attempt is still stored.",
            Query(f"max(dify_document_error{{{DOCUMENT}}})", kind="instant"),
            mappings=NO_YES_BAD,
            steps=NONE_IS_GOOD,
            links=(runbook("DifyDocumentsFailed"),),
        ),
        stat(
            "Included in retrieval",
            "Whether the document is enabled and not archived.",
            Query(
                f"max(dify_document_enabled{{{DOCUMENT}}}) * (1 - max(dify_document_archived{{{DOCUMENT}}}))",
                kind="instant",
            ),
            mappings=NO_YES,
        ),
    )


def _name_only(panel: Json) -> Json:
    return panel | {"options": panel["options"] | {"colorMode": "none", "textMode": "name"}}


_PHASES = (
    ("Created", "created"),
    ("Picked up by a worker", "processing_started"),
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
            "As observed by the exporter.",
            Query(f"max by (document) ({with_document(status_number(DOCUMENT), DOCUMENT)})", "{{document}}"),
            mappings=STATUS_NUMBERS,
            size=(24, 4),
        ),
        segments(
            "Segments of the document",
            "All segments, and the indexed ones. The latter increase in at most ten steps.",
            f"max(dify_document_segments{{{DOCUMENT}}})",
            f"max(dify_document_segments_completed{{{DOCUMENT}}})",
            size=(10, 10),
        ),
        bar_gauge(
            "Time per phase",
            "Based on times reported by the API; unfinished phases have no bar. After a retry, some times may "
            "belong to an earlier attempt; contradictory times are omitted.",
            *(Query(f"{_time(end)} - {_time(start)} >= 0", name, "instant") for name, start, end, _ in stretches),
            unit="s",
            colors={name: color for name, _, _, color in stretches},
            size=(6, 10),
            no_value="no finished phase",
        ),
        {
            **table(
                "Times reported by Dify",
                "May belong to an earlier attempt. Off by whole hours: caused by the time zone of Dify's API process.",
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
        ("Embedding time", "indexing_duration_seconds", "s"),
        ("Retrieval hits", "hits", "short"),
    )
    limits = (
        ("Maximum segment", "chunk_max_tokens"),
        ("Overlap", "chunk_overlap_tokens"),
        ("Maximum child chunk", "subchunk_max_tokens"),
    )
    info = "document, dataset, batch, data_source_type, doc_form, doc_language, created_from, document_id, server"
    kinds = with_document(f"group by ({OF_DOCUMENT}) (dify_document_info{{{DOCUMENT}}})", DOCUMENT, *_KINDS)
    return (
        stat(
            "Sizes",
            "From the document detail. Values that Dify does not report are not shown.",
            *(Query(f"max(dify_document_{metric}{{{DOCUMENT}}})", name, "instant") for name, metric, _ in named),
            overrides=[override(name, unit=unit) for name, _, unit in named if unit != "short"],
            size=(24, 4),
        ),
        table(
            "Document properties",
            "From the document detail; unknown values are empty.",
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
            no_value="detail not read, or no rule reported",
        ),
        stat(
            "Sizes of the process rule",
            "In tokens. Values that the rule does not set are not shown.",
            *(Query(f"max(dify_document_{metric}{{{DOCUMENT}}})", name, "instant") for name, metric in limits),
            unit="suffix: tokens",
            size=(12, 4),
            no_value="not set by the rule",
        ),
    )


_KINDS = ("batch", "data_source_type", "doc_form", "doc_language", "created_from")


def panels() -> tuple[Json, ...]:
    """All panels about the selected document."""
    return (*_document_now(), *_document_times(), *_document_details())
