"""The metric families of documents. Each costs one or more series per document, at most 45 in total."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from exporter.metrics.families import Family, unix_seconds, whole
from exporter.tracking.model import DISPLAY_STATUSES, STATUSES, Detail, Document, ProcessRule, Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.metrics.families import Read, Samples

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
    return Family(name=name, help=f"{text} (as of the last poll).", of=Document, part=part, read=attrgetter(field))


def _phase(word: str, text: str, field: str) -> Family:
    said = f"{text}, Unix seconds as reported by the API; may belong to an earlier attempt"
    return _document(f"dify_document_{word}_timestamp_seconds", said, _progress, field)


def document_families(*, document_name: bool) -> tuple[Family, ...]:
    """The document families in page order. Without ``document_name`` the label ``name`` is empty."""
    return (
        Family(
            name="dify_document_info",
            help="Batch, name, source, form and language of the document, empty where unknown (as of the last poll).",
            of=Document,
            part=whole,
            read=_info if document_name else _nameless_info,
            labels=("batch", "name", "data_source_type", "doc_form", "doc_language", "created_from"),
        ),
        Family(
            name="dify_document_indexing_status",
            help="1 for the document's current indexing status, 0 for the others (as of the last poll).",
            of=Document,
            part=_progress,
            read=attrgetter("status"),
            labels=("status",),
            states=STATUSES,
        ),
        Family(
            name="dify_document_display_status",
            help="1 for the document's current display status, 0 for the others (as of the last poll).",
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
        help="1 if the indexing status is error or the API reports an error text with it (as of the last poll).",
        of=Document,
        part=_progress,
        read=_has_error,
    ),
    _document(
        "dify_document_segments",
        "Segments of the document; 0 until it is split",
        _progress,
        "total_segments",
    ),
    _document(
        "dify_document_segments_completed",
        "Indexed segments of the document; can decrease when it is indexed again",
        _progress,
        "completed_segments",
    ),
    _phase("processing_started", "Time at which a worker started processing the document", "processing_started_at"),
    _phase("parsing_completed", "Time at which the text was extracted", "parsing_completed_at"),
    _phase("cleaning_completed", "Time at which the text was cleaned", "cleaning_completed_at"),
    _phase("splitting_completed", "Time at which the text was split into segments", "splitting_completed_at"),
    _phase("completed", "Time at which indexing was completed", "completed_at"),
    _phase("paused", "Time at which the document was paused", "paused_at"),
    _phase("stopped", "Time at which indexing failed", "stopped_at"),
    Family(
        name="dify_document_last_progress_timestamp_seconds",
        help="Time of the document's last progress, Unix seconds by the exporter's clock (as of the last poll).",
        of=Document,
        part=attrgetter("last_progress"),
        read=unix_seconds,
    ),
    Family(
        name="dify_document_stalled",
        help="1 if the document is unfinished and has made no progress for too long (as of the last poll).",
        of=Document,
        part=attrgetter("stalled"),
        read=whole,
    ),
)

_DETAIL = (
    _document(
        "dify_document_created_timestamp_seconds",
        "Time at which the document was created, Unix seconds as reported by the API",
        _detail,
        "created_at",
    ),
    _document(
        "dify_document_updated_timestamp_seconds",
        "Time at which the document was last updated, Unix seconds as reported by the API",
        _detail,
        "updated_at",
    ),
    _document(
        "dify_document_disabled_timestamp_seconds",
        "Time at which the document was disabled, Unix seconds as reported by the API",
        _detail,
        "disabled_at",
    ),
    _document("dify_document_tokens", "Tokens of the document; 0 with economy indexing", _detail, "tokens"),
    _document("dify_document_characters", "Characters of the document", _detail, "word_count"),
    _document(
        "dify_document_hits", "Number of times that retrieval found segments of the document", _detail, "hit_count"
    ),
    _document("dify_document_stored_segments", "Segments stored for the document", _detail, "segment_count"),
    _document(
        "dify_document_average_segment_length",
        "Average length of the document's segments, in characters",
        _detail,
        "average_segment_length",
    ),
    _document(
        "dify_document_indexing_duration_seconds",
        "Seconds that embedding and storing took at the last completion",
        _detail,
        "indexing_latency",
    ),
    _document("dify_document_enabled", "1 if the document is enabled for retrieval", _detail, "enabled"),
    _document("dify_document_archived", "1 if the document is archived", _detail, "archived"),
)

_RULE = (
    Family(
        name="dify_document_process_rule_info",
        help="Rule that the document was processed with, empty where it is not set (as of the last poll).",
        of=Document,
        part=_rule,
        read=_rule_info,
        labels=("mode", "separator", "parent_mode"),
    ),
    _document("dify_document_chunk_max_tokens", "Maximum size of a segment, in tokens", _rule, "max_tokens"),
    _document("dify_document_chunk_overlap_tokens", "Overlap between segments, in tokens", _rule, "overlap_tokens"),
    _document(
        "dify_document_subchunk_max_tokens", "Maximum size of a child chunk, in tokens", _rule, "subchunk_max_tokens"
    ),
)
