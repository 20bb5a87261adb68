"""The table of all metrics about Dify and about the polls of each target.

A row knows how to read its samples from an object of ``exporter.tracking``; no other module knows a metric name.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from exporter.metrics.document_families import document_families
from exporter.metrics.families import Family, unix_seconds, whole
from exporter.tracking.counters import PHASE_BOUNDS
from exporter.tracking.model import (
    DISPLAY_STATUSES,
    STATUSES,
    Batch,
    Dataset,
    DatasetCounters,
    ServerStatus,
    TargetStatus,
)

if TYPE_CHECKING:
    from exporter.metrics.families import Read, Samples
    from exporter.tracking.model import Distribution


def catalog(*, document_name: bool = True) -> tuple[Family, ...]:
    """All families in page order. Without ``document_name`` the label ``name`` of documents is empty."""
    return (*_SERVER, *_TARGET, *_DATASET_FAMILIES, *_BATCH, *document_families(document_name=document_name))


def _server_info(server: ServerStatus) -> Samples:
    return (((server.url, server.version), 1),)


def _dataset_info(base: Dataset) -> Samples | None:
    return (((base.name, base.indexing_technique, base.embedding_model), 1),) if base.name else None


def _dataset_documents(counts: tuple[int | None, ...]) -> Samples:
    # Empty while no count is known.
    by_status = zip(DISPLAY_STATUSES, counts, strict=False)
    return tuple(((status,), count) for status, count in by_status if count is not None)


def _by_phase(phases: tuple[tuple[str, Distribution], ...]) -> Samples:
    return tuple(((phase,), seen) for phase, seen in phases)


def _batch_documents(batch: Batch) -> Samples:
    return tuple(((status,), count) for status, count in zip(STATUSES, batch.counts, strict=True))


def _server(name: str, text: str, read: Read, labels: tuple[str, ...] = ()) -> Family:
    return Family(name=name, help=text, of=ServerStatus, part=whole, read=read, labels=labels)


def _target(name: str, text: str, field: str) -> Family:
    return Family(name=name, help=text, of=TargetStatus, part=whole, read=attrgetter(field))


def _batch(name: str, text: str, read: Read, part: Read = whole, labels: tuple[str, ...] = ()) -> Family:
    return Family(name=name, help=f"{text} (as of the last poll).", of=Batch, part=part, read=read, labels=labels)


_SERVER = (
    _server(
        "dify_up",
        "1 if Dify answered the last request and accepted the key.",
        attrgetter("up"),
    ),
    _server(
        "dify_server_info",
        "URL of the server and the version that it reports, empty when unknown (as of the last poll).",
        _server_info,
        ("url", "version"),
    ),
)

_TARGET = (
    _target("dify_exporter_target_success", "1 if the last poll of the target succeeded.", "success"),
    _target(
        "dify_exporter_target_last_success_timestamp_seconds",
        "Time of the target's last successful poll, Unix seconds by the exporter's clock.",
        "last_success",
    ),
    _target(
        "dify_exporter_target_interval_seconds", "Current interval between polls of the target, in seconds.", "interval"
    ),
)

_DATASET_FAMILIES = (
    Family(
        name="dify_dataset_info",
        help="Name, indexing technique and embedding model of the knowledge base (as of the last poll).",
        of=Dataset,
        part=whole,
        read=_dataset_info,
        labels=("name", "indexing_technique", "embedding_model"),
    ),
    Family(
        name="dify_dataset_documents",
        help="Documents of the knowledge base by display status (as of the last poll).",
        of=Dataset,
        part=attrgetter("documents"),
        read=_dataset_documents,
        labels=("display_status",),
    ),
    Family(
        name="dify_documents_finished_total",
        type="counter",
        help=(
            "Documents observed to finish (completed or error), counted once per attempt, by error reason "
            "(as of the last poll)."
        ),
        of=DatasetCounters,
        part=attrgetter("finished"),
        read=whole,
        labels=("status", "reason"),
    ),
    Family(
        name="dify_documents_restarted_total",
        type="counter",
        help="Documents observed to leave completed or error and start again (as of the last poll).",
        of=DatasetCounters,
        part=attrgetter("restarted"),
        read=whole,
    ),
    Family(
        name="dify_document_phase_duration_seconds",
        type="histogram",
        help=(
            "Seconds that completed documents spent in each phase by the API's own times, counted once per attempt "
            "(as of the last poll)."
        ),
        of=DatasetCounters,
        part=attrgetter("phases"),
        read=_by_phase,
        labels=("phase",),
        bounds=PHASE_BOUNDS,
    ),
)

_BATCH = (
    _batch("dify_batch_documents", "Documents of the batch by indexing status", _batch_documents, labels=("status",)),
    _batch(
        "dify_batch_segments",
        "Segments of all documents of the batch; 0 until the documents are split",
        attrgetter("segments"),
    ),
    _batch(
        "dify_batch_segments_completed",
        "Indexed segments of all documents of the batch; can decrease when a document is indexed again",
        attrgetter("completed_segments"),
    ),
    _batch(
        "dify_batch_last_progress_timestamp_seconds",
        "Time of the batch's last progress, Unix seconds by the exporter's clock",
        unix_seconds,
        attrgetter("last_progress"),
    ),
    _batch(
        "dify_batch_stalled",
        "1 if the batch is unfinished and has made no progress for too long",
        whole,
        attrgetter("stalled"),
    ),
    _batch(
        "dify_batch_eta_timestamp_seconds",
        "Estimated completion time of the batch at its recent rate, Unix seconds by the exporter's clock; "
        "absent while no rate is known",
        whole,
        attrgetter("eta"),
    ),
)

CATALOG = catalog()
"""The families with the default settings."""
