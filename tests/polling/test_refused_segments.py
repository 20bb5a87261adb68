"""Documents that discovery found, while segments or details are refused: what lists say decides about a stall."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.config import DatasetConfig
from exporter.dify import (
    BadRequest,
    DifyError,
    Forbidden,
    NotFound,
    RateLimited,
    ServerFailed,
    TimedOut,
    Unauthorized,
)
from tests.polling.discovery_server import discovering, listed
from tests.polling.fake_server import DATASET, PollerHarness, item

if TYPE_CHECKING:
    from collections.abc import Callable

FOUND = "5f1d9a2e-6c0b-4d5e-9a43-000000000001"
LIMIT = 900.0

REFUSALS: dict[str, Callable[[], DifyError]] = {
    "404": lambda: NotFound("404", gone=True, by_dify=True),
    "404 of a gateway": lambda: NotFound("404"),
    "405": lambda: NotFound("405", status=405, by_dify=True),
    "400": lambda: BadRequest("400", status=400, by_dify=True),
    "401": lambda: Unauthorized("401", status=401),
    "403": lambda: Forbidden("403", status=403, by_dify=True),
    "403 of a gateway": lambda: Forbidden("403", status=403),
    "501": lambda: ServerFailed("501", status=501),
}


def finding(status: str, endpoint: str, error: Callable[[], DifyError]) -> PollerHarness:
    """A server that lists a document, and on which an endpoint is refused; a batch is read as well."""
    harness = discovering(DatasetConfig(DATASET, batches=("b",)))
    harness.client.batches["b"] = [item("other", "completed", 1, 1)]
    harness.client.listed = {DATASET: [listed(FOUND, status, "indexing")]}

    def refuse(asked: str) -> None:
        if asked == endpoint:
            raise error()

    harness.client.refuse = refuse
    harness.poll()
    return harness


def is_stalled(harness: PollerHarness) -> bool:
    """The verdict on the document."""
    found = harness.store.document(DATASET, FOUND)
    assert found is not None
    return found.stalled


@pytest.mark.parametrize(
    ("status", "endpoint", "error"),
    [
        *(("indexing", "segments", error) for error in REFUSALS.values()),
        # A 404 from Dify itself says that the document is gone.
        *(("splitting", "document", error) for name, error in REFUSALS.items() if name != "404"),
    ],
)
def test_a_document_stalls_by_its_lists_when_nothing_else_is_answered(
    status: str, endpoint: str, error: Callable[[], DifyError]
) -> None:
    """It is stalled in the second in which it has not moved for long enough, and resumes with its status."""
    harness = finding(status, endpoint, error)
    harness.pass_time(LIMIT - 1.0)
    assert not is_stalled(harness)
    harness.pass_time(1.0)
    assert is_stalled(harness)
    harness.client.listed = {DATASET: [listed(FOUND, "indexing" if status == "splitting" else "splitting", "indexing")]}
    harness.pass_time(120.0)
    assert not is_stalled(harness)
    assert harness.health.status.up is True


@pytest.mark.parametrize(
    "error",
    [
        lambda: RateLimited("429", status=429),
        lambda: ServerFailed("500", status=500),
        lambda: TimedOut("late"),
    ],
)
def test_a_failure_that_may_pass_shows_no_stall(error: Callable[[], DifyError]) -> None:
    """The segments may have moved meanwhile: the next answer tells."""
    harness = finding("indexing", "segments", error)
    harness.pass_time(2 * LIMIT)
    assert not is_stalled(harness)


def test_a_server_that_refuses_everything_shows_no_stall() -> None:
    """A revoked key stops the lists as well: nobody knows whether the document moves."""
    harness = finding("indexing", "", lambda: Unauthorized("401"))
    harness.pass_time(60.0)

    def refuse(_: str) -> None:
        raise Unauthorized("401", status=401, by_dify=True)

    harness.client.refuse = refuse
    harness.pass_time(2 * LIMIT)
    assert harness.health.status.up is False
    assert not is_stalled(harness)


def test_lists_that_are_not_read_show_no_stall() -> None:
    """With segments and lists refused and batches answered, nothing is known about the document."""
    harness = finding("indexing", "segments", lambda: NotFound("404"))
    harness.pass_time(60.0)

    def refuse(asked: str) -> None:
        if asked in ("segments", "documents"):
            raise NotFound("404")

    harness.client.refuse = refuse
    harness.pass_time(2 * LIMIT)
    assert harness.health.status.up is True
    assert not is_stalled(harness)
