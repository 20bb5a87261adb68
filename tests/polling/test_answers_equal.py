"""Byte-identical answers are skipped only as long as the result of the previous answer is still stored."""

from __future__ import annotations

import pytest

from exporter.config import DatasetConfig, Polling, ServerConfig
from exporter.dify import DatasetAnswer, DocumentDetail, NotFound
from exporter.polling import BATCH_STATUS, DATASET_SCAN, Target, configured_targets
from exporter.tracking import Batch, Document
from exporter.tracking.model import Progress
from tests.polling.discovery_server import documents
from tests.polling.fake_server import DATASET, Rig, item


def configured(*, batches: tuple[str, ...] = (), names: tuple[str, ...] = ()) -> Rig:
    """A rig whose configuration names these batches and documents of a dataset."""
    server = ServerConfig("main", "http://x/v1", datasets=(DatasetConfig(DATASET, batches=batches, documents=names),))
    rig = Rig(Polling(), server)
    rig.client.bases[DATASET] = DatasetAnswer(DATASET, "Handbook")
    rig.poller.watch(configured_targets(server))
    return rig


def lose_knowledge_base(rig: Rig) -> None:
    """The dataset answers 404 once, then exists again."""
    rig.client.bases[DATASET] = NotFound("Dataset not found.", gone=True)
    rig.poller.schedule.put(Target(DATASET_SCAN, DATASET, DATASET), rig.clock.monotonic())
    rig.poll()
    assert rig.listening.of(Batch) == rig.listening.of(Document) == []
    rig.client.bases[DATASET] = DatasetAnswer(DATASET, "Handbook")


def test_a_batch_comes_back_with_its_knowledge_base() -> None:
    """After the dataset was removed, an unchanged answer restores its batch."""
    rig = configured(batches=("b",))
    rig.client.batches["b"] = [item("1", "indexing", 1, 3)]
    rig.poll()
    lose_knowledge_base(rig)
    rig.pass_time(120)
    assert documents(rig) == {"1": "indexing"}
    assert [found.batch for found in rig.listening.of(Batch)] == ["b"]


def test_a_document_comes_back_with_its_knowledge_base() -> None:
    """After the dataset was removed, an unchanged answer restores its configured document."""
    rig = configured(names=("1",))
    rig.client.details["1"] = DocumentDetail("1", indexing_status="indexing", segment_count=3)
    rig.poll()
    lose_knowledge_base(rig)
    rig.pass_time(120)
    assert documents(rig) == {"1": "indexing"}


def test_a_batch_that_is_forgotten_while_it_is_asked_for_comes_back_soon() -> None:
    """An "unchanged" answer to a batch removed during the request has no result to confirm: it is fetched again."""
    rig = configured(batches=("b",))
    rig.client.batches["b"] = [item("1", "completed", 3, 3)]
    rig.poll()
    todo = [rig.store.remove_dataset]
    rig.client.before_answer = lambda key: todo.pop()(DATASET) if key == "b" and todo else None
    rig.poller.schedule.put(Target(BATCH_STATUS, DATASET, "b"), rig.clock.monotonic())
    rig.poll()
    assert documents(rig) == {}
    rig.pass_time(60)
    assert documents(rig) == {"1": "completed"}


def test_a_document_that_its_batch_leaves_to_the_configuration_goes_on_by_its_detail() -> None:
    """A detail that was ignored because a batch reported the document counts once the batch is gone."""
    rig = configured(batches=("b",), names=("1",))
    rig.client.batches["b"] = [item("1", "completed", 3, 3)]
    rig.client.details["1"] = DocumentDetail("1", indexing_status="waiting")
    rig.poll()
    assert documents(rig) == {"1": "completed"}
    rig.client.batches["b"] = NotFound("Documents not found.", gone=True)
    rig.pass_time(24 * 3600, tick=5)
    (document,) = rig.listening.of(Document)
    assert ("", "waiting", True) == (document.batch, document.progress.status, document.stalled)


@pytest.mark.parametrize("lost", [False, True], ids=["the batch is gone", "the batch has lost it"])
def test_a_document_that_its_batch_leaves_to_the_configuration_is_asked_for_soon(*, lost: bool) -> None:
    """It is polled at once, not at its own next due time, which may be hours away."""
    rig = configured(batches=("b",), names=("1",))
    rig.client.batches["b"] = [item("1", "completed", 3, 3)]
    rig.client.details["1"] = DocumentDetail("1", indexing_status="completed")
    rig.pass_time(24 * 3600, tick=60)
    rig.client.details["1"] = DocumentDetail("1", indexing_status="indexing")
    rig.client.batches["b"] = [item("2", "completed", 3, 3)] if lost else NotFound("Documents not found.", gone=True)
    rig.poller.schedule.put(Target(BATCH_STATUS, DATASET, "b"), rig.clock.monotonic())
    rig.pass_time(30)
    assert documents(rig)["1"] == "indexing"


def test_a_status_that_another_answer_told_does_not_stay_for_an_equal_detail() -> None:
    """A detail equal to the one before a retry is decoded again if a list reported "waiting" in between."""
    rig = configured(names=("1",))
    rig.client.details["1"] = DocumentDetail("1", indexing_status="error", error="quota")
    rig.poll()
    waiting = Progress("waiting")
    rig.clock.advance(1)
    rig.store.apply_listed(DATASET, {"1": (waiting, None)})
    assert documents(rig) == {"1": "waiting"}
    rig.pass_time(3600)
    assert documents(rig) == {"1": "error"}


def test_an_equal_answer_is_not_read() -> None:
    """As long as no other answer changes the object, a matching digest is sufficient."""
    rig = configured(batches=("b",), names=("1", "2"))
    rig.client.batches["b"] = [item("1", "indexing", 1, 3)]
    rig.client.details |= {key: DocumentDetail(key, indexing_status="indexing", segment_count=3) for key in "12"}
    rig.poll()
    rig.store.apply_batch = rig.store.apply_detail = None  # type: ignore[method-assign,assignment]
    rig.pass_time(600)
    assert not rig.observer.failures
