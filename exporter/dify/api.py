"""The part of the Dify API that is polled. ``exporter.dify.Client`` implements it; tests and benchmarks have fakes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from exporter.dify.client import PAGE

if TYPE_CHECKING:
    from exporter.dify.answers import (
        DatasetAnswer,
        DatasetPage,
        DocumentDetail,
        DocumentPage,
        IndexingItem,
        SegmentPage,
    )
    from exporter.dify.client import Answer


class Upstream(Protocol):
    """A Dify server. Raises DifyError; Stopped during shutdown. ``known``: the digest of the last answer."""

    version: str

    def indexing_status(self, dataset_id: str, batch: str, *, known: bytes | None = None) -> Answer[list[IndexingItem]]:
        """The progress of the documents of a batch."""
        ...

    def document(self, dataset_id: str, document_id: str, *, known: bytes | None = None) -> Answer[DocumentDetail]:
        """The detail of a document."""
        ...

    def datasets(self, page: int) -> DatasetPage:
        """A page of 100 datasets."""
        ...

    def dataset(self, dataset_id: str) -> DatasetAnswer:
        """A dataset."""
        ...

    def documents(self, dataset_id: str, status: str, *, page: int = 1, limit: int = PAGE) -> DocumentPage:
        """A page of the documents with a display status; "" for all."""
        ...

    def completed_segments(self, dataset_id: str, document_id: str) -> SegmentPage:
        """How many segments of a document are completed."""
        ...

    def close_connections(self) -> None:
        """Close the connections at the end of a burst: the server has only a few."""
        ...
