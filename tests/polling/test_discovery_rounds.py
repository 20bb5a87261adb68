"""How often idle datasets are scanned, and which scans the totals in the dataset list save."""

from __future__ import annotations

from exporter.config import ServerConfig
from exporter.dify import BadRequest, DatasetAnswer, DocumentDetail
from tests.polling.discovery_server import URL, discovering, documents, listed, reload
from tests.polling.fake_server import DATASET, PollerHarness


def totals(harness: PollerHarness, documents: int, available: int) -> None:
    """Let the dataset list report these totals for the first dataset."""
    harness.client.bases[DATASET] = DatasetAnswer(
        DATASET,
        "Handbook",
        document_count=documents,
        total_documents=documents,
        total_available_documents=available,
    )


def surveys(harness: PollerHarness) -> int:
    """Number of scans of the first dataset."""
    first = (f"{DATASET}/queuing/1", f"{DATASET}//1")
    return sum(kind == "documents" and key in first for kind, key in harness.client.asked)


def test_a_settled_dataset_is_scanned_more_and_more_rarely() -> None:
    """Scans come every minute, without unfinished documents up to every four; finished ones are rarely counted."""
    harness = discovering()
    harness.poll()
    harness.client.asked.clear()
    harness.pass_time(3600)
    assert harness.client.count("documents") <= 2 * (15 * 3 + 4 * 4)


def test_totals_in_the_list_save_scans_of_settled_datasets() -> None:
    """If the list reveals new and finished documents, an idle dataset is scanned only every quarter of an hour."""
    harness = discovering()
    totals(harness, 5, 5)
    harness.poll()
    harness.pass_time(3600)
    before = surveys(harness)
    harness.pass_time(7200)
    assert surveys(harness) - before == 8


def test_a_change_of_the_totals_is_scanned_at_once() -> None:
    """A new or no longer available document is found when the list is next fetched."""
    harness = discovering()
    totals(harness, 5, 5)
    harness.poll()
    harness.pass_time(7200)
    totals(harness, 6, 5)
    harness.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    harness.pass_time(300)
    assert documents(harness) == {"1": "waiting"}


def test_totals_that_change_around_a_reload_cause_a_scan() -> None:
    """The first list after a reload is compared with the last one before it."""
    harness = discovering()
    totals(harness, 5, 5)
    harness.poll()
    harness.pass_time(7300)
    totals(harness, 6, 5)
    harness.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    reload(harness, ServerConfig("main", URL, discover=True))
    harness.pass_time(300)
    assert documents(harness) == {"1": "waiting"}


def test_without_the_list_settled_datasets_are_scanned_more_often() -> None:
    """While the list cannot be fetched, idle datasets are scanned every four minutes."""
    harness = discovering()
    totals(harness, 5, 5)
    harness.poll()
    harness.client.list_error = BadRequest("plugin daemon", status=400)
    harness.pass_time(7200)
    before = surveys(harness)
    harness.pass_time(2400)
    assert surveys(harness) - before == 10


def test_a_paused_document_is_not_asked_for_in_each_round() -> None:
    """Paused documents are listed in every tenth scan; in between they are assumed to be still paused."""
    harness = discovering()
    harness.client.listed[DATASET] = [listed("1", "indexing", "paused")]
    harness.client.details["1"] = DocumentDetail("1", indexing_status="indexing", display_status="paused")
    harness.poll()
    asked = harness.client.count("document")
    harness.pass_time(290)
    assert (documents(harness), harness.client.count("document")) == ({"1": "paused"}, asked)
    harness.client.listed[DATASET] = [listed("1", "indexing", "indexing")]
    harness.client.details["1"] = DocumentDetail("1", indexing_status="indexing", display_status="indexing")
    harness.pass_time(70)
    assert documents(harness) == {"1": "indexing"}
