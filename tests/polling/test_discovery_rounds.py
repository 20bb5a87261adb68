"""How often idle datasets are scanned, and which scans the totals in the dataset list save."""

from __future__ import annotations

import pytest

from exporter.config import ServerConfig
from exporter.dify import BadRequest, DatasetAnswer, DocumentDetail, ListedDocument, NotFound
from tests.polling.discovery_server import URL, bases, discovering, documents, finished, listed, reload
from tests.polling.fake_server import DATASET, PollerHarness


def totals(harness: PollerHarness, documents: int, available: int, words: int = 0) -> None:
    """Let the dataset list report these totals for the first dataset."""
    harness.client.bases[DATASET] = DatasetAnswer(
        DATASET,
        "Handbook",
        document_count=documents,
        total_documents=documents,
        total_available_documents=available,
        word_count=words,
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


def large(*newer: ListedDocument) -> list[ListedDocument]:
    """More finished documents than a page holds, behind ``newer`` ones."""
    return [*newer, *(listed(f"{number}", "completed", "available", 1e9 - 300 * number) for number in range(150))]


def oldest_numbers(harness: PollerHarness, seconds: float) -> float:
    """How old the numbers of documents by display status became within the next ``seconds``."""
    oldest, last = 0.0, harness.clock.monotonic()
    read = harness.client.count("documents")
    for _ in range(int(seconds)):
        harness.pass_time(1)
        new = harness.client.asked[-40:]
        if harness.client.count("documents") > read and ("documents", f"{DATASET}/archived/1") in new:
            harness.client.asked.clear()
            last = harness.clock.monotonic()
        read = harness.client.count("documents")
        oldest = max(oldest, harness.clock.monotonic() - last)
    return oldest


@pytest.mark.parametrize("guided", [False, True])
def test_numbers_are_at_most_a_quarter_of_an_hour_old_while_nothing_is_unfinished(guided: bool) -> None:
    """Archiving, for example, shows in no total."""
    harness = discovering()
    harness.client.listed[DATASET] = large()
    if guided:
        totals(harness, 150, 150)
    harness.poll()
    harness.pass_time(3600)
    assert oldest_numbers(harness, 7200) <= 901


def test_numbers_are_at_most_five_minutes_old_while_something_is_unfinished() -> None:
    """The document that is unfinished does not change its number."""
    harness = discovering()
    harness.client.listed[DATASET] = large(listed("new", "indexing", "indexing", 2e9))
    totals(harness, 151, 150)
    harness.poll()
    harness.pass_time(3600)
    assert oldest_numbers(harness, 3600) <= 300


def test_numbers_never_mix_two_scans() -> None:
    """Ten more failed while two were read: all numbers are replaced when one changes."""
    harness = discovering()
    harness.client.listed[DATASET] = large(*(listed(f"i{n}", "indexing", "indexing", 2e9) for n in range(12)))
    harness.poll()
    assert bases(harness)[DATASET].documents == (0, 12, 0, 0, 150, 0, 0, None)
    harness.pass_time(125)
    harness.client.listed[DATASET] = large(
        *(listed(f"i{n}", "error", "error", 2e9) for n in range(10)),
        *(listed(f"i{n}", "indexing", "indexing", 2e9) for n in range(10, 12)),
    )
    harness.pass_time(60)
    assert bases(harness)[DATASET].documents == (0, 2, 0, 10, 150, 0, 0, None)


def test_a_document_that_is_deleted_and_uploaded_again_is_found_within_five_minutes() -> None:
    """The remedy for a failed document leaves the totals of the list of datasets as they were."""
    harness = discovering()
    harness.client.listed[DATASET] = large()
    totals(harness, 151, 150)
    harness.poll()
    harness.client.listed[DATASET] = large(listed("failed", "error", "error", 2e9))
    harness.pass_time(7200, tick=5)
    assert documents(harness) == {"failed": "error"}
    harness.client.listed[DATASET] = large(listed("again", "error", "error", 2e9 + 7200))
    harness.client.details["failed"] = NotFound("document: 404", gone=True)
    harness.pass_time(300)
    assert documents(harness) == {"again": "error"}
    assert finished(harness) == {"error": 2}


def test_a_replaced_document_shows_in_the_number_of_words() -> None:
    """As many documents as before, of another length."""
    harness = discovering()
    harness.client.listed[DATASET] = large()
    totals(harness, 150, 150, words=1000)
    harness.poll()
    harness.pass_time(7210)
    harness.client.listed[DATASET] = large(listed("new", "waiting", "queuing", 2e9))
    totals(harness, 150, 150, words=900)
    harness.pass_time(305)
    assert documents(harness) == {"new": "waiting"}


@pytest.mark.parametrize(("count", "requests"), [(100, 4), (150, 32)])
def test_an_idle_dataset_costs_few_requests_an_hour(count: int, requests: int) -> None:
    """Guided by the list of datasets: one page, or one request for each display status, four times an hour."""
    harness = discovering()
    harness.client.listed[DATASET] = large()[:count]
    totals(harness, count, count)
    harness.poll()
    harness.pass_time(7200)
    harness.client.asked.clear()
    harness.pass_time(7200)
    asked = [key for kind, key in harness.client.asked if kind == "documents" and key.startswith(DATASET)]
    assert len(asked) == 2 * requests
