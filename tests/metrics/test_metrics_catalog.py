"""The catalog against the contract."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from exporter.config import ERROR_REASONS as REASONS
from exporter.metrics import CATALOG, IDENTITY
from exporter.tracking.counters import PHASES, new_counters
from exporter.tracking.model import (
    DISPLAY_STATUSES,
    STATUSES,
    Batch,
    Dataset,
    Detail,
    Document,
    Progress,
    ServerStatus,
    TargetStatus,
)

if TYPE_CHECKING:
    from exporter.tracking.model import Tracked

BUDGET = 45
CONTRACT = {
    "dify_up": "server",
    "dify_server_info": "server url version",
    "dify_exporter_target_success": "server kind dataset_id target",
    "dify_exporter_target_last_success_timestamp_seconds": "server kind dataset_id target",
    "dify_exporter_target_interval_seconds": "server kind dataset_id target",
    "dify_batch_documents": "server dataset_id batch status",
    "dify_batch_segments": "server dataset_id batch",
    "dify_batch_segments_completed": "server dataset_id batch",
    "dify_batch_last_progress_timestamp_seconds": "server dataset_id batch",
    "dify_batch_stalled": "server dataset_id batch",
    "dify_batch_eta_timestamp_seconds": "server dataset_id batch",
    "dify_dataset_info": "server dataset_id name indexing_technique embedding_model",
    "dify_dataset_documents": "server dataset_id display_status",
    "dify_documents_finished_total": "server dataset_id status reason",
    "dify_documents_restarted_total": "server dataset_id",
    "dify_document_phase_duration_seconds": "server dataset_id phase",
    "dify_document_info": (
        "server dataset_id document_id batch name data_source_type doc_form doc_language created_from"
    ),
    "dify_document_indexing_status": "server dataset_id document_id status",
    "dify_document_display_status": "server dataset_id document_id status",
    "dify_document_process_rule_info": "server dataset_id document_id mode separator parent_mode",
} | {
    f"dify_document_{name}": "server dataset_id document_id"
    for name in (
        "error",
        "segments",
        "segments_completed",
        "processing_started_timestamp_seconds",
        "parsing_completed_timestamp_seconds",
        "cleaning_completed_timestamp_seconds",
        "splitting_completed_timestamp_seconds",
        "completed_timestamp_seconds",
        "paused_timestamp_seconds",
        "stopped_timestamp_seconds",
        "last_progress_timestamp_seconds",
        "stalled",
        "created_timestamp_seconds",
        "updated_timestamp_seconds",
        "disabled_timestamp_seconds",
        "tokens",
        "characters",
        "hits",
        "stored_segments",
        "average_segment_length",
        "indexing_duration_seconds",
        "enabled",
        "archived",
        "chunk_max_tokens",
        "chunk_overlap_tokens",
        "subchunk_max_tokens",
    )
}


def samples(obj: Tracked) -> dict[str, list[tuple[tuple[str, ...], Any]]]:
    """The samples of an object by metric name, only metrics that have any."""
    found = {family.name: list(family.samples(obj)) for family in CATALOG if isinstance(obj, family.of)}
    return {name: seen for name, seen in found.items() if seen}


def test_names_and_labels_match_the_contract() -> None:
    """Dashboards and rules rely on names and labels: none is renamed, none is removed."""
    assert CONTRACT == {family.name: " ".join(IDENTITY[family.of] + family.labels) for family in CATALOG}
    assert len(CONTRACT) == len(CATALOG)


def test_series_per_document() -> None:
    """A document has no more series than promised."""
    most = sum(len(family.states) or 1 for family in CATALOG if family.of is Document)

    assert most <= BUDGET


@pytest.mark.parametrize("family", CATALOG, ids=lambda family: family.name)
def test_help_texts(family: object) -> None:
    """A help text is a sentence without characters that require escaping; that of a polled value says so."""
    text = getattr(family, "help", "")

    assert re.fullmatch(r"[A-Z0-9][^\"\\\n|]*\.", text)
    assert getattr(family, "of", None) in {ServerStatus, TargetStatus} or text.endswith(" (as of the last poll).")


def test_types() -> None:
    """Counters, and only counters, end in ``_total``; the one histogram has finite, increasing bounds."""
    assert {True} == {(family.type == "counter") == family.name.endswith("_total") for family in CATALOG}
    (histogram,) = [family for family in CATALOG if family.type == "histogram"]
    assert "dify_document_phase_duration_seconds" == histogram.name
    assert sorted(set(histogram.bounds)) == list(histogram.bounds)
    assert all(map(math.isfinite, histogram.bounds))


def test_null_has_no_series() -> None:
    """A document with only a status has only the series that follow from the status."""
    bare = Document("main", "ds", "doc", "b1", Progress("waiting"))
    names = {f"dify_document_{name}" for name in ("info", "indexing_status", "error", "stalled")}

    assert names == samples(bare).keys()
    assert [(("b1", "", "", "", "", ""), 1)] == samples(bare)["dify_document_info"]


def test_zero_is_zero(document: Document) -> None:
    """A real 0 has a series."""
    empty = replace(document, progress=replace(document.progress, total_segments=0), detail=Detail(tokens=0))

    assert [((), 0)] == samples(empty)["dify_document_segments"]
    assert [((), 0)] == samples(empty)["dify_document_tokens"]
    assert "dify_document_display_status" not in samples(empty)
    assert "dify_document_process_rule_info" not in samples(empty)


@pytest.mark.parametrize(
    ("status", "has_error", "expected"),
    [("error", False, 1), ("indexing", True, 1), ("error", True, 1), ("completed", False, 0), ("paused", False, 0)],
)
def test_error(document: Document, status: str, has_error: bool, expected: int) -> None:
    """A document is in error if its status says so or the latest answer about its indexing has an error text."""
    seen = replace(document, progress=replace(document.progress, status=status, has_error=has_error))

    assert [((), expected)] == samples(seen)["dify_document_error"]


def test_error_text_of_an_old_detail_is_ignored(document: Document) -> None:
    """The detail is fetched rarely: its error text may belong to an attempt that was since repeated successfully."""
    stale = replace(document, detail=Detail(has_error=True))

    assert [((), 0)] == samples(stale)["dify_document_error"]


def test_unknown_states(document: Document) -> None:
    """A state set is complete, exactly one state is 1, and an unrecognized word counts as unknown."""
    strange = replace(document, detail=Detail(display_status="levitating"))
    states = samples(strange)["dify_document_display_status"]

    assert 8 == len(states)
    assert [(("unknown",), 1)] == [(labels, value) for labels, value in states if value]


def test_batch_sums() -> None:
    """A batch always has all statuses, and has its sums once they are known."""
    batch = Batch("main", "ds", "b1", ("x",), (1, *[0] * (len(STATUSES) - 1)))

    by_status = [((s,), int(s == "waiting")) for s in STATUSES]
    assert {"dify_batch_documents": by_status, "dify_batch_stalled": [((), False)]} == samples(batch)
    assert [((), 7)] == samples(replace(batch, segments=7))["dify_batch_segments"]


def test_unpolled_targets_have_no_series() -> None:
    """Before the first answer, a server is neither up nor down and a target has neither succeeded nor failed."""
    server = ServerStatus("main", "http://dify/v1")

    assert {"dify_server_info": [(("http://dify/v1", ""), 1)]} == samples(server)
    assert {} == samples(TargetStatus("main", "batch", "ds", "b1"))
    assert [((), False)] == samples(replace(server, up=False))["dify_up"]


def test_progress_and_stall_of_batch_and_document(document: Document) -> None:
    """Last progress has a resolution of milliseconds; an ETA that cannot be estimated has no series."""
    batch = Batch(
        "main", "ds", "b1", ("x",), (1, *[0] * (len(STATUSES) - 1)), last_progress=1795282470.98765, stalled=True
    )
    seen = samples(batch)

    assert [((), 1795282470.988)] == seen["dify_batch_last_progress_timestamp_seconds"]
    assert [((), True)] == seen["dify_batch_stalled"]
    assert "dify_batch_eta_timestamp_seconds" not in seen
    assert [((), 1795282990.0)] == samples(replace(batch, eta=1795282990.0))["dify_batch_eta_timestamp_seconds"]
    assert [((), 1795282470.124)] == samples(document)["dify_document_last_progress_timestamp_seconds"]
    assert [((), True)] == samples(document)["dify_document_stalled"]


def test_dataset() -> None:
    """A dataset has no info series before its name is known, and only counted statuses have series; 0 counts."""
    dataset = Dataset("main", "ds")
    assert {} == samples(dataset)

    counts = (0, None, 3, *[None] * (len(DISPLAY_STATUSES) - 3))
    assert {"dify_dataset_documents": [(("queuing",), 0), (("paused",), 3)]} == samples(
        replace(dataset, documents=counts)
    )

    named = replace(dataset, name="Handbook", indexing_technique="high_quality", embedding_model="m3")
    assert {"dify_dataset_info": [(("Handbook", "high_quality", "m3"), 1)]} == samples(named)


def test_new_counters_start_at_zero() -> None:
    """Every final status and phase has its series before the first event, so that the increase is visible."""
    seen = samples(new_counters("main", "ds"))
    ends = [("completed", ""), *(("error", reason) for reason in REASONS)]

    assert [(end, 0) for end in ends] == seen["dify_documents_finished_total"]
    assert [((), 0)] == seen["dify_documents_restarted_total"]
    assert [(phase,) for phase in PHASES] == [labels for labels, _ in seen["dify_document_phase_duration_seconds"]]
