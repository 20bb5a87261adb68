"""What the tracking asks of a server. ``exporter.dify.Client`` is one; tests and benchmarks have others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from exporter.dify import PAGE

if TYPE_CHECKING:
    from exporter.dify import (
        Answer,
        Dataset,
        DatasetPage,
        DocumentDetail,
        DocumentPage,
        IndexingItem,
        SegmentPage,
    )


class Upstream(Protocol):
    """A Dify server. Raises DifyError, and Stopped when it is to stop. ``known``: the digest of the last answer."""

    version: str

    def indexing_status(self, dataset_id: str, batch: str, *, known: bytes | None = None) -> Answer[list[IndexingItem]]:
        """The progress of the documents of a batch."""
        ...

    def document(self, dataset_id: str, document_id: str, *, known: bytes | None = None) -> Answer[DocumentDetail]:
        """The detail of a document."""
        ...

    def datasets(self, page: int) -> DatasetPage:
        """A page of 100 knowledge bases."""
        ...

    def dataset(self, dataset_id: str) -> Dataset:
        """A knowledge base."""
        ...

    def documents(self, dataset_id: str, status: str, *, page: int = 1, limit: int = PAGE) -> DocumentPage:
        """A page of the documents with a display status; "" for all."""
        ...

    def completed_segments(self, dataset_id: str, document_id: str) -> SegmentPage:
        """How many segments of a document are completed."""
        ...

    def close_connections(self) -> None:
        """The burst is over: leave the server's few connections to others."""
        ...
