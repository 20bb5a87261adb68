"""The requests that the exporter sends to a server. ``exporter.dify.Client`` implements them; so do fakes in tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from msgspec import Struct

from exporter.dify.answers import DatasetAnswer, DatasetPage, DocumentDetail, DocumentPage, IndexingItem, SegmentPage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE = 100
"""Items per page. For a larger ``limit``, the server caps the page but computes ``has_more`` from the given limit."""

T = TypeVar("T")
_Page = TypeVar("_Page", bound=DatasetPage | DocumentPage)


class Answer(Struct, Generic[T], frozen=True):
    """An answer. ``value`` is None if the digest of the body equals ``known``: the body is byte-identical."""

    value: T | None
    digest: bytes


class DifyApi(Protocol):
    """A Dify server. Raises DifyError, and Stopped when it is to stop. ``known``: the digest of the last answer."""

    version: str

    def indexing_status(self, dataset_id: str, batch: str, *, known: bytes | None = None) -> Answer[list[IndexingItem]]:
        """The progress of the documents of a batch."""
        ...

    def document(self, dataset_id: str, document_id: str, *, known: bytes | None = None) -> Answer[DocumentDetail]:
        """The detail of a document."""
        ...

    def datasets(self, page: int, *, private: bool = True) -> DatasetPage:
        """A page of 100 knowledge bases; ``private``: with those that only some members see."""
        ...

    def dataset(self, dataset_id: str) -> DatasetAnswer:
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


def every_page(fetch: Callable[[int], _Page], *, at_most: int) -> Iterator[_Page]:
    """The pages that ``fetch`` returns by number, at most ``at_most`` of them, whatever the server claims.

    ``total`` decides how many there are: ``has_more`` is true on a page that is exactly full. An empty page ends the
    list; so does one that is not full if the total is unknown.
    """
    for number in range(1, at_most + 1):
        page = fetch(number)
        yield page
        size = len(page.data)
        if not size or (size < PAGE if page.total is None else number * PAGE >= page.total):
            return
