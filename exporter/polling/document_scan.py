"""Scanning one dataset: its unfinished documents, and how many documents have each display status."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import structlog
from msgspec.structs import replace

from exporter.dify import IGNORES_STATUS_FILTER, PAGE, every_page
from exporter.tracking.model import DISPLAY_STATUSES, FINISHED
from exporter.tracking.parse import parse_listed

if TYPE_CHECKING:
    from exporter.dify import DifyApi, DocumentPage, ListedDocument
    from exporter.tracking import Store
    from exporter.tracking.model import Progress

FULL_SCAN_ROUNDS = 10
"""Finished documents are counted once per so many rounds, and when the last unfinished document has finished."""

MAX_PAGES = 20
"""Pages of unfinished documents that are read per status and round; the rest follows as the first ones finish."""

UNFILTERED_PAGES = 2
"""Pages, newest first, that are read from a server that cannot filter by status."""

_UNFINISHED = ("queuing", "indexing")
_OTHERS = ("error", "available", "disabled", "archived")

_log = structlog.get_logger(__name__)


class ScannedDocuments(NamedTuple):
    """The unfinished documents of a dataset: progress and error text by document id.

    ``paused``: paused documents are included. ``complete``: no unfinished document is left out because there are too
    many pages. ``sent``: the monotonic second at which the scan began.
    """

    listed: dict[str, tuple[Progress, str | None]]
    paused: bool
    complete: bool
    sent: float


class DocumentScan:
    """Scans the datasets of one server, each in one thread at a time."""

    def __init__(self, server: str, client: DifyApi, store: Store) -> None:
        self._server = server
        self._client = client
        self._store = store
        self._rounds: dict[str, int] = {}
        self._ignores_status = False

    def reset(self, dataset_id: str) -> None:
        """Start again with a full scan should the dataset return."""
        self._rounds.pop(dataset_id, None)

    def scan(self, dataset_id: str) -> ScannedDocuments:
        """Read the queuing and indexing documents; now and then the paused ones, too, and count all others."""
        sent = self._store.clock.monotonic()
        if self._ignores_status or IGNORES_STATUS_FILTER.affects(self._client.version):
            return ScannedDocuments(self._parse(self._newest(dataset_id)), paused=True, complete=False, sent=sent)
        documents: dict[str, ListedDocument] = {}
        counts: dict[str, int] = {}
        for status in _UNFINISHED:
            if not self._read_status(dataset_id, status, documents, counts):
                return ScannedDocuments(self._parse(self._newest(dataset_id)), paused=True, complete=False, sent=sent)
        complete = all(counts[status] <= MAX_PAGES * PAGE for status in _UNFINISHED)
        known = self._store.dataset(dataset_id)
        before = dict(zip(DISPLAY_STATUSES, known.documents, strict=False))
        rounds = self._rounds.get(dataset_id, 0)
        all_finished = not documents and any(before.get(status) for status in _UNFINISHED)
        full = rounds % FULL_SCAN_ROUNDS == 0 or all_finished
        self._rounds[dataset_id] = 1 if full else rounds + 1
        if full:
            self._read_status(dataset_id, "paused", documents, counts)
            for status in _OTHERS:
                counts[status] = int(self._client.documents(dataset_id, status, limit=1).total)
        numbers = tuple(counts.get(status, before.get(status)) for status in DISPLAY_STATUSES)
        self._store.put_dataset(replace(self._store.dataset(dataset_id), documents=numbers))
        return ScannedDocuments(self._parse(documents), paused=full, complete=complete, sent=sent)

    def _read_status(
        self, dataset_id: str, status: str, documents: dict[str, ListedDocument], counts: dict[str, int]
    ) -> bool:
        """Read the documents with one display status. False: the server ignores the status.

        Documents move between pages while these are read, so a document may appear twice.
        """
        for page in every_page(partial(self._page, dataset_id, status), at_most=MAX_PAGES):
            if any(document.display_status in _OTHERS for document in page.data):
                if not self._ignores_status:
                    _log.warning(
                        "Dify ignores the status filter of document lists: only the newest documents are searched",
                        server=self._server,
                        version=self._client.version,
                    )
                self._ignores_status = True
                return False
            documents.update((document.id, document) for document in page.data)
            counts[status] = int(page.total)
        return True

    def _newest(self, dataset_id: str) -> dict[str, ListedDocument]:
        """The unfinished ones among the newest documents, for a server that cannot filter."""
        pages = every_page(partial(self._page, dataset_id, ""), at_most=UNFILTERED_PAGES)
        documents = {document.id: document for page in pages for document in page.data}
        return {id_: document for id_, document in documents.items() if document.indexing_status not in FINISHED}

    def _page(self, dataset_id: str, status: str, number: int) -> DocumentPage:
        return self._client.documents(dataset_id, status, page=number)

    def _parse(self, documents: dict[str, ListedDocument]) -> dict[str, tuple[Progress, str | None]]:
        return {
            id_: (parse_listed(document, self._store.unknown), document.error) for id_, document in documents.items()
        }
