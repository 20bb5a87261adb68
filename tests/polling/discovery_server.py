"""A server with discovery on and nothing configured, and helpers to read what discovery found."""

from __future__ import annotations

from collections import Counter

from exporter.config import DatasetConfig, Polling, ServerConfig
from exporter.dify import DatasetAnswer, ListedDocument
from exporter.polling import configured_targets
from exporter.tracking import Batch, Dataset, DatasetCounters, Document, SavedObjects, SeenLists
from tests.polling.fake_server import DATASET, PollerHarness

URL = "http://127.0.0.1:5001/v1"

OTHER = "a7d082b4-b651-4647-810f-f1a7176fe54f"


def discovering(
    *datasets: DatasetConfig, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()
) -> PollerHarness:
    """A rig whose server has discovery on; nothing is polled yet."""
    server = ServerConfig(
        "main",
        URL,
        discover=True,
        discover_include=include,
        discover_exclude=exclude,
        datasets=datasets,
    )
    harness = PollerHarness(Polling(), server)
    harness.client.bases = {
        DATASET: DatasetAnswer(DATASET, "Handbook", "high_quality", "bge"),
        OTHER: DatasetAnswer(OTHER, "Tickets"),
    }
    harness.poller.watch(configured_targets(server))
    return harness


def reload(harness: PollerHarness, server: ServerConfig, polling: Polling | None = None) -> None:
    """Go on with another configuration of the server."""
    harness.poller.reconfigure(server, harness.client, polling or Polling())
    left = harness.poller.watched - set(configured_targets(server))
    harness.poller.watch(configured_targets(server))
    harness.poller.unwatch(left)


def listed(document_id: str, status: str, display: str, created_at: float | None = None) -> ListedDocument:
    """A document in a document list."""
    return ListedDocument(document_id, status, display, created_at=created_at)


def restart(before: PollerHarness, after: PollerHarness) -> None:
    """Let ``after`` continue from the state of ``before``, beside the same server."""
    after.client = before.client
    after.poller.reconfigure(ServerConfig("main", URL, discover=True), before.client, Polling())
    after.clock.advance(before.clock.monotonic())
    after.store.restore(
        SavedObjects(
            before.listener.of(Document),
            before.listener.of(Batch),
            before.listener.of(DatasetCounters),
            before.listener.of(SeenLists),
        )
    )


def finished(harness: PollerHarness, dataset_id: str = DATASET) -> dict[str, int]:
    """How many documents of a dataset were counted as finished, by status."""
    [counters] = [found for found in harness.listener.of(DatasetCounters) if found.dataset_id == dataset_id]
    counts: Counter[str] = Counter()
    for (status, _), count in counters.finished:
        counts[status] += count
    return dict(+counts)


def bases(harness: PollerHarness) -> dict[str, Dataset]:
    """The known datasets, by id."""
    return {found.dataset_id: found for found in harness.listener.of(Dataset)}


def documents(harness: PollerHarness) -> dict[str, str]:
    """The status of every known document, by id."""
    return {found.document_id: found.progress.status for found in harness.listener.of(Document)}
