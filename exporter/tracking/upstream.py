"""What the tracking asks of a server. ``exporter.dify.Client`` is one; tests and benchmarks have others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from exporter.dify import Answer, DocumentDetail, IndexingItem


class Upstream(Protocol):
    """A Dify server. Raises DifyError, and Stopped when it is to stop. ``known``: the digest of the last answer."""

    version: str

    def indexing_status(self, dataset_id: str, batch: str, *, known: bytes | None = None) -> Answer[list[IndexingItem]]:
        """The progress of the documents of a batch."""
        ...

    def document(self, dataset_id: str, document_id: str, *, known: bytes | None = None) -> Answer[DocumentDetail]:
        """The detail of a document."""
        ...

    def close_connections(self) -> None:
        """The burst is over: leave the server's few connections to others."""
        ...
