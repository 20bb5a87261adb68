"""Reading the document lists of one dataset page by page, also where Dify refuses a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from exporter.dify import PAGE, BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.dify import DifyApi, DocumentPage, ListedDocument

_BEYOND = 100_000
"""A page behind the end of every list: it holds no document that Dify could refuse, but the total."""


class DocumentList(NamedTuple):
    """The documents on the pages that were read, by id, newest first.

    ``total``: of all pages; None: unknown. ``complete``: every page was read. ``refused``: Dify refused a page.
    """

    documents: dict[str, ListedDocument]
    total: int | None
    complete: bool
    refused: bool

    @property
    def exact(self) -> bool:
        """Whether every document was read: none moved to another page meanwhile."""
        return self.complete and self.total is not None and len(self.documents) >= self.total


class ListReader:
    """Reads lists during one scan. ``refusal``: the first page that Dify refused.

    One document with a value that Dify itself does not know makes it refuse (400) every page that contains it.
    """

    def __init__(self, client: DifyApi, dataset_id: str) -> None:
        self._client = client
        self._dataset_id = dataset_id
        self.refusal: BadRequest | None = None

    def read(
        self, status: str, *, at_most: int, enough: Callable[[int, DocumentPage], bool] | None = None
    ) -> DocumentList:
        """Read the documents with a display status, "" for all: at most so many pages.

        ``enough``: whether no further page is needed, by the number of pages read and the last one.
        Documents move between pages while these are read, so a document may appear twice, or not at all.
        """
        found: dict[str, ListedDocument] = {}
        total: int | None = None
        at_end = refused = False
        for number in range(1, at_most + 1):
            try:
                page = self._client.documents(self._dataset_id, status, page=number)
            except BadRequest as error:
                self._note(error, f"page {number} of its documents" + (f" with status {status}" if status else ""))
                refused = True
                total = self._total(status) if total is None else total
                over = total is None
            else:
                found.update((document.id, document) for document in page.data)
                total = int(page.total)
                over = not page.data or (enough is not None and enough(number, page))
                at_end = not page.data
            at_end |= total is not None and number * PAGE >= total
            if over or at_end:
                break
        return DocumentList(found, total, at_end and not refused, refused)

    def count(self, status: str) -> int | None:
        """The number of documents with a display status; None if Dify refuses it."""
        try:
            return int(self._client.documents(self._dataset_id, status, limit=1).total)
        except BadRequest as error:
            self._note(error, f"the newest of its documents with status {status}")
            return self._total(status)

    def _total(self, status: str) -> int | None:
        """The total of a list whose first page was refused."""
        try:
            return int(self._client.documents(self._dataset_id, status, page=_BEYOND).total)
        except BadRequest:
            return None

    def _note(self, error: BadRequest, what: str) -> None:
        if self.refusal is None:
            text = f"{error}: Dify refuses {what}, probably because of one document with that value; they stay as known"
            self.refusal = BadRequest(text, status=error.status, retry_after=error.retry_after, by_dify=error.by_dify)
