"""Documents whose detail is refused: the lists tell how they ended, or they leave the page uncounted."""

from __future__ import annotations

import pytest

from exporter.dify import Forbidden, ListedDocument, NotFound, ServerFailed
from tests.polling.discovery_server import discovering, documents, finished, listed
from tests.polling.fake_server import DATASET, PollerHarness

REFUSALS = [
    NotFound("document: 404", by_dify=True),
    NotFound("document: 405", status=405, by_dify=True),
    Forbidden("document: 403", status=403, by_dify=True),
    ServerFailed("document: 501", status=501),
]


def large(first: int = 0, status: str = "completed", display: str = "available") -> list[ListedDocument]:
    """More documents than a page holds, newest first."""
    return [listed(f"old{number}", status, display, 1e9 - 300 * number) for number in range(first, 450)]


def watching(document: ListedDocument, error: Exception, *, before: int = 0) -> PollerHarness:
    """A rig that knows an unfinished document behind ``before`` others, and cannot read its detail."""
    harness = discovering()
    newer = [listed(f"newer{number}", "completed", "available", 1.5e9 - 300 * number) for number in range(before)]
    harness.client.listed[DATASET] = [*newer, document, *large()]
    harness.client.details[document.id] = error
    harness.poll()
    return harness


@pytest.mark.parametrize("error", REFUSALS, ids=repr)
def test_a_finished_document_is_no_ghost(error: Exception) -> None:
    """Its end is in the newest documents or, where many are newer, on a later page."""
    for before in (0, 250):
        harness = watching(listed("1", "parsing", "indexing", 1e9 + 1), error, before=before)
        found = harness.client.listed[DATASET]
        assert isinstance(found, list)
        harness.client.listed[DATASET] = [
            *found[:before],
            listed("1", "completed", "available", 1e9 + 1),
            *found[before + 1 :],
        ]
        harness.pass_time(1200)
        assert (documents(harness), finished(harness)) == ({"1": "completed"}, {"completed": 1})


@pytest.mark.parametrize("error", REFUSALS, ids=repr)
def test_a_document_that_no_list_contains_is_removed_uncounted(error: Exception) -> None:
    """It does not stay in parsing forever."""
    harness = watching(listed("1", "parsing", "indexing", 1e9 + 1), error)
    harness.client.listed[DATASET] = large()
    harness.pass_time(1200)
    assert (documents(harness), finished(harness)) == ({}, {})


def test_a_document_is_not_removed_because_its_detail_cannot_be_read() -> None:
    """While a list contains it, it stays, whatever its detail answers."""
    harness = watching(listed("1", "parsing", "indexing", 1e9 + 1), REFUSALS[0])
    harness.pass_time(7200, tick=5)
    assert documents(harness) == {"1": "parsing"}


@pytest.mark.parametrize("error", REFUSALS, ids=repr)
def test_a_refused_detail_is_not_requested_in_every_round(error: Exception) -> None:
    """A document that moves does not shorten the backoff of its detail, which is five minutes or more."""
    harness = watching(listed("1", "parsing", "indexing", 1e9 + 1), error)
    harness.pass_time(600)
    asked = harness.client.count("document")
    for minute in range(60):
        status = "splitting" if minute % 2 else "indexing"
        harness.client.listed[DATASET] = [listed("1", status, "indexing", 1e9 + 1), *large()]
        harness.pass_time(60)
    assert harness.client.count("document") - asked <= 3600 / 240 + 1


def test_a_server_without_filter_and_details_has_no_ghosts() -> None:
    """Before 1.5.1, a document that leaves the newest pages is followed further back; a deleted one is removed."""
    harness = discovering()
    harness.client.version, harness.client.old = "1.4.0", True
    harness.client.listed[DATASET] = [listed("1", "parsing", "indexing", 1e9 + 1), *large()]
    harness.client.details["1"] = REFUSALS[0]
    harness.poll()
    newer = [listed(f"newer{number}", "completed", "available", 1.5e9 - 300 * number) for number in range(1_000)]
    harness.client.listed[DATASET] = [*newer, listed("1", "splitting", "indexing", 1e9 + 1), *large()]
    harness.pass_time(130)
    assert documents(harness)["1"] == "splitting"
    asked = harness.client.count("document")
    harness.client.listed[DATASET] = [*newer, *newer, *newer, *large()]
    harness.pass_time(300)
    assert harness.client.count("document") - asked <= 1
    harness.pass_time(900)
    assert "1" not in documents(harness)
