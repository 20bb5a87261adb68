"""The tables of all metrics, in page order; no other module defines a metric name.

``catalog()`` has the metrics that are read from objects: what is known of Dify, and the polls of each target.
``SELF_METRICS`` has those that the exporter counts or measures itself.
"""

from __future__ import annotations

from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from exporter.metrics.families import Family, SelfFamily, unix_seconds, whole
from exporter.tracking.counters import PHASE_BOUNDS
from exporter.tracking.model import (
    DISPLAY_STATUSES,
    STATUSES,
    Batch,
    Dataset,
    DatasetCounters,
    Detail,
    Document,
    ServerStatus,
    TargetStatus,
)

if TYPE_CHECKING:
    from exporter.metrics.families import MetricType, Read, Samples
    from exporter.tracking.model import Distribution, ProcessRule, Progress

_NO_DETAIL = Detail()

_progress: Read = attrgetter("progress")
_detail: Read = attrgetter("detail")


def _rule(document: Document) -> ProcessRule | None:
    return document.detail.rule if document.detail else None


def catalog(*, document_name: bool = True) -> tuple[Family, ...]:
    """All families of objects. Without ``document_name`` the label ``name`` of documents is empty."""
    document_info = _document(
        "dify_document_info",
        "Batch, name, source, form and language of the document, empty where unknown",
        _document_info if document_name else _nameless_document_info,
        labels="batch name data_source_type doc_form doc_language created_from",
    )
    return (*_SERVER, *_TARGET, *_DATASET, *_BATCH, document_info, *_DOCUMENT)


# The samples of families with labels.


def _server_info(server: ServerStatus) -> Samples:
    return (((server.url, server.version), 1),)


def _dataset_info(dataset: Dataset) -> Samples | None:
    return (((dataset.name, dataset.indexing_technique, dataset.embedding_model), 1),) if dataset.name else None


def _dataset_documents(counts: tuple[int | None, ...]) -> Samples:
    # Empty while no count is known.
    by_status = zip(DISPLAY_STATUSES, counts, strict=False)
    return tuple(((status,), count) for status, count in by_status if count is not None)


def _by_phase(phases: tuple[tuple[str, Distribution], ...]) -> Samples:
    return tuple(((phase,), distribution) for phase, distribution in phases)


def _batch_documents(batch: Batch) -> Samples:
    return tuple(((status,), count) for status, count in zip(STATUSES, batch.counts, strict=True))


def _document_info(document: Document) -> Samples:
    detail = document.detail or _NO_DETAIL
    kinds = (detail.data_source_type, detail.doc_form, detail.doc_language, detail.created_from)
    return (((document.batch, detail.name, *kinds), 1),)


def _nameless_document_info(document: Document) -> Samples:
    (((batch, _, *kinds), one),) = _document_info(document)
    return (((batch, "", *kinds), one),)


def _has_error(progress: Progress) -> bool:
    return progress.status == "error" or progress.has_error


def _rule_info(rule: ProcessRule) -> Samples:
    return (((rule.mode, rule.separator, rule.parent_mode), 1),)


# The rows. ``read`` may be the name of an attribute; labels are separated by spaces.


def _family(of: Any, name: str, text: str, read: Any, part: Read = whole, *, labels: str = "", **kind: Any) -> Family:
    read = attrgetter(read) if isinstance(read, str) else read
    return Family(name=name, help=text, of=of, part=part, read=read, labels=tuple(labels.split()), **kind)


def _polled(of: Any, name: str, text: str, *reads: Any, **settings: Any) -> Family:
    return _family(of, name, f"{text} (as of the last poll).", *reads, **settings)


def _reported_time(part: Read, name: str, text: str, field: str, note: str = "") -> Family:
    said = f"{text}, Unix seconds as reported by the API{note}"
    return _document(f"dify_document_{name}_timestamp_seconds", said, field, part)


_target = partial(_family, TargetStatus)
_dataset = partial(_polled, Dataset)
_counters = partial(_polled, DatasetCounters)
_batch = partial(_polled, Batch)
_document = partial(_polled, Document)
_phase = partial(_reported_time, _progress, note="; may belong to an earlier attempt")

_SERVER = (
    _family(ServerStatus, "dify_up", "1 if Dify answered the last request and accepted the key.", "up"),
    _polled(
        ServerStatus,
        "dify_server_info",
        "URL of the server and the version that it reports, empty when unknown",
        _server_info,
        labels="url version",
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

_DATASET = (
    _dataset(
        "dify_dataset_info",
        "Name, indexing technique and embedding model of the knowledge base",
        _dataset_info,
        labels="name indexing_technique embedding_model",
    ),
    _dataset(
        "dify_dataset_documents",
        "Documents of the knowledge base by display status",
        _dataset_documents,
        attrgetter("documents"),
        labels="display_status",
    ),
    _counters(
        "dify_documents_finished_total",
        "Documents observed to finish (completed or error), counted once per attempt, by error reason",
        "finished",
        labels="status reason",
        type="counter",
    ),
    _counters(
        "dify_documents_restarted_total",
        "Documents observed to leave completed or error and start again",
        "restarted",
        type="counter",
    ),
    _counters(
        "dify_document_phase_duration_seconds",
        "Seconds that completed documents spent in each phase by the API's own times, counted once per attempt",
        _by_phase,
        attrgetter("phases"),
        labels="phase",
        type="histogram",
        bounds=PHASE_BOUNDS,
    ),
)

_BATCH = (
    _batch("dify_batch_documents", "Documents of the batch by indexing status", _batch_documents, labels="status"),
    _batch(
        "dify_batch_segments", "Segments of all documents of the batch; 0 until the documents are split", "segments"
    ),
    _batch(
        "dify_batch_segments_completed",
        "Indexed segments of all documents of the batch; can decrease when a document is indexed again",
        "completed_segments",
    ),
    _batch(
        "dify_batch_last_progress_timestamp_seconds",
        "Time of the batch's last progress, Unix seconds by the exporter's clock",
        unix_seconds,
        attrgetter("last_progress"),
    ),
    _batch("dify_batch_stalled", "1 if the batch is unfinished and has made no progress for too long", "stalled"),
    _batch(
        "dify_batch_eta_timestamp_seconds",
        "Estimated completion time of the batch at its recent rate, Unix seconds by the exporter's clock; "
        "absent while no rate is known",
        "eta",
    ),
)

_DOCUMENT = (
    _document(
        "dify_document_indexing_status",
        "1 for the document's current indexing status, 0 for the others",
        "status",
        _progress,
        labels="status",
        states=STATUSES,
    ),
    _document(
        "dify_document_display_status",
        "1 for the document's current display status, 0 for the others",
        "display_status",
        _detail,
        labels="status",
        states=DISPLAY_STATUSES,
    ),
    _document(
        "dify_document_error",
        "1 if the indexing status is error or the API reports an error text with it",
        _has_error,
        _progress,
    ),
    _document("dify_document_segments", "Segments of the document; 0 until it is split", "total_segments", _progress),
    _document(
        "dify_document_segments_completed",
        "Indexed segments of the document; can decrease when it is indexed again",
        "completed_segments",
        _progress,
    ),
    _phase("processing_started", "Time at which a worker started processing the document", "processing_started_at"),
    _phase("parsing_completed", "Time at which the text was extracted", "parsing_completed_at"),
    _phase("cleaning_completed", "Time at which the text was cleaned", "cleaning_completed_at"),
    _phase("splitting_completed", "Time at which the text was split into segments", "splitting_completed_at"),
    _phase("completed", "Time at which indexing was completed", "completed_at"),
    _phase("paused", "Time at which the document was paused", "paused_at"),
    _phase("stopped", "Time at which indexing failed", "stopped_at"),
    _document(
        "dify_document_last_progress_timestamp_seconds",
        "Time of the document's last progress, Unix seconds by the exporter's clock",
        unix_seconds,
        attrgetter("last_progress"),
    ),
    _document(
        "dify_document_stalled", "1 if the document is unfinished and has made no progress for too long", "stalled"
    ),
    _reported_time(_detail, "created", "Time at which the document was created", "created_at"),
    _reported_time(_detail, "updated", "Time at which the document was last updated", "updated_at"),
    _reported_time(_detail, "disabled", "Time at which the document was disabled", "disabled_at"),
    _document("dify_document_tokens", "Tokens of the document; 0 with economy indexing", "tokens", _detail),
    _document("dify_document_characters", "Characters of the document", "word_count", _detail),
    _document(
        "dify_document_hits", "Number of times that retrieval found segments of the document", "hit_count", _detail
    ),
    _document("dify_document_stored_segments", "Segments stored for the document", "segment_count", _detail),
    _document(
        "dify_document_average_segment_length",
        "Average length of the document's segments, in characters",
        "average_segment_length",
        _detail,
    ),
    _document(
        "dify_document_indexing_duration_seconds",
        "Seconds that embedding and storing took at the last completion",
        "indexing_latency",
        _detail,
    ),
    _document("dify_document_enabled", "1 if the document is enabled for retrieval", "enabled", _detail),
    _document("dify_document_archived", "1 if the document is archived", "archived", _detail),
    _document(
        "dify_document_process_rule_info",
        "Rule that the document was processed with, empty where it is not set",
        _rule_info,
        _rule,
        labels="mode separator parent_mode",
    ),
    _document("dify_document_chunk_max_tokens", "Maximum size of a segment, in tokens", "max_tokens", _rule),
    _document("dify_document_chunk_overlap_tokens", "Overlap between segments, in tokens", "overlap_tokens", _rule),
    _document(
        "dify_document_subchunk_max_tokens", "Maximum size of a child chunk, in tokens", "subchunk_max_tokens", _rule
    ),
)

CATALOG = catalog()
"""The families of objects with the default settings."""


def _self(kind: MetricType, name: str, text: str, labels: str = "") -> SelfFamily:
    return SelfFamily(name=name, type=kind, help=text, labels=tuple(labels.split()))


_gauge = partial(_self, "gauge")
_counter = partial(_self, "counter")

SELF_METRICS = (
    _gauge(
        "dify_exporter_build_info",
        "Version and revision of the exporter, and the version of Python.",
        "version revision python_version",
    ),
    _counter("dify_exporter_polls_total", "Finished polls, successful or failed.", "server kind"),
    _counter("dify_exporter_poll_failures_total", "Failed polls by reason.", "server kind reason"),
    _counter(
        "dify_exporter_requests_total",
        "Requests to the server by HTTP status, rare ones by class (5xx), or by failure reason if there was no answer.",
        "server endpoint code",
    ),
    _self(
        "histogram",
        "dify_exporter_request_duration_seconds",
        "Seconds from sending a request to the end of its answer.",
        "server endpoint",
    ),
    _counter(
        "dify_exporter_throttled_seconds_total",
        "Seconds that requests waited because of the limit of requests per second.",
        "server",
    ),
    _gauge("dify_exporter_schedule_lag_seconds", "Delay of the most overdue poll, in seconds.", "server"),
    _counter(
        "dify_exporter_worker_restarts_total",
        "Polling threads that died because of a bug and were started again.",
        "server",
    ),
    _gauge("dify_exporter_targets", "Targets by kind and polling state.", "server kind state"),
    _gauge(
        "dify_exporter_batch_list_problems",
        "Batch files that cannot be read, whose previous batches stay in effect, and patterns that match nothing.",
        "server",
    ),
    _counter(
        "dify_exporter_unknown_values_total",
        "Unknown statuses in answers, and values of a wrong type or out of range, which are ignored; by field.",
        "server field",
    ),
    _gauge(
        "dify_exporter_clock_offset_seconds",
        "Seconds by which the server's times are ahead of the exporter's clock; whole hours mean a wrong time zone.",
        "server",
    ),
    _gauge(
        "dify_exporter_documents_collapsed",
        "Documents without their own series because of the document limit; batch totals include them.",
        "server dataset_id",
    ),
    _gauge("dify_exporter_state_last_save_timestamp_seconds", "Time at which the state was last saved, Unix seconds."),
    _gauge("dify_exporter_state_last_save_successful", "1 if the last attempt to save the state succeeded."),
    _gauge("dify_exporter_config_last_reload_successful", "1 if the last load of the configuration succeeded."),
    _gauge(
        "dify_exporter_config_last_reload_success_timestamp_seconds",
        "Time of the last successful load of the configuration, Unix seconds.",
    ),
    _gauge(
        "dify_exporter_web_config_last_reload_successful",
        "1 if the current web config file is in use, 0 if an earlier version of it is.",
    ),
    _gauge(
        "dify_exporter_web_certificate_not_before_timestamp_seconds",
        "Time from which the exporter's own TLS certificate is valid, Unix seconds.",
    ),
    _gauge(
        "dify_exporter_web_certificate_not_after_timestamp_seconds",
        "Time at which the exporter's own TLS certificate expires, Unix seconds.",
    ),
    _counter(
        "dify_exporter_log_lines_dropped_total",
        "Lines of the log that were dropped because nothing read them, or because they could not be written.",
    ),
    _gauge("process_virtual_memory_bytes", "Virtual memory size in bytes."),
    _gauge("process_resident_memory_bytes", "Resident memory size in bytes."),
    _gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds."),
    _counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds."),
    _gauge("process_open_fds", "Number of open file descriptors."),
    _gauge("process_max_fds", "Maximum number of open file descriptors."),
    _gauge("python_info", "Python platform information", "implementation major minor patchlevel version"),
)
"""Every family that ``SelfMetrics`` renders; ``process_`` and ``python_`` are prometheus-client's own, on Linux."""
