"""The one table of everything that is exposed about Dify and about the polls of each target.

A row knows how to read its samples from an object of ``exporter.tracking``; nothing else in the program knows a name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

from exporter.tracking.model import (
    DISPLAY_STATUSES,
    STATUSES,
    Batch,
    Detail,
    Document,
    ProcessRule,
    Progress,
    ServerStatus,
    TargetStatus,
    Tracked,
)

Number = int | float
LabelValues = tuple[str, ...]
Samples = Sequence[tuple[LabelValues, Number]]
Read = Callable[[Any], Any]
MetricType = Literal["gauge", "counter", "histogram"]
TrackedType = type[Tracked]

IDENTITY: dict[TrackedType, tuple[str, ...]] = {
    ServerStatus: ("server",),
    TargetStatus: ("server", "kind", "dataset_id", "target"),
    Batch: ("server", "dataset_id", "batch"),
    Document: ("server", "dataset_id", "document_id"),
}
"""The labels that every series of an object has: attributes that tell it from all others of its type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A metric family and how its samples are read from an object of type ``of``.

    ``part`` takes from the object the piece that ``read`` looks at; while the piece stays equal, so do the samples.
    ``read`` is asked only when there is a piece, and gives

    - without ``labels``: the value, or None for no series;
    - with ``labels``: a sequence of (label values, value);
    - with ``states``: the current state, or None for no series; every state has a series, 1 or 0, and a word that is
      none of them counts as ``unknown``.
    """

    name: str
    type: MetricType = "gauge"
    help: str
    of: TrackedType
    part: Read
    read: Read
    labels: tuple[str, ...] = ()
    states: tuple[str, ...] = ()

    def samples(self, obj: Tracked) -> Samples:
        """What ``obj`` has to say here: the values of ``labels``, and the value."""
        part = self.part(obj)
        seen = None if part is None else self.read(part)
        if seen is None:
            return ()
        if self.states:
            current = seen if seen in self.states else "unknown"
            return [((state,), int(state == current)) for state in self.states]
        if self.labels:
            return list(seen)
        return [((), seen)]


def _whole(obj: Any) -> Any:
    return obj


_progress: Callable[[Any], Progress] = attrgetter("progress")
_detail: Callable[[Any], Detail | None] = attrgetter("detail")


def _rule(document: Document) -> ProcessRule | None:
    return document.detail.rule if document.detail else None


def _server_info(server: ServerStatus) -> Samples:
    return (((server.url, server.version), 1),)


def _batch_documents(batch: Batch) -> Samples:
    return tuple(((status,), count) for status, count in zip(STATUSES, batch.counts, strict=True))


def _document_info(document: Document) -> Samples:
    detail = document.detail or _NO_DETAIL
    kinds = (detail.data_source_type, detail.doc_form, detail.doc_language, detail.created_from)
    return (((document.batch, detail.name, *kinds), 1),)


def _nameless_document_info(document: Document) -> Samples:
    (((batch, _, *rest), one),) = _document_info(document)
    return (((batch, "", *rest), one),)


_NO_DETAIL = Detail()


def _has_error(progress: Progress) -> bool:
    return progress.status == "error" or progress.has_error


def _rule_info(rule: ProcessRule) -> Samples:
    return (((rule.mode, rule.separator, rule.parent_mode), 1),)


def _server(name: str, text: str, read: Read, labels: tuple[str, ...] = ()) -> Family:
    return Family(name=name, help=text, of=ServerStatus, part=_whole, read=read, labels=labels)


def _target(name: str, text: str, field: str) -> Family:
    return Family(name=name, help=text, of=TargetStatus, part=_whole, read=attrgetter(field))


def _batch(name: str, text: str, read: Read, labels: tuple[str, ...] = ()) -> Family:
    return Family(name=name, help=f"{text} Polled.", of=Batch, part=_whole, read=read, labels=labels)


def _document(name: str, text: str, part: Read, field: str) -> Family:
    return Family(name=name, help=f"{text} Polled.", of=Document, part=part, read=attrgetter(field))


def _phase(word: str, text: str, field: str) -> Family:
    said = f"{text}, Unix seconds as the API gives them; may be of an earlier attempt."
    return _document(f"dify_document_{word}_timestamp_seconds", said, _progress, field)


def catalog(*, document_name: bool = True) -> tuple[Family, ...]:
    """Every family in the order of the page. Without ``document_name`` the label ``name`` of documents is empty."""
    return (
        _server(
            "dify_up",
            "Whether the last request to the server was answered with accepted credentials.",
            attrgetter("up"),
        ),
        _server(
            "dify_server_info",
            "The server: its URL and the version that it reports, empty when unknown. Polled.",
            _server_info,
            ("url", "version"),
        ),
        _target("dify_exporter_target_success", "Whether the last poll of the target succeeded.", "success"),
        _target(
            "dify_exporter_target_last_success_timestamp_seconds",
            "When a poll of the target last succeeded, Unix seconds of the exporter.",
            "last_success",
        ),
        _target("dify_exporter_target_interval_seconds", "Seconds between polls of the target at present.", "interval"),
        _batch(
            "dify_batch_documents",
            "Documents of the batch by indexing status.",
            _batch_documents,
            ("status",),
        ),
        _batch(
            "dify_batch_segments",
            "Segments of all documents of the batch; 0 until the documents are split.",
            attrgetter("segments"),
        ),
        _batch(
            "dify_batch_segments_completed",
            "Segments of all documents of the batch that are indexed; can fall when a document is indexed again.",
            attrgetter("completed_segments"),
        ),
        Family(
            name="dify_document_info",
            help="The document: its batch, name and kind, empty where not known. Polled.",
            of=Document,
            part=_whole,
            read=_document_info if document_name else _nameless_document_info,
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

CATALOG = catalog()
"""The families as they are by default."""
