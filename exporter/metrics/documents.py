"""The families that are read from a document. Each costs a series or more a document: 45 in all at most."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from exporter.metrics.family import Family, unix_seconds, whole
from exporter.tracking.model import DISPLAY_STATUSES, STATUSES, Detail, Document, ProcessRule, Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.metrics.family import Read, Samples

_NO_DETAIL = Detail()

_progress: Callable[[Any], Progress] = attrgetter("progress")
_detail: Callable[[Any], Detail | None] = attrgetter("detail")


def _rule(document: Document) -> ProcessRule | None:
    return document.detail.rule if document.detail else None


def _info(document: Document) -> Samples:
    detail = document.detail or _NO_DETAIL
    kinds = (detail.data_source_type, detail.doc_form, detail.doc_language, detail.created_from)
    return (((document.batch, detail.name, *kinds), 1),)


def _nameless_info(document: Document) -> Samples:
    (((batch, _, *rest), one),) = _info(document)
    return (((batch, "", *rest), one),)


def _has_error(progress: Progress) -> bool:
    return progress.status == "error" or progress.has_error


def _rule_info(rule: ProcessRule) -> Samples:
    return (((rule.mode, rule.separator, rule.parent_mode), 1),)


def _document(name: str, text: str, part: Read, field: str) -> Family:
    return Family(name=name, help=f"{text} Polled.", of=Document, part=part, read=attrgetter(field))


def _phase(word: str, text: str, field: str) -> Family:
    said = f"{text}, Unix seconds as the API gives them; may be of an earlier attempt."
    return _document(f"dify_document_{word}_timestamp_seconds", said, _progress, field)


def document_families(*, document_name: bool) -> tuple[Family, ...]:
    """They, in the order of the page. Without ``document_name`` the label ``name`` is empty."""
    return (
        Family(
            name="dify_document_info",
            help="The document: its batch, name and kind, empty where not known. Polled.",
            of=Document,
            part=whole,
            read=_info if document_name else _nameless_info,
            labels=("batch", "name", "data_source_type", "doc_form", "doc_language", "created_from"),
        ),
        Family(
            name="dify_document_indexing_status",
            help="1 for the indexing status that the document has, 0 for the others. Polled.",
            of=Document,
            part=_progress,
            read=attrgetter("status"),
            labels=("status",),
            states=STATUSES,
        ),
        Family(
            name="dify_document_display_status",
            help="1 for the display status that the document has, 0 for the others. Polled.",
            of=Document,
            part=_detail,
            read=attrgetter("display_status"),
            labels=("status",),
            states=DISPLAY_STATUSES,
        ),
        *_PROGRESS,
        *_DETAIL,
        *_RULE,
    )


_PROGRESS = (
    Family(
        name="dify_document_error",
        help="Whether the indexing status is error or the API gives an error text with it. Polled.",
        of=Document,
        part=_progress,
        read=_has_error,
    ),
    _document(
        "dify_document_segments",
        "Segments of the document; 0 until it is split.",
        _progress,
        "total_segments",
    ),
    _document(
        "dify_document_segments_completed",
        "Segments of the document that are indexed; can fall when it is indexed again.",
        _progress,
        "completed_segments",
    ),
    _phase("processing_started", "When a worker took the document up", "processing_started_at"),
    _phase("parsing_completed", "When the text was extracted", "parsing_completed_at"),
    _phase("cleaning_completed", "When the text was cleaned", "cleaning_completed_at"),
    _phase("splitting_completed", "When the text was split into segments", "splitting_completed_at"),
    _phase("completed", "When indexing was completed", "completed_at"),
    _phase("paused", "When the document was paused", "paused_at"),
    _phase("stopped", "When indexing failed", "stopped_at"),
    Family(
        name="dify_document_last_progress_timestamp_seconds",
        help="When the document last moved, Unix seconds of the exporter. Polled.",
        of=Document,
        part=attrgetter("last_progress"),
        read=unix_seconds,
    ),
    Family(
        name="dify_document_stalled",
        help="Whether the document is unfinished and has made no progress for too long. Polled.",
        of=Document,
        part=attrgetter("stalled"),
        read=whole,
    ),
)

_DETAIL = (
    _document(
        "dify_document_created_timestamp_seconds",
        "When the document was created, Unix seconds as the API gives them.",
        _detail,
        "created_at",
    ),
    _document(
        "dify_document_updated_timestamp_seconds",
        "When the document was last updated, Unix seconds as the API gives them.",
        _detail,
        "updated_at",
    ),
    _document(
        "dify_document_disabled_timestamp_seconds",
        "When the document was disabled, Unix seconds as the API gives them.",
        _detail,
        "disabled_at",
    ),
    _document("dify_document_tokens", "Tokens of the document; 0 with economy indexing.", _detail, "tokens"),
    _document("dify_document_characters", "Characters of the document.", _detail, "word_count"),
    _document("dify_document_hits", "How often retrieval found segments of the document.", _detail, "hit_count"),
    _document("dify_document_stored_segments", "Segments stored for the document.", _detail, "segment_count"),
    _document(
        "dify_document_average_segment_length",
        "Mean length of the segments of the document in characters.",
        _detail,
        "average_segment_length",
    ),
    _document(
        "dify_document_indexing_duration_seconds",
        "Seconds that embedding and storing took at the last completion.",
        _detail,
        "indexing_latency",
    ),
    _document("dify_document_enabled", "Whether the document takes part in retrieval.", _detail, "enabled"),
    _document("dify_document_archived", "Whether the document is archived.", _detail, "archived"),
)

_RULE = (
    Family(
        name="dify_document_process_rule_info",
        help="The rule that the document was processed with, empty where it does not say. Polled.",
        of=Document,
        part=_rule,
        read=_rule_info,
        labels=("mode", "separator", "parent_mode"),
    ),
    _document("dify_document_chunk_max_tokens", "Largest size of a segment in tokens.", _rule, "max_tokens"),
    _document("dify_document_chunk_overlap_tokens", "Overlap of segments in tokens.", _rule, "overlap_tokens"),
    _document(
        "dify_document_subchunk_max_tokens", "Largest size of a child chunk in tokens.", _rule, "subchunk_max_tokens"
    ),
)
