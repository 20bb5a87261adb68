"""The catalog against the contract."""

from __future__ import annotations

import re

import pytest
from msgspec.structs import replace

from exporter.metrics import CATALOG
from exporter.metrics.catalog import IDENTITY
from exporter.tracking.model import STATUSES, Batch, Detail, Document, ServerStatus, TargetStatus

BUDGET = 45
COMING = 2
"""Series of a document that are still to come: last progress and stalled."""

CONTRACT = {
    "dify_up": "server",
    "dify_server_info": "server url version",
    "dify_exporter_target_success": "server kind dataset_id target",
    "dify_exporter_target_last_success_timestamp_seconds": "server kind dataset_id target",
    "dify_exporter_target_interval_seconds": "server kind dataset_id target",
    "dify_batch_documents": "server dataset_id batch status",
    "dify_batch_segments": "server dataset_id batch",
    "dify_batch_segments_completed": "server dataset_id batch",
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


def samples(obj: Document | Batch | TargetStatus | ServerStatus) -> dict[str, list[tuple[tuple[str, ...], float]]]:
    """The samples of an object by name, only where there are any."""
    found = {family.name: list(family.samples(obj)) for family in CATALOG if isinstance(obj, family.of)}
    return {name: seen for name, seen in found.items() if seen}


def test_names_and_labels_are_those_of_the_contract() -> None:
    """Dashboards and rules rely on names and labels: none is renamed, none is lost."""
    assert CONTRACT == {family.name: " ".join(IDENTITY[family.of] + family.labels) for family in CATALOG}
    assert len(CONTRACT) == len(CATALOG)


def test_a_document_stays_within_its_budget() -> None:
    """The most series that a document can have leave room for those to come."""
    most = sum(len(family.states) or 1 for family in CATALOG if family.of is Document)

    assert most + COMING <= BUDGET


@pytest.mark.parametrize("family", CATALOG, ids=lambda family: family.name)
def test_help_texts(family: object) -> None:
    """A help text is a sentence without characters that need escaping; that of a value of Dify says it is polled."""
    text = getattr(family, "help", "")

    assert re.fullmatch(r"[A-Z0-9][^\"\\\n|]*\.", text)
    assert getattr(family, "of", None) not in {Batch, Document} or text.endswith(" Polled.")


def test_null_has_no_series(document: Document) -> None:
    """Of a document that only has a status there is the info, the status and the error flag, and nothing made up."""
    bare = replace(document, progress=replace(document.progress, **dict.fromkeys(NUMBERS)), detail=None)

    assert {"dify_document_info", "dify_document_indexing_status", "dify_document_error"} == samples(bare).keys()
    assert [(("b1", "", "", "", "", ""), 1)] == samples(bare)["dify_document_info"]


NUMBERS = (
    *("processing_started_at", "parsing_completed_at", "cleaning_completed_at", "splitting_completed_at"),
    *("completed_at", "paused_at", "stopped_at", "completed_segments", "total_segments"),
)


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
    """A document is in error when its status says so or the latest answer about its indexing has an error text."""
    seen = replace(document, progress=replace(document.progress, status=status, has_error=has_error))

    assert [((), expected)] == samples(seen)["dify_document_error"]


def test_an_error_text_of_an_old_detail_does_not_count(document: Document) -> None:
    """The detail is fetched rarely: its error text may be of an attempt that has been repeated with success since."""
    stale = replace(document, detail=Detail(has_error=True))

    assert [((), 0)] == samples(stale)["dify_document_error"]


def test_unknown_states(document: Document) -> None:
    """A state set is full, exactly one is 1, and a word that is no state counts as unknown."""
    strange = replace(document, detail=Detail(display_status="levitating"))
    states = samples(strange)["dify_document_display_status"]

    assert 8 == len(states)
    assert [(("unknown",), 1)] == [(labels, value) for labels, value in states if value]


def test_batch_sums() -> None:
    """A batch has all statuses always, and its sums when they are known."""
    batch = Batch("main", "ds", "b1", ("x",), (1, *[0] * (len(STATUSES) - 1)))

    assert {"dify_batch_documents": [((s,), int(s == "waiting")) for s in STATUSES]} == samples(batch)
    assert [((), 7)] == samples(replace(batch, segments=7))["dify_batch_segments"]


def test_what_was_never_polled_has_no_series() -> None:
    """Before the first answer neither a server is up or down nor has a target succeeded or failed."""
    server = ServerStatus("main", "http://dify/v1")

    assert {"dify_server_info": [(("http://dify/v1", ""), 1)]} == samples(server)
    assert {} == samples(TargetStatus("main", "batch", "ds", "b1"))
    assert [((), False)] == samples(replace(server, up=False))["dify_up"]
