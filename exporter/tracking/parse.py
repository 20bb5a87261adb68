"""Converts API answers to the exporter's own objects. Pure."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from exporter.dify import DocumentDetail
from exporter.tracking.model import DISPLAY_STATUSES, STATUSES, Detail, ProcessRule, Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.dify import IndexingItem, ListedDocument, ProcessRuleAnswer

UNKNOWN = "unknown"

# Each status maps to itself, so that only one of the many equal strings in answers is kept.
_STATUSES = {status: status for status in STATUSES if status != UNKNOWN}
_DISPLAY_STATUSES = {status: status for status in DISPLAY_STATUSES if status != UNKNOWN}

_WORDS = ("data_source_type", "doc_form", "doc_language", "created_from")
"""Fields of a detail with few different values: equal strings are stored once."""

_COPIED = tuple(
    name
    for name in Detail.__struct_fields__
    if name in DocumentDetail.__struct_fields__ and name not in {"name", "display_status", *_WORDS}
)
"""Fields of a detail that are stored as they are: a new one needs the field in both structs."""


def parse_item(item: IndexingItem, unknown: Callable[[str], None]) -> Progress:
    """The progress in an item of indexing-status. ``unknown`` is called with the names of fields of unknown value."""
    status = _STATUSES.get(item.indexing_status)
    if status is None:
        unknown("indexing_status")
        status = UNKNOWN
    return Progress(
        status,
        processing_started_at=item.processing_started_at,
        parsing_completed_at=item.parsing_completed_at,
        cleaning_completed_at=item.cleaning_completed_at,
        splitting_completed_at=item.splitting_completed_at,
        completed_at=item.completed_at,
        paused_at=item.paused_at,
        stopped_at=item.stopped_at,
        completed_segments=item.completed_segments,
        total_segments=item.total_segments,
        has_error=bool(item.error),
    )


def parse_detail(detail: DocumentDetail, unknown: Callable[[str], None]) -> Detail:
    """The attributes in a document's detail, without its progress."""
    display_status = _DISPLAY_STATUSES.get(detail.display_status) if detail.display_status else None
    if detail.display_status and display_status is None:
        unknown("display_status")
        display_status = UNKNOWN
    copied: dict[str, Any] = {name: getattr(detail, name) for name in _COPIED}
    words: dict[str, Any] = {name: sys.intern(getattr(detail, name) or "") for name in _WORDS}
    return Detail(
        **copied,
        **words,
        name=detail.name or "",
        display_status=display_status,
        has_error=bool(detail.error),
        rule=_parse_rule(detail.document_process_rule) or _parse_rule(detail.dataset_process_rule),
    )


def parse_detail_progress(
    detail: DocumentDetail, before: Progress | None, unknown: Callable[[str], None]
) -> Progress | None:
    """The progress in a detail, for a document whose batch is unknown; ``before`` if the detail has no status.

    In a detail, ``indexing_status`` is never ``paused``; the display status is. A detail has no count of completed
    segments: that stays as it was ``before``.
    """
    status = detail.indexing_status
    if not status:
        return before
    return Progress(
        parse_status(status, detail.display_status, unknown),
        completed_at=detail.completed_at,
        completed_segments=before.completed_segments if before else None,
        total_segments=detail.segment_count,
        has_error=bool(detail.error),
    )


def parse_listed(document: ListedDocument, unknown: Callable[[str], None]) -> Progress:
    """The progress in a document list: the status and whether there is an error."""
    status = parse_status(document.indexing_status, document.display_status, unknown)
    return Progress(status, has_error=bool(document.error))


def merge_listed(reported: Progress, before: Progress) -> Progress:
    """Merge the progress in a list with what was known ``before``. A new status may come with new times."""
    if reported.status == before.status:
        return replace(before, has_error=reported.has_error)
    return replace(reported, completed_segments=before.completed_segments, total_segments=before.total_segments)


def parse_status(status: str, display_status: str | None, unknown: Callable[[str], None]) -> str:
    """The indexing status in a list or detail, where ``paused`` is only a display status."""
    if display_status == "paused":
        return "paused"
    known = _STATUSES.get(status)
    if known is None:
        unknown("indexing_status")
        return UNKNOWN
    return known


def _parse_rule(rule: ProcessRuleAnswer | None) -> ProcessRule | None:
    """A rule; None for ``{}`` and null, which both occur.

    Real servers write ``delimiter`` in automatic rules, the API reference says ``separator``. The API reference has an
    overlap only for subchunks, real servers for chunks too: the overlap of chunks takes precedence.
    """
    if rule is None or (not rule.mode and rule.rules is None):
        return None
    rules = rule.rules
    chunk = rules.segmentation if rules else None
    subchunk = rules.subchunk_segmentation if rules else None
    separator = (chunk.separator if chunk.separator is not None else chunk.delimiter) if chunk else None
    overlap = chunk.chunk_overlap if chunk else None
    if overlap is None and subchunk:
        overlap = subchunk.chunk_overlap
    return ProcessRule(
        mode=rule.mode or "",
        separator=separator or "",
        parent_mode=(rules.parent_mode if rules else None) or "",
        max_tokens=chunk.max_tokens if chunk else None,
        overlap_tokens=overlap,
        subchunk_max_tokens=subchunk.max_tokens if subchunk else None,
    )
