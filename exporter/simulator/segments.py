"""The segments of a document, as the segment list returns them. Their text is generated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exporter.simulator.answers import ACCOUNT, seconds
from exporter.simulator.documents import stable_id

if TYPE_CHECKING:
    from exporter.simulator.documents import Document
    from exporter.simulator.lives import Row


def by_status(row: Row) -> dict[str, int]:
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
