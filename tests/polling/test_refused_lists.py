"""Values that Dify itself does not know: it refuses (400) every answer that would contain them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from exporter.config import DatasetConfig
from exporter.dify import PAGE, BadRequest, DocumentDetail, DocumentPage, ListedDocument
from exporter.polling.targets import scan_of
from tests.polling.discovery_server import bases, discovering, documents, finished, listed
from tests.polling.fake_server import DATASET, PollerHarness, item

if TYPE_CHECKING:
    from collections.abc import Callable

SAID = "'weird' is not a valid DocumentCreatedFrom"


def refuse(harness: PollerHarness, *weird: str) -> None:
    """Refuse each page of a list that contains one of these documents."""
    answer: Callable[..., DocumentPage] = harness.client.documents

    def refusing(dataset_id: str, status: str, *, page: int = 1, limit: int = PAGE) -> DocumentPage:
        found = answer(dataset_id, status, page=page, limit=limit)
        if any(document.id in weird for document in found.data):
            raise BadRequest(f'documents: 400 "{SAID}" (invalid_param)', status=400, by_dify=True)
        return found

    harness.client.documents = refusing  # type: ignore[method-assign]


def many(first: int, count: int, status: str, display: str) -> list[ListedDocument]:
    """Documents, newest first, a minute apart."""
    return [listed(f"{display}{number}", status, display, 1e9 - 60 * number) for number in range(first, first + count)]


def succeeded(harness: PollerHarness) -> bool | None:
    """Whether the last scan of the first dataset succeeded."""
    status = harness.statuses.get(scan_of(DATASET))
    assert status is not None
    return status.success


def test_a_page_that_is_refused_takes_only_itself() -> None:
    """The other pages and all numbers are merged; what was known before stays, and the poll fails with the message."""
    harness = discovering(DatasetConfig(DATASET))
    harness.client.listed[DATASET] = [
        *many(0, 150, "indexing", "indexing"),
        *many(150, 50, "waiting", "queuing"),
        *many(200, 30, "error", "error"),
    ]
    harness.poll()
    assert len(documents(harness)) == 200
    before = documents(harness)
    refuse(harness, "indexing3")
    with capture_logs() as lines:
        harness.pass_time(310)
    assert documents(harness) == before
    assert bases(harness)[DATASET].documents == (50, 150, 0, 30, 0, 0, 0, None)
    assert succeeded(harness) is False
    [line] = [line for line in lines if line["event"] == "poll failed" and line["kind"] == "dataset"]
    assert (line["dataset_id"], SAID in line["error"], "status indexing" in line["error"]) == (DATASET, True, True)
    harness.client.listed[DATASET] = [listed("new", "waiting", "queuing", 1e9 + 1), *harness.client.listed[DATASET]]  # type: ignore[misc]
    harness.pass_time(130)
    assert documents(harness) == before | {"new": "waiting"}


def test_documents_that_are_refused_are_not_asked_for_one_by_one() -> None:
    """A refused page of unfinished documents does not cause a request for each document on it."""
    harness = discovering(DatasetConfig(DATASET))
    harness.client.listed[DATASET] = many(0, 150, "indexing", "indexing")
    harness.poll()
    refuse(harness, "indexing3")
    harness.pass_time(60)
    asked = harness.client.count("document")
    harness.pass_time(310)
    assert harness.client.count("document") == asked


def test_the_poll_succeeds_again_when_the_value_is_corrected() -> None:
    """The failure ends with its cause."""
    harness = discovering(DatasetConfig(DATASET))
    harness.client.listed[DATASET] = many(0, 150, "indexing", "indexing")
    refuse(harness, "indexing3")
    harness.poll()
    assert succeeded(harness) is False
    refuse_none: Any = type(harness.client).documents.__get__(harness.client)
    harness.client.documents = refuse_none  # type: ignore[method-assign]
    harness.pass_time(70)
    assert (succeeded(harness), len(documents(harness))) == (True, 150)


def test_ends_on_other_pages_are_counted_once_while_one_is_refused() -> None:
    """What is new is found beside the refused page, and not counted again when that page is readable."""
    harness = discovering(DatasetConfig(DATASET))
    harness.client.listed[DATASET] = many(0, 250, "completed", "available")
    harness.poll()
    found = harness.client.listed[DATASET]
    assert isinstance(found, list)
    real: Any = harness.client.documents
    refuse(harness, "available120")
    harness.client.listed[DATASET] = [listed("new", "error", "error", 1e9 + 60), *found]
    harness.pass_time(1000)
    assert finished(harness) == {"error": 1}
    harness.client.documents = real  # type: ignore[method-assign]
    harness.store.expire(0.0)
    harness.pass_time(4000, tick=10)
    assert finished(harness) == {"error": 1}


@pytest.mark.parametrize("kind", ["batch", "detail"])
def test_a_batch_or_detail_that_is_refused_keeps_what_is_known(kind: str) -> None:
    """Objects stay, the poll fails, and the log passes the message on."""
    harness = discovering(DatasetConfig(DATASET, batches=("b",), documents=("2",)))
    harness.client.batches["b"] = [item("1", "indexing", 1, 3)]
    harness.client.details["2"] = DocumentDetail("2", indexing_status="indexing")
    harness.client.listed[DATASET] = [listed("1", "indexing", "indexing"), listed("2", "indexing", "indexing")]
    harness.poll()
    before = documents(harness)
    error = BadRequest(f'document: 400 "{SAID}" (invalid_param)', status=400, by_dify=True)
    if kind == "batch":
        harness.client.batches["b"] = error
    else:
        harness.client.details["2"] = error
    with capture_logs() as lines:
        harness.pass_time(600)
    assert documents(harness) == before == {"1": "indexing", "2": "indexing"}
    assert any(SAID in line["error"] for line in lines if line["event"] == "poll failed")
