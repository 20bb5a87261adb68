"""A knowledge base of any size in the API's format, and a server that answers from memory."""

from __future__ import annotations

import hashlib
import threading
from itertools import groupby
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from exporter.config import Config, DatasetConfig, Limits, Polling, ServerConfig
from exporter.daemon.app import App
from exporter.dify import (
    PAGE,
    Answer,
    DatasetAnswer,
    DatasetPage,
    DocumentDetail,
    DocumentPage,
    IndexingItem,
    NotFound,
    SegmentPage,
)
from exporter.polling import BATCH_STATUS, Target, configured_targets

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from exporter.clock import Clock
    from exporter.metrics import Page

BATCH_SIZE = 10
"""Documents per batch."""

MAIN = "main"
STILL = Polling(*[1e9] * 6)
"""Seconds. Nothing becomes due by itself."""

_STARTED = 1_795_282_000
_SEGMENTS = 1_000_000
_items = msgspec.json.Decoder(dict[str, list[IndexingItem]])
_details = msgspec.json.Decoder(DocumentDetail)


def dataset_id(number: int) -> str:
    """The knowledge base of a batch; 100 batches share one."""
    return str(UUID(int=(0xDA7A << 112) + number // 100))


def document_id(number: int, member: int) -> str:
    """A document id of a batch. It looks random, but ``_which`` decodes it."""
    place = number * BATCH_SIZE + member
    digest = hashlib.md5(place.to_bytes(8), usedforsecurity=False).digest()
    return str(UUID(bytes=digest[:12] + place.to_bytes(4), version=4))


def _which(document: str) -> tuple[int, int]:
    return divmod(int(document[-8:], 16), BATCH_SIZE)


def batch_id(number: int) -> str:
    """A batch id in Dify's format."""
    return f"20261121{number:012d}"


def datasets(batches: int) -> tuple[DatasetConfig, ...]:
    """The configured datasets: ``batches`` batches in their knowledge bases."""
    return tuple(
        DatasetConfig(key, batches=tuple(batch_id(number) for number in numbers))
        for key, numbers in groupby(range(batches), dataset_id)
    )


class SavedObjects:
    """An ``Upstream`` with ``batches`` batches. At step n of a batch, n segments of each document are completed.

    Answers are encoded as JSON and decoded, so that objects cost the same as with a real server. ``gone``: batches that
    answer 404.
    """

    version = "1.12.1"

    def __init__(self, batches: int) -> None:
        self.targets = [Target(BATCH_STATUS, dataset_id(number), batch_id(number)) for number in range(batches)]
        self.steps = [0] * batches
        self.gone: set[int] = set()
        self._numbers = {target.id: number for number, target in enumerate(self.targets)}

    def indexing_status(self, dataset_id: str, batch: str, *, known: bytes | None = None) -> Answer[list[IndexingItem]]:
        """The progress of the documents of a batch."""
        number = self._numbers[batch]
        if number in self.gone:
            raise NotFound(f"{dataset_id}: no such batch", gone=True)
        body = msgspec.json.encode({"data": [self._item(number, member) for member in range(BATCH_SIZE)]})
        digest = hashlib.blake2b(body, digest_size=16).digest()
        return Answer(None if digest == known else _items.decode(body)["data"], digest)

    def document(self, dataset_id: str, document_id: str, *, known: bytes | None = None) -> Answer[DocumentDetail]:  # noqa: ARG002 - as Upstream has it
        """The detail of a document."""
        body = msgspec.json.encode(_detail(*_which(document_id)))
        digest = hashlib.blake2b(body, digest_size=16).digest()
        return Answer(None if digest == known else _details.decode(body), digest)

    def dataset(self, dataset_id: str) -> DatasetAnswer:
        """The metadata of a knowledge base."""
        return DatasetAnswer(dataset_id, "Manuals", "high_quality", "text-embedding-3-large")

    def datasets(self, page: int, *, private: bool = True) -> DatasetPage:  # noqa: ARG002 - as Upstream has it
        """No knowledge bases besides the configured ones."""
        return DatasetPage([], 0)

    def documents(self, dataset_id: str, status: str, *, page: int = 1, limit: int = PAGE) -> DocumentPage:  # noqa: ARG002 - as Upstream has it
        """No documents besides those of the batches."""
        return DocumentPage([], 0)

    def completed_segments(self, dataset_id: str, document_id: str) -> SegmentPage:  # noqa: ARG002 - as Upstream has it
        """Not needed: the batch has more information."""
        return SegmentPage(0)

    def close_connections(self) -> None:
        """There are none."""

    def _item(self, number: int, member: int) -> dict[str, object]:
        started = _STARTED + number
        step = self.steps[number]
        return {
            "id": document_id(number, member),
            "indexing_status": "indexing",
            "processing_started_at": started,
            "parsing_completed_at": started + 3 * member + 1,
            "cleaning_completed_at": started + 3 * member + 2,
            "splitting_completed_at": started + 3 * member + 2,
            "completed_at": None,
            "paused_at": None,
            "error": None,
            "stopped_at": None,
            "completed_segments": min(step, _SEGMENTS),
            "total_segments": _SEGMENTS,
        }


def _detail(number: int, member: int) -> dict[str, object]:
    return {
        "id": document_id(number, member),
        "name": f"Quarterly report {number}-{member} (final).pdf",
        "data_source_type": "upload_file",
        "doc_form": "text_model",
        "doc_language": "English",
        "created_from": "api",
        "indexing_status": "indexing",
        "display_status": "indexing",
        "error": None,
        "created_at": _STARTED + number - 2,
        "updated_at": _STARTED + number + 40,
        "completed_at": None,
        "disabled_at": None,
        "indexing_latency": 17.25 + member,
        "tokens": 120_000 + 7 * number + member,
        "word_count": 500_000 + 31 * number + member,
        "hit_count": number % 50,
        "segment_count": _SEGMENTS,
        "average_segment_length": 812.5,
        "enabled": True,
        "archived": False,
        "document_process_rule": {
            "mode": "custom",
            "rules": {"segmentation": {"separator": "\n", "max_tokens": 500, "chunk_overlap": 50}},
        },
    }


class Watched:
    """The exporter on an in-memory server: everything but HTTP, polled in the caller's thread."""

    def __init__(self, batches: int, *, clock: Clock | None = None, polling: Polling = STILL) -> None:
        self.upstream = SavedObjects(batches)
        config = Config(
            servers=(ServerConfig(MAIN, "https://dify.example/v1", datasets=datasets(batches)),),
            polling=polling,
            limits=Limits(documents=batches * BATCH_SIZE),
        )
        app = App(config, clock=clock)
        self.self_metrics = app.self_metrics
        self.exposition = app.exposition
        monitor = app.monitors[0]
        self.poller = monitor.poller
        self.poller.reconfigure(monitor.server, self.upstream, polling)
        self.store = self.poller.store
        self.poller.watch(configured_targets(monitor.server))
        self._stop = threading.Event()

    def poll(self) -> None:
        """Poll everything that is due, in this thread."""
        self.poller.work(self._stop)

    def move(self, numbers: Iterable[int]) -> None:
        """Complete one more segment in every document of these batches, and poll the batches."""
        for number in numbers:
            self.upstream.steps[number] += 1
            self.poller.schedule.put(self.upstream.targets[number], 0.0)
        self.poll()

    def objects(self) -> Iterator[Any]:
        """Every batch and every document."""
        for number in range(len(self.upstream.targets)):
            yield from self.objects_of(number)

    def objects_of(self, number: int) -> list[Any]:
        """A batch and its documents."""
        target = self.upstream.targets[number]
        batch = self.store.batch(target.dataset_id, target.id)
        if batch is None:
            return []
        return [batch, *(self.store.document(target.dataset_id, document) for document in batch.documents)]


def gzipped(page: Page) -> bytes:
    """The compressed body of a scrape."""
    return b"".join(page.gzip_chunks())
