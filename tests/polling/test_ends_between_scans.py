"""Ends that no scan has seen coming: documents that discovery has never seen unfinished."""

from __future__ import annotations

import pytest

from exporter.dify import DatasetAnswer, DocumentDetail, Forbidden, ListedDocument
from exporter.tracking import Document
from tests.polling.discovery_server import bases, discovering, documents, finished, listed, restart
from tests.polling.fake_server import DATASET, PollerHarness

CREATED = 1_795_282_000
"""When the documents of ``old`` were created."""

FAILED, COMPLETED = ("error", "error"), ("completed", "available")


def old(count: int = 150, zone: int = 0, *, failed: int = 2) -> list[ListedDocument]:
    """Documents from before the first scan, newest first, a few seconds apart; the newest ones have failed."""
    return [
        listed(f"old{number}", *(FAILED if number < failed else COMPLETED), created_at=CREATED + zone - 5 * number)
        for number in range(count)
    ]


def upload(harness: PollerHarness, created_at: float, *, broken: int = 10, good: int = 10, name: str = "new") -> None:
    """Documents that were created and finished since the last scan."""
    before = harness.client.listed[DATASET]
    assert isinstance(before, list)
    new = [listed(f"{name}{number}-broken", *FAILED, created_at=created_at) for number in range(broken)]
    new += [listed(f"{name}{number}-good", *COMPLETED, created_at=created_at) for number in range(good)]
    harness.client.listed[DATASET] = [*new, *before]
    for document in new:
        harness.client.details[document.id] = DocumentDetail(
            document.id, indexing_status=document.indexing_status, display_status=document.display_status
        )
    totals(harness)


def totals(harness: PollerHarness) -> None:
    """Let the list of datasets report the documents of the first one."""
    found = harness.client.listed[DATASET]
    assert isinstance(found, list)
    available = sum(document.display_status == "available" for document in found)
    harness.client.bases[DATASET] = DatasetAnswer(
        DATASET, "Handbook", document_count=len(found), total_documents=len(found), total_available_documents=available
    )


def scanned(count: int = 150, zone: int = 0) -> PollerHarness:
    """A rig that has scanned so many old documents. ``zone``: seconds by which the API's times differ."""
    harness = discovering()
    harness.client.listed[DATASET] = old(count, zone)
    totals(harness)
    harness.poll()
    return harness


@pytest.mark.parametrize("count", [0, 3, 150], ids=str)
@pytest.mark.parametrize("zone", [0, -8 * 3600], ids=str)
@pytest.mark.parametrize("later", [0, 1, 600], ids=str)
def test_documents_that_finish_between_two_scans_are_counted_once(count: int, zone: int, later: int) -> None:
    """Failures come within a second. The API's own times decide, equal to the second or off by a time zone."""
    harness = scanned(count, zone)
    upload(harness, CREATED + zone + later)
    harness.pass_time(310)
    assert finished(harness) == {"error": 10, "completed": 10}
    assert len(documents(harness)) == 20
    harness.pass_time(3600, tick=10)
    assert finished(harness) == {"error": 10, "completed": 10}


def test_what_finished_before_the_first_scan_is_not_counted() -> None:
    """The first scan of a dataset is only compared with."""
    harness = scanned()
    harness.pass_time(3600, tick=10)
    assert (finished(harness), documents(harness)) == ({}, {})


def test_ends_are_counted_once_over_restarts_and_after_their_documents_have_expired() -> None:
    """An upload while the exporter is down is counted after the restart; nothing is counted again after a day."""
    first = scanned()
    upload(first, CREATED + 100)
    second = discovering()
    restart(first, second)
    second.clock.advance(600)
    second.poll()
    assert finished(second) == {"error": 10, "completed": 10}
    second.store.expire(0.0)
    assert documents(second) == {}
    second.pass_time(1800, tick=10)
    third = discovering()
    restart(second, third)
    third.poll()
    third.pass_time(1800, tick=10)
    assert (finished(third), documents(third)) == ({"error": 10, "completed": 10}, {})


def test_an_old_document_that_is_retried_and_fails_within_a_second_is_counted() -> None:
    """It is not among the newest documents, but it had not failed before."""
    harness = scanned()
    found = harness.client.listed[DATASET]
    assert isinstance(found, list)
    found[140] = listed("old140", *FAILED, created_at=found[140].created_at)
    totals(harness)
    harness.pass_time(310)
    assert finished(harness) == {"error": 1}
    assert documents(harness) == {"old140": "error"}


def test_a_document_that_is_committed_late_is_counted() -> None:
    """It may be older, by its time of creation, than the newest one of the last scan."""
    harness = scanned()
    upload(harness, CREATED - 60, broken=1, good=0)
    harness.pass_time(310)
    assert finished(harness) == {"error": 1}


def test_a_known_document_takes_its_end_from_the_list() -> None:
    """Its end is known although its detail is refused."""
    harness = scanned()
    found = harness.client.listed[DATASET]
    assert isinstance(found, list)
    harness.client.details["1"] = Forbidden("document: 403", status=403)
    harness.client.listed[DATASET] = [listed("1", "indexing", "indexing", CREATED + 5), *found]
    harness.pass_time(310)
    harness.client.listed[DATASET] = [listed("1", *FAILED, CREATED + 5), *found]
    harness.pass_time(70)
    assert documents(harness) == {"1": "error"}
    assert finished(harness) == {"error": 1}


def test_everything_in_a_knowledge_base_that_is_created_later_is_counted() -> None:
    """All of it began after an earlier list of datasets; one that only becomes visible later is not new."""
    harness = scanned()
    started = harness.clock.time()
    harness.client.bases["new"] = DatasetAnswer("new", "New", created_at=int(started) + 100)
    harness.client.bases["shared"] = DatasetAnswer("shared", "Shared", created_at=CREATED - 90_000)
    for dataset_id in ("new", "shared"):
        harness.client.listed[dataset_id] = [listed(f"{dataset_id}1", *FAILED, int(started) + 110)]
    harness.pass_time(310)
    assert (finished(harness, "new"), finished(harness, "shared")) == ({"error": 1}, {})


def test_times_that_jump_with_the_time_zone_of_the_server_are_not_new() -> None:
    """After TZ was changed, all documents seem to be created later: none is counted."""
    harness = scanned()
    harness.client.listed[DATASET] = old(zone=8 * 3600)
    harness.pass_time(3600, tick=10)
    assert finished(harness) == {}


def test_the_numbers_of_documents_change_together() -> None:
    """When the list of datasets shows a change, every number is new: 12 failed documents, not 2."""
    harness = scanned()
    upload(harness, CREATED + 100)
    harness.pass_time(310)
    assert bases(harness)[DATASET].documents == (0, 0, 0, 12, 158, 0, 0, None)


def test_the_series_of_ended_documents_have_their_details() -> None:
    """A document that is first seen finished becomes an object with a detail."""
    harness = scanned()
    upload(harness, CREATED + 100, broken=1, good=0)
    harness.pass_time(310)
    [document] = harness.listener.of(Document)
    assert document.detail is not None
