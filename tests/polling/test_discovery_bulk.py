"""Discovery within a budget of requests, while many documents are indexed at once, as for a new embedding model."""

from __future__ import annotations

import functools
import threading
from typing import Any

import pytest

from exporter.config import DatasetConfig
from exporter.dify import DocumentDetail
from exporter.tracking import DatasetCounters, Document
from tests.polling.discovery_server import discovering, documents, listed
from tests.polling.fake_server import DATASET, FakeClient, PollerHarness


class Deadline(threading.Event):
    """Set once the clock of a harness has reached a time: polls that are always due would never end otherwise."""

    def __init__(self, harness: PollerHarness, seconds: float) -> None:
        super().__init__()
        self._clock = harness.clock
        self._end = harness.clock.monotonic() + seconds

    def is_set(self) -> bool:
        """Whether the time has come."""
        return self._clock.monotonic() >= self._end


def poll_for(harness: PollerHarness, seconds: float) -> None:
    """Poll what is due for so many seconds."""
    deadline = Deadline(harness, seconds)
    while not deadline.is_set():
        harness.poller.work(deadline)
        harness.clock.advance(0.2)


def throttled(harness: PollerHarness, requests_per_second: float) -> None:
    """Let each request take as long as the budget makes it wait."""

    def slow(request: Any) -> Any:
        @functools.wraps(request)
        def wait(*args: Any, **kwargs: Any) -> Any:
            harness.clock.advance(1 / requests_per_second)
            return request(*args, **kwargs)

        return wait

    client: FakeClient = harness.client
    for name in ("document", "documents", "completed_segments", "dataset", "datasets"):
        setattr(client, name, slow(getattr(client, name)))


@pytest.mark.parametrize(("count", "requests_per_second"), [(200, 5.0), (700, 5.0), (5_000, 5.0), (700, 1.0)], ids=str)
def test_documents_that_finish_are_known_to_have_finished(count: int, requests_per_second: float) -> None:
    """However many documents are indexed at once, each end is counted once and no finished document is called stalled.

    1 request per second is what a shard of five may use.
    """
    harness = discovering(DatasetConfig(DATASET, discover=True))
    harness.client.bases = {DATASET: harness.client.bases[DATASET]}
    ids = [f"{number:04}" for number in range(count)]
    harness.client.listed[DATASET] = [listed(found, "indexing", "indexing") for found in ids]
    harness.client.details = {
        found: DocumentDetail(found, indexing_status="indexing", display_status="indexing", segment_count=5)
        for found in ids
    }
    harness.client.segments = dict.fromkeys(ids, 5)
    throttled(harness, requests_per_second)
    poll_for(harness, 240)
    last = ids[0]
    for found in ids[1:]:
        harness.client.details[found] = DocumentDetail(
            found, indexing_status="completed", display_status="available", segment_count=5, completed_at=1
        )
    harness.client.listed[DATASET] = [
        listed(found, *(("indexing", "indexing") if found == last else ("completed", "available"))) for found in ids
    ]
    stalled: set[str] = set()
    for _ in range(int(3 * count / requests_per_second / 60) + 5):
        poll_for(harness, 60)
        stalled |= {found.document_id for found in harness.listener.of(Document) if found.stalled}
    assert stalled <= {last}
    assert documents(harness)[last] == "indexing"
    if count <= 2_000:
        assert {"completed"} == {status for found, status in documents(harness).items() if found != last}
        [counters] = harness.listener.of(DatasetCounters)
        assert dict(counters.finished)["completed", ""] == count - 1
    else:
        assert "indexing" not in {status for found, status in documents(harness).items() if found != last}
    before = len(harness.client.asked)
    poll_for(harness, 300)
    assert len(harness.client.asked) - before < 5 * (4 + 7 + 2)
