"""How often idle datasets are scanned, and which scans the totals in the dataset list save."""

from __future__ import annotations

from exporter.config import ServerConfig
from exporter.dify import BadRequest, DatasetAnswer, DocumentDetail
from tests.polling.discovery_server import URL, discovering, documents, listed, reload
from tests.polling.fake_server import DATASET, Rig


def totals(rig: Rig, documents: int, available: int) -> None:
    """Let the dataset list report these totals for the first dataset."""
    rig.client.bases[DATASET] = DatasetAnswer(
        DATASET,
        "Handbook",
        document_count=documents,
        total_documents=documents,
        total_available_documents=available,
    )


def surveys(rig: Rig) -> int:
    """Number of scans of the first dataset."""
    return sum(kind == "documents" and key == f"{DATASET}/queuing/1" for kind, key in rig.client.asked)


def test_a_quiet_knowledge_base_is_looked_at_more_and_more_rarely() -> None:
    """Scans come every minute, without unfinished documents up to every four; finished ones are rarely counted."""
    rig = discovering()
    rig.poll()
    rig.client.asked.clear()
    rig.pass_time(3600)
    assert rig.client.count("documents") <= 2 * (15 * 3 + 4 * 4)


def test_totals_in_the_list_spare_looks_at_quiet_knowledge_bases() -> None:
    """If the list reveals new and finished documents, an idle dataset is scanned only every half hour."""
    rig = discovering()
    totals(rig, 5, 5)
    rig.poll()
    rig.pass_time(3600)
    before = surveys(rig)
    rig.pass_time(7200)
    assert surveys(rig) - before == 4


def test_a_change_of_the_totals_is_looked_into_at_once() -> None:
    """A new or no longer available document is found when the list is next fetched."""
    rig = discovering()
    totals(rig, 5, 5)
    rig.poll()
    rig.pass_time(7200)
    totals(rig, 6, 5)
    rig.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    rig.pass_time(300)
    assert documents(rig) == {"1": "waiting"}


def test_totals_that_change_around_a_reload_are_looked_into() -> None:
    """The first list after a reload is compared with the last one before it."""
    rig = discovering()
    totals(rig, 5, 5)
    rig.poll()
    rig.pass_time(7300)
    totals(rig, 6, 5)
    rig.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    reload(rig, ServerConfig("main", URL, discover=True))
    rig.pass_time(300)
    assert documents(rig) == {"1": "waiting"}


def test_without_the_list_quiet_knowledge_bases_are_looked_at_more_often() -> None:
    """While the list cannot be fetched, idle datasets are scanned every four minutes."""
    rig = discovering()
    totals(rig, 5, 5)
    rig.poll()
    rig.client.list_error = BadRequest("plugin daemon", status=400)
    rig.pass_time(7200)
    before = surveys(rig)
    rig.pass_time(2400)
    assert surveys(rig) - before == 10


def test_a_paused_document_is_not_asked_for_in_each_round() -> None:
    """Paused documents are listed in every tenth scan; in between they are assumed to be still paused."""
    rig = discovering()
    rig.client.listed[DATASET] = [listed("1", "indexing", "paused")]
    rig.client.details["1"] = DocumentDetail("1", indexing_status="indexing", display_status="paused")
    rig.poll()
    asked = rig.client.count("document")
    rig.pass_time(290)
    assert (documents(rig), rig.client.count("document")) == ({"1": "paused"}, asked)
    rig.client.listed[DATASET] = [listed("1", "indexing", "indexing")]
    rig.client.details["1"] = DocumentDetail("1", indexing_status="indexing", display_status="indexing")
    rig.pass_time(70)
    assert documents(rig) == {"1": "indexing"}
