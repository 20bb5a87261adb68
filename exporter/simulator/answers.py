"""The answers of the API, with the field types of a real server (1.12.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from exporter.simulator.documents import stable_id

if TYPE_CHECKING:
    from exporter.simulator.documents import DatasetState, Document
    from exporter.simulator.scenario import Rule
    from exporter.simulator.timeline import Row

ACCOUNT = stable_id("account")


class Item(Struct, frozen=True, gc=False):
    """A document in an indexing-status answer."""

    id: str
    indexing_status: str
    processing_started_at: int | None
    parsing_completed_at: int | None
    cleaning_completed_at: int | None
    splitting_completed_at: int | None
    completed_at: int | None
    paused_at: int | None
    error: str | None
    stopped_at: int | None
    completed_segments: int
    total_segments: int


def seconds(instant: float | None, zone: float) -> int | None:
    """An instant as the API returns it: whole seconds, too small by the time zone's offset from UTC."""
    return None if instant is None else int(instant - zone)


def indexing_status(documents: list[Document], now: float, zone: float) -> dict[str, list[Item]]:
    """The answer for a batch. Documents are ordered by their last write, as PostgreSQL returns the rows."""
    rows = sorted(((document.row_at(now), document) for document in documents), key=lambda pair: pair[0].updated)
    return {"data": [_item(document, row, zone) for row, document in rows]}


def _item(document: Document, row: Row, zone: float) -> Item:
    split = seconds(row.split, zone)
    return Item(
        id=document.id,
        indexing_status="paused" if document.paused else row.status,
        processing_started_at=seconds(row.started, zone),
        parsing_completed_at=seconds(row.parsed, zone),
        cleaning_completed_at=split,
        splitting_completed_at=split,
        completed_at=seconds(row.completed_at, zone),
        paused_at=seconds(row.paused_at, zone),
        error=row.error,
        stopped_at=seconds(row.stopped, zone),
        completed_segments=row.completed,
        total_segments=row.total,
    )


def _common(document: Document, row: Row, zone: float) -> dict[str, Any]:
    """The fields that the detail and the list have in common."""
    return {
        "id": document.id,
        "position": document.position,
        "data_source_type": document.plan.source,
        "dataset_process_rule_id": stable_id("rule", document.id),
        "name": document.name,
        "created_from": document.created_from,
        "created_by": ACCOUNT,
        "created_at": seconds(document.created, zone),
        "tokens": row.tokens,
        "indexing_status": row.status,
        "error": row.error,
        "enabled": document.disabled_at is None,
        "disabled_at": seconds(document.disabled_at, zone),
        "disabled_by": None if document.disabled_at is None else ACCOUNT,
        "archived": document.archived,
        "hit_count": document.plan.hits,
        "display_status": document.display_status(row),
        "doc_form": form(document),
        "summary_index_status": None,
        "need_summary": False,
    }


def detail(document: Document, now: float, zone: float, metadata: str) -> dict[str, Any]:
    """The answer for a document. ``metadata``: all, only or without."""
    custom = {"doc_type": None, "doc_metadata": _metadata(document, now, zone)}
    if metadata == "only":
        return {"id": document.id, **custom}
    row = document.row_at(now)
    stored = row.total + row.outdated
    rule = _process_rule(document.plan.rule)
    answer = _common(document, row, zone) | {
        "data_source_info": _source(document, zone),
        "dataset_process_rule": rule,
        "document_process_rule": {
            "id": stable_id("rule", document.id),
            "dataset_id": document.dataset.plan.id,
            **rule,
        },
        "completed_at": seconds(row.completed_at, zone),
        "updated_at": seconds(row.updated, zone),
        "indexing_latency": row.latency,
        "segment_count": stored,
        "average_segment_length": (row.characters or 0) // stored if stored else 0,
        "doc_language": document.plan.language,
    }
    return answer if metadata == "without" else answer | custom


def listed(document: Document, now: float, zone: float) -> dict[str, Any]:
    """An item of the document list."""
    row = document.row_at(now)
    source = _source(document, zone)
    upload = source.get("upload_file")
    return _common(document, row, zone) | {
        "data_source_info": {"upload_file_id": upload["id"]} if upload else source,
        "data_source_detail_dict": source,
        "word_count": row.characters,
        "doc_metadata": _metadata(document, now, zone),
    }


def form(document: Document) -> str:
    """The ``doc_form`` of the document."""
    return "hierarchical_model" if document.traits.hierarchical else "text_model"


def _source(document: Document, zone: float) -> dict[str, Any]:
    """The source of the document's text."""
    if document.plan.source != "upload_file":
        return {"type": "page", "url": f"https://example.org/{document.id}"}
    extension = document.name.rpartition(".")[2]
    return {
        "upload_file": {
            "id": stable_id("file", document.id),
            "name": document.name,
            "size": document.attempt.characters,
            "extension": extension,
            "mime_type": "text/plain",
            "created_by": ACCOUNT,
            "created_at": document.created - zone,
        }
    }


def _metadata(document: Document, now: float, zone: float) -> list[dict[str, str]] | None:
    """Custom metadata followed by the built-in fields; None if there is no custom metadata."""
    custom = document.plan.metadata
    if not custom:
        return None
    builtin = [
        ("document_name", "string", document.name),
        ("uploader", "string", "admin"),
        ("upload_date", "time", str(document.created - zone)),
        ("last_update_date", "time", str(document.row_at(now).updated - zone)),
        ("source", "string", "file_upload"),
    ]
    return [
        {"id": stable_id("metadata", name), "name": name, "type": "string", "value": value}
        for name, value in custom.items()
    ] + [{"id": "built-in", "name": name, "type": kind, "value": value} for name, kind, value in builtin]


def _process_rule(rule: Rule) -> dict[str, Any]:
    """A process rule; automatic rules have ``delimiter`` instead of ``separator`` and no parent mode."""
    automatic = rule.mode == "automatic"
    rules: dict[str, Any] = {
        "pre_processing_rules": [
            {"id": "remove_extra_spaces", "enabled": True},
            {"id": "remove_urls_emails", "enabled": not automatic},
        ],
        "segmentation": {
            "delimiter" if automatic else "separator": rule.separator,
            "max_tokens": rule.max_tokens,
            "chunk_overlap": rule.chunk_overlap,
        },
    }
    if not automatic:
        nested = rule.mode == "hierarchical"
        rules["parent_mode"] = rule.parent_mode if nested else None
        rules["subchunk_segmentation"] = (
            {"separator": "\n", "max_tokens": rule.subchunk_max_tokens, "chunk_overlap": 0} if nested else None
        )
    return {"mode": rule.mode, "rules": rules}


def dataset(state: DatasetState, now: float, zone: float) -> dict[str, Any]:
    """A knowledge base, both in the list and on its own."""
    plan = state.plan
    rows = [(document, document.row_at(now)) for document in state.documents.values()]
    available = sum(document.display_status(row) == "available" for document, row in rows)
    created = seconds(state.created, zone)
    return {
        "id": plan.id,
        "name": plan.name,
        "description": "",
        "provider": "vendor",
        "permission": "only_me",
        "data_source_type": rows[0][0].plan.source if rows else None,
        "indexing_technique": plan.technique,
        "app_count": 0,
        "document_count": len(rows),
        "word_count": sum(row.characters or 0 for _, row in rows),
        "created_by": ACCOUNT,
        "author_name": "admin",
        "created_at": created,
        "updated_by": ACCOUNT,
        "updated_at": created,
        "embedding_model": plan.embedding_model,
        "embedding_model_provider": plan.embedding_model_provider,
        "embedding_available": True,
        "retrieval_model_dict": {
            "search_method": "semantic_search",
            "reranking_enable": False,
            "reranking_mode": None,
            "reranking_model": {"reranking_provider_name": "", "reranking_model_name": ""},
            "weights": None,
            "top_k": 2,
            "score_threshold_enabled": False,
            "score_threshold": None,
        },
        "summary_index_setting": {
            "enable": None,
            "model_name": None,
            "model_provider_name": None,
            "summary_prompt": None,
        },
        "tags": [],
        "doc_form": form(rows[0][0]) if rows else None,
        "external_knowledge_info": {
            "external_knowledge_id": None,
            "external_knowledge_api_id": None,
            "external_knowledge_api_name": None,
            "external_knowledge_api_endpoint": None,
        },
        "external_retrieval_model": {"top_k": 2, "score_threshold": 0.0, "score_threshold_enabled": None},
        "doc_metadata": [],
        "built_in_field_enabled": False,
        "pipeline_id": stable_id("pipeline", plan.id) if plan.pipeline else None,
        "runtime_mode": "rag_pipeline" if plan.pipeline else "general",
        "chunk_structure": None,
        "icon_info": {"icon_type": None, "icon": None, "icon_background": None, "icon_url": None},
        "is_published": plan.pipeline,
        "total_documents": len(rows),
        "total_available_documents": available,
        "enable_api": plan.api,
        "is_multimodal": False,
    }


def segment_counts(row: Row) -> dict[str, int]:
    """The number of segments per status, in the order of their positions."""
    rest = "indexing" if row.status == "completed" else "waiting"
    return {"re_segment": row.outdated, "completed": row.completed, rest: row.total - row.completed}


def segment(document: Document, row: Row, number: int, status: str, zone: float) -> dict[str, Any]:
    """Segment ``number`` of a document, counted from 1."""
    content = f"Segment {number}."
    since = seconds(document.created, zone)
    completed = status in ("completed", "re_segment")
    off = document.archived or document.disabled_at is not None
    return {
        "id": stable_id("segment", f"{document.id}/{number}"),
        "position": number,
        "document_id": document.id,
        "content": content,
        "sign_content": content,
        "answer": None,
        "word_count": len(content),
        "tokens": 0,
        "keywords": ["Segment"] if completed else None,
        "index_node_id": stable_id("node", f"{document.id}/{number}"),
        "index_node_hash": "0" * 64,
        "hit_count": 0,
        "enabled": completed and not off,
        "disabled_at": seconds(row.updated, zone) if off else None,
        "disabled_by": None if document.disabled_at is None else ACCOUNT,
        "status": status,
        "created_by": ACCOUNT,
        "created_at": since,
        "updated_at": since,
        "updated_by": None,
        "indexing_at": None if status == "waiting" else seconds(row.split, zone) or since,
        "completed_at": (seconds(row.completed_at, zone) or since) if completed else None,
        "error": None,
        "stopped_at": None,
        "child_chunks": [_child(document, number, content, since)] if document.traits.hierarchical else [],
        "attachments": [],
        "summary": None,
    }


def _child(document: Document, number: int, content: str, since: int | None) -> dict[str, Any]:
    """The only child chunk of a segment."""
    return {
        "id": stable_id("child", f"{document.id}/{number}"),
        "segment_id": stable_id("segment", f"{document.id}/{number}"),
        "content": content,
        "position": 1,
        "word_count": len(content),
        "type": "automatic",
        "created_at": since,
        "updated_at": since,
    }
