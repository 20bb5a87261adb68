"""Document scans: pagination, and servers that ignore the status filter."""

from __future__ import annotations

from exporter.dify import DocumentDetail
from tests.polling.discovery_server import bases, discovering, documents, listed
from tests.polling.fake_server import DATASET


def test_an_old_server_that_ignores_the_state_is_searched_from_the_newest() -> None:
    """Before 1.10.1 every list contains all documents: two pages are read, and nothing is counted."""
    rig = discovering()
    rig.client.version = ""
    rig.client.old = True
    rig.client.listed[DATASET] = [
        *(listed(f"new{number}", "completed", "available") for number in range(150)),
        listed("stuck", "parsing", "indexing"),
        *(listed(f"old{number}", "completed", "available") for number in range(500)),
    ]
    rig.poll()
    assert documents(rig) == {"stuck": "parsing"}
    assert bases(rig)[DATASET].documents == ()
    pages = [key for kind, key in rig.client.asked if kind == "documents" and key.startswith(DATASET)]
    assert pages == [f"{DATASET}/queuing/1", f"{DATASET}//1", f"{DATASET}//2"]


def test_a_version_that_cannot_filter_is_not_asked_to() -> None:
    """A server whose version cannot filter is not sent a filter."""
    rig = discovering()
    rig.client.version = "1.9.2"
    rig.client.old = True
    rig.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    rig.poll()
    assert documents(rig) == {"1": "waiting"}
    assert all("//" in key for kind, key in rig.client.asked if kind == "documents")


def test_what_is_known_to_be_unfinished_is_followed_beyond_the_newest_pages() -> None:
    """On an old server a document that leaves the newest pages is fetched by its detail."""
    rig = discovering()
    rig.client.version = "1.9.2"
    rig.client.old = True
    rig.client.listed[DATASET] = [listed("1", "waiting", "queuing")]
    rig.client.details["1"] = DocumentDetail("1", indexing_status="waiting")
    rig.poll()
    rig.client.listed[DATASET] = [listed(f"n{number}", "completed", "available") for number in range(300)]
    rig.client.details["1"] = DocumentDetail("1", indexing_status="completed")
    rig.pass_time(250)
    assert documents(rig) == {"1": "completed"}


def test_more_documents_than_a_page_are_found_each_once() -> None:
    """Pagination relies on ``total``; a document that moves between pages appears twice and counts once."""
    rig = discovering()
    many = [listed(f"{number:03}", "waiting", "queuing") for number in range(250)]
    rig.client.listed[DATASET] = [*many[:100], many[0], *many[100:]]
    rig.poll()
    assert len(documents(rig)) == 250


def test_a_full_page_is_the_last_when_total_says_so() -> None:
    """``has_more`` is true on a page that is exactly full; ``total`` is reliable."""
    rig = discovering()
    rig.client.listed[DATASET] = [listed(f"{number:03}", "waiting", "queuing") for number in range(100)]
    rig.poll()
    pages = [key for kind, key in rig.client.asked if kind == "documents" and key.startswith(f"{DATASET}/queuing")]
    assert pages == [f"{DATASET}/queuing/1"]
