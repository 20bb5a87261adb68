"""The answers of the knowledge API. Only fields that the exporter uses are decoded.

Null and missing are equivalent. Numbers may be ints or floats: the OpenAPI page and real servers differ. Integers that
exceed 64 bits are rejected: neither a float nor a database could store all of them.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Number = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | float


class IndexingItem(Struct, frozen=True, gc=False):
    """A document in the answer of ``/datasets/{dataset_id}/documents/{batch}/indexing-status``."""

    id: str
    indexing_status: str
    processing_started_at: Number | None = None
    parsing_completed_at: Number | None = None
    cleaning_completed_at: Number | None = None
    splitting_completed_at: Number | None = None
    completed_at: Number | None = None
    paused_at: Number | None = None
    stopped_at: Number | None = None
    completed_segments: Number | None = None
    total_segments: Number | None = None
    error: str | None = None


class IndexingStatus(Struct, frozen=True, gc=False):
    """The whole answer: one item per document, in no particular order."""

    data: list[IndexingItem]


class Segmentation(Struct, frozen=True, gc=False):
    """How text is split. ``separator`` is the official name; automatic rules of real servers use ``delimiter``."""

    separator: str | None = None
    delimiter: str | None = None
    max_tokens: Number | None = None
    chunk_overlap: Number | None = None


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
    created_at: Number | None = None
    updated_at: Number | None = None
    completed_at: Number | None = None
    disabled_at: Number | None = None
    indexing_latency: Number | None = None
    tokens: Number | None = None
    word_count: Number | None = None
    hit_count: Number | None = None
    segment_count: Number | None = None
    average_segment_length: Number | None = None
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
    document_count: Number | None = None
    total_documents: Number | None = None
    total_available_documents: Number | None = None


class DatasetPage(Struct, frozen=True, gc=False):
    """A page of ``/datasets``. ``total`` is the number of items on all pages."""

    data: list[DatasetAnswer]
    total: Number | None = None


class ListedDocument(Struct, frozen=True, gc=False):
    """A document in ``/datasets/{dataset_id}/documents``: no batch, no segments, no phase times."""

    id: str
    indexing_status: str
    display_status: str | None = None
    error: str | None = None


class DocumentPage(Struct, frozen=True, gc=False):
    """A page of documents, newest first. ``total`` is the number of documents on all pages of the filtered list."""

    data: list[ListedDocument]
    total: Number


class SegmentPage(Struct, frozen=True, gc=False):
    """A page of segments. Only ``total`` is decoded: the rest is text of the document."""

    total: Number


class Welcome(Struct, frozen=True, gc=False):
    """The answer of ``/v1/``, which requires no key."""

    server_version: str


class Refusal(Struct, frozen=True, gc=False):
    """The body of Dify's error answers."""

    code: str | None = None
    message: str | None = None
