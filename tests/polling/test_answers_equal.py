"""Byte-identical answers are skipped only as long as the result of the previous answer is still stored."""

from __future__ import annotations

import pytest

from exporter.config import DatasetConfig, Polling, ServerConfig
from exporter.dify import DatasetAnswer, DocumentDetail, NotFound
from exporter.polling import BATCH_STATUS, DATASET_SCAN, Target, configured_targets
from exporter.tracking import Batch, Document, Merger
from exporter.tracking.model import Progress
from tests.polling.discovery_server import documents
from tests.polling.fake_server import DATASET, PollerHarness, item


def configured(*, batches: tuple[str, ...] = (), names: tuple[str, ...] = ()) -> PollerHarness:
    """A rig whose configuration names these batches and documents of a dataset."""
    server = ServerConfig("main", "http://x/v1", datasets=(DatasetConfig(DATASET, batches=batches, documents=names),))
    harness = PollerHarness(Polling(), server)
    harness.client.bases[DATASET] = DatasetAnswer(DATASET, "Handbook")
    harness.poller.watch(configured_targets(server))
    return harness


def lose_knowledge_base(harness: PollerHarness) -> None:
    """The dataset answers 404 once, then exists again."""
    harness.client.bases[DATASET] = NotFound("Dataset not found.", gone=True)
    harness.poller.schedule.put(Target(DATASET_SCAN, DATASET, DATASET), harness.clock.monotonic())
    harness.poll()
    assert harness.listener.of(Batch) == harness.listener.of(Document) == []
    harness.client.bases[DATASET] = DatasetAnswer(DATASET, "Handbook")


def test_a_batch_comes_back_with_its_knowledge_base() -> None:
    """After the dataset was removed, an unchanged answer restores its batch."""
    harness = configured(batches=("b",))
    harness.client.batches["b"] = [item("1", "indexing", 1, 3)]
    harness.poll()
    lose_knowledge_base(harness)
    harness.pass_time(120)
    assert documents(harness) == {"1": "indexing"}
    assert [found.batch for found in harness.listener.of(Batch)] == ["b"]


def test_a_document_comes_back_with_its_knowledge_base() -> None:
    """After the dataset was removed, an unchanged answer restores its configured document."""
    harness = configured(names=("1",))
    harness.client.details["1"] = DocumentDetail("1", indexing_status="indexing", segment_count=3)
    harness.poll()
    lose_knowledge_base(harness)
    harness.pass_time(120)
    assert documents(harness) == {"1": "indexing"}


def test_a_batch_removed_during_its_poll_returns_soon() -> None:
    """An "unchanged" answer to a batch removed during the request has no result to confirm: it is fetched again."""
    harness = configured(batches=("b",))
    harness.client.batches["b"] = [item("1", "completed", 3, 3)]
    harness.poll()
    todo = [harness.store.remove_dataset]
    harness.client.before_answer = lambda key: key == "b" and todo and todo.pop()(DATASET)  # type: ignore[assignment]
    harness.poller.schedule.put(Target(BATCH_STATUS, DATASET, "b"), harness.clock.monotonic())
    harness.poll()
    assert documents(harness) == {}
    harness.pass_time(60)
    assert documents(harness) == {"1": "completed"}


def test_a_configured_document_removed_from_its_batch_continues_by_its_detail() -> None:
    """A detail that was ignored because a batch reported the document counts once the batch is gone."""
    harness = configured(batches=("b",), names=("1",))
    harness.client.batches["b"] = [item("1", "completed", 3, 3)]
    harness.client.details["1"] = DocumentDetail("1", indexing_status="waiting")
    harness.poll()
    assert documents(harness) == {"1": "completed"}
    harness.client.batches["b"] = NotFound("Documents not found.", gone=True)
    harness.pass_time(24 * 3600, tick=5)
    (document,) = harness.listener.of(Document)
    assert ("", "waiting", True) == (document.batch, document.progress.status, document.stalled)


@pytest.mark.parametrize("lost", [False, True], ids=["the batch is gone", "the batch has lost it"])
def test_a_configured_document_removed_from_its_batch_is_fetched_soon(*, lost: bool) -> None:
    """It is polled at once, not at its own next due time, which may be hours away."""
    harness = configured(batches=("b",), names=("1",))
    harness.client.batches["b"] = [item("1", "completed", 3, 3)]
    harness.client.details["1"] = DocumentDetail("1", indexing_status="completed")
    harness.pass_time(24 * 3600, tick=60)
    harness.client.details["1"] = DocumentDetail("1", indexing_status="indexing")
    harness.client.batches["b"] = (
        [item("2", "completed", 3, 3)] if lost else NotFound("Documents not found.", gone=True)
    )
    harness.poller.schedule.put(Target(BATCH_STATUS, DATASET, "b"), harness.clock.monotonic())
    harness.pass_time(30)
    assert documents(harness)["1"] == "indexing"


def test_a_status_from_another_answer_does_not_survive_an_equal_detail() -> None:
    """A detail equal to the one before a retry is decoded again if a list reported "waiting" in between."""
    harness = configured(names=("1",))
    harness.client.details["1"] = DocumentDetail("1", indexing_status="error", error="quota")
    harness.poll()
    waiting = Progress("waiting")
    harness.clock.advance(1)
    Merger(harness.store).apply_listed(DATASET, {"1": (waiting, None)})
    assert documents(harness) == {"1": "waiting"}
    harness.pass_time(3600)
    assert documents(harness) == {"1": "error"}


def test_an_equal_answer_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as no other answer changes the object, a matching digest is sufficient."""
    harness = configured(batches=("b",), names=("1", "2"))
    harness.client.batches["b"] = [item("1", "indexing", 1, 3)]
    harness.client.details |= {key: DocumentDetail(key, indexing_status="indexing", segment_count=3) for key in "12"}
    harness.poll()
    monkeypatch.setattr(Merger, "apply_batch", None)
    monkeypatch.setattr(Merger, "apply_detail", None)
    harness.pass_time(600)
    assert not harness.observer.failures
