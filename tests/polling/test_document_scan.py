"""Document scans: pagination, and servers that ignore the status filter."""

from __future__ import annotations

from exporter.dify import DocumentDetail
from tests.polling.discovery_server import bases, discovering, documents, listed
from tests.polling.fake_server import DATASET


def test_an_old_server_that_ignores_the_state_is_searched_from_the_newest() -> None:
    """Before 1.10.1 every list contains all documents: two pages are read, and nothing is counted."""
    harness = discovering()
    harness.client.version = ""
    harness.client.old = True
    harness.client.listed[DATASET] = [
        *(listed(f"new{number}", "completed", "available") for number in range(150)),
        listed("stuck", "parsing", "indexing"),
        *(listed(f"old{number}", "completed", "available") for number in range(500)),
    ]
    harness.poll()
    assert documents(harness) == {"stuck": "parsing"}
    assert bases(harness)[DATASET].documents == ()
    pages = [key for kind, key in harness.client.asked if kind == "documents" and key.startswith(DATASET)]
    assert pages == [f"{DATASET}//1", f"{DATASET}/queuing/1", f"{DATASET}//1", f"{DATASET}//2"]


def test_a_version_that_cannot_filter_gets_no_filter() -> None:
    """A server whose version cannot filter is not sent a filter."""
    harness = discovering()
    harness.client.version = "1.9.2"
    harness.client.old = True
    harness.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    harness.poll()
    assert documents(harness) == {"1": "waiting"}
    assert all("//" in key for kind, key in harness.client.asked if kind == "documents")


def test_what_is_known_to_be_unfinished_is_followed_beyond_the_newest_pages() -> None:
    """On an old server a document that leaves the newest pages is fetched by its detail."""
    harness = discovering()
    harness.client.version = "1.9.2"
    harness.client.old = True
    harness.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    harness.client.details["1"] = DocumentDetail("1", indexing_status="waiting")
    harness.poll()
    harness.client.listed[DATASET] = [listed(f"n{number}", "completed", "available") for number in range(300)]
    harness.client.details["1"] = DocumentDetail("1", indexing_status="completed")
    harness.pass_time(250)
    assert documents(harness) == {"1": "completed"}


def test_more_documents_than_a_page_are_found_each_once() -> None:
    """Pagination relies on ``total``; a document that moves between pages appears twice and counts once."""
    harness = discovering()
    many = [listed(f"{number:03}", "waiting", "queuing") for number in range(250)]
    harness.client.listed[DATASET] = [*many[:100], many[0], *many[100:]]
    harness.poll()
    assert len(documents(harness)) == 250


def test_a_full_page_is_the_last_when_total_says_so() -> None:
    """``has_more`` is true on a page that is exactly full; ``total`` is reliable."""
    harness = discovering()
    harness.client.listed[DATASET] = [listed(f"{number:03}", "waiting", "queuing") for number in range(100)]
    harness.poll()
    pages = [key for kind, key in harness.client.asked if kind == "documents" and key.startswith(DATASET)]
    assert pages == [f"{DATASET}//1"]
