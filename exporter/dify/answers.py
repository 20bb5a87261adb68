"""The answers of the knowledge API. Only fields that the exporter uses are decoded.

Null and missing are equivalent. Numbers may be ints or floats: the OpenAPI page and real servers differ. A value of
another type or out of range is odd: ``exporter.dify.lenient`` reads it as null if the field may be null.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from exporter.dify.lenient import COMPLETE, prepare

FIRST_SECOND = -31_536_000
"""The beginning of 1969 in Unix seconds. A clock that was never set starts at 1970, and objects may be older."""

LAST_SECOND = 253_402_300_799
"""The end of the year 9999 in Unix seconds."""

LARGEST = 2**53
"""Up to here, a float represents every integer exactly."""

Time = Annotated[int, Meta(ge=FIRST_SECOND, le=LAST_SECOND)] | Annotated[float, Meta(ge=FIRST_SECOND, le=LAST_SECOND)]
"""Unix seconds."""

Quantity = Annotated[int, Meta(ge=0, le=LARGEST)] | Annotated[float, Meta(ge=0, le=LARGEST)]
"""A count or a duration."""


class IndexingItem(Struct, frozen=True, gc=False):
    """A document in the answer of ``/datasets/{dataset_id}/documents/{batch}/indexing-status``."""

    id: str
    indexing_status: str = ""
    processing_started_at: Time | None = None
    parsing_completed_at: Time | None = None
    cleaning_completed_at: Time | None = None
    splitting_completed_at: Time | None = None
    completed_at: Time | None = None
    paused_at: Time | None = None
    stopped_at: Time | None = None
    completed_segments: Quantity | None = None
    total_segments: Quantity | None = None
    error: str | None = None


class IndexingStatus(Struct, frozen=True, gc=False):
    """The whole answer: one item per document, in no particular order."""

    data: Annotated[list[IndexingItem], COMPLETE]


class Segmentation(Struct, frozen=True, gc=False):
    """How text is split. ``separator`` is the official name; automatic rules of real servers use ``delimiter``."""

    separator: str | None = None
    delimiter: str | None = None
    max_tokens: Quantity | None = None
    chunk_overlap: Quantity | None = None


class Rules(Struct, frozen=True, gc=False):
    """The rules of a process rule; hierarchical documents have ``parent_mode`` and ``subchunk_segmentation``."""

    segmentation: Segmentation | None = None
    parent_mode: str | None = None
    subchunk_segmentation: Segmentation | None = None


class ProcessRuleAnswer(Struct, frozen=True, gc=False):
    """A process rule; may be ``{}``."""

    mode: str | None = None
    rules: Rules | None = None


class DocumentDetail(Struct, frozen=True, gc=False):
    """The answer of ``/datasets/{dataset_id}/documents/{document_id}?metadata=without``."""

    id: str
    name: str | None = None
    data_source_type: str | None = None
    doc_form: str | None = None
    doc_language: str | None = None
    created_from: str | None = None
    indexing_status: str | None = None
    display_status: str | None = None
    error: str | None = None
    created_at: Time | None = None
    updated_at: Time | None = None
    completed_at: Time | None = None
    disabled_at: Time | None = None
    indexing_latency: Quantity | None = None
    tokens: Quantity | None = None
    word_count: Quantity | None = None
    hit_count: Quantity | None = None
    segment_count: Quantity | None = None
    average_segment_length: Quantity | None = None
    enabled: bool | None = None
    archived: bool | None = None
    dataset_process_rule: ProcessRuleAnswer | None = None
    document_process_rule: ProcessRuleAnswer | None = None


class DatasetAnswer(Struct, frozen=True, gc=False):
    """A knowledge base in ``/datasets`` and ``/datasets/{dataset_id}``. The totals exist since Dify 1.9."""

    id: str
    name: str | None = None
    indexing_technique: str | None = None
    embedding_model: str | None = None
    document_count: Quantity | None = None
    total_documents: Quantity | None = None
    total_available_documents: Quantity | None = None
    word_count: Quantity | None = None
    created_at: Time | None = None


class DatasetPage(Struct, frozen=True, gc=False):
    """A page of ``/datasets``. ``total`` is the number of items on all pages."""

    data: list[DatasetAnswer]
    total: Quantity | None = None


class ListedDocument(Struct, frozen=True, gc=False):
    """A document in ``/datasets/{dataset_id}/documents``: no batch, no segments, no phase times."""

    id: str
    indexing_status: str = ""
    display_status: str | None = None
    error: str | None = None
    created_at: Time | None = None


class DocumentPage(Struct, frozen=True, gc=False):
    """A page of documents, newest first. ``total`` is the number of documents on all pages of the filtered list."""

    data: list[ListedDocument]
    total: Quantity


class SegmentPage(Struct, frozen=True, gc=False):
    """A page of segments. Only ``total`` is decoded: the rest is text of the document."""

    total: Quantity


class Refusal(Struct, frozen=True, gc=False):
    """The body of Dify's error answers."""

    code: str | None = None
    message: str | None = None
    status: int | None = None


prepare(IndexingStatus, DocumentDetail, DatasetAnswer, DatasetPage, DocumentPage, SegmentPage, Refusal)
