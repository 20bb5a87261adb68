"""Document scan: lists the unfinished documents of a dataset and counts its documents by display status."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import structlog
from msgspec.structs import replace

from exporter.dify import PAGE
from exporter.tracking.model import DISPLAY_STATUSES
from exporter.tracking.parse import FINISHED, read_listed

if TYPE_CHECKING:
    from exporter.dify import ListedDocument
    from exporter.dify.api import Upstream
    from exporter.tracking.model import Progress
    from exporter.tracking.store import Store

CENSUS_ROUNDS = 10
"""Paused and finished documents are counted in every tenth scan, and when the last unfinished one has finished."""

MAX_PAGES = 20
"""Pages read per status and scan. The documents beyond them are read as the first ones finish."""

OLD_PAGES = 2
"""Pages, newest documents first, read from a server that cannot filter by status."""

FILTER_VERSION = (1, 10, 1)
"""First Dify version that filters the document list by ``status``; older ones ignore the parameter."""

_MOVING = ("queuing", "indexing")
_RESTING = ("error", "available", "disabled", "archived")

_log = structlog.get_logger(__name__)


class ScannedDocuments(NamedTuple):
    """The documents that a scan listed: progress and error text by document id.

    ``paused``: paused documents are included. ``asked``: monotonic second before the first request.
    """

    listed: dict[str, tuple[Progress, str | None]]
    paused: bool
    asked: float


class DocumentScan:
    """Scans the datasets of one server. One thread at a time per dataset."""

    def __init__(self, server: str, client: Upstream, store: Store) -> None:
        self._server = server
        self._client = client
        self._store = store
        self._rounds: dict[str, int] = {}
        self._ignores_status = False

    def forget(self, dataset_id: str) -> None:
        """Discard the state of a dataset: if it returns, its first scan counts everything."""
        self._rounds.pop(dataset_id, None)

    def take(self, dataset_id: str) -> ScannedDocuments:
        """List the queuing and indexing documents; in every tenth scan also the paused ones, and count all others."""
        asked = self._store.clock.monotonic()
        if not self._filters():
            return ScannedDocuments(self._read(self._newest(dataset_id)), paused=True, asked=asked)
        documents: dict[str, ListedDocument] = {}
        counts: dict[str, int] = {}
        for state in _MOVING:
            if not self._page_through(dataset_id, state, documents, counts):
                return ScannedDocuments(self._read(self._newest(dataset_id)), paused=True, asked=asked)
        known = self._store.dataset(dataset_id)
        before = dict(zip(DISPLAY_STATUSES, known.documents, strict=False))
        rounds = self._rounds.get(dataset_id, 0)
        came_to_rest = not documents and any(before.get(state) for state in _MOVING)
        whole = rounds % CENSUS_ROUNDS == 0 or came_to_rest
        self._rounds[dataset_id] = 1 if whole else rounds + 1
        if whole:
            self._page_through(dataset_id, "paused", documents, counts)
            for state in _RESTING:
                counts[state] = int(self._client.documents(dataset_id, state, limit=1).total)
        states = tuple(counts.get(state, before.get(state)) for state in DISPLAY_STATUSES)
        self._store.set_dataset(replace(self._store.dataset(dataset_id), documents=states))
        return ScannedDocuments(self._read(documents), paused=whole, asked=asked)

    def _page_through(
        self, dataset_id: str, state: str, documents: dict[str, ListedDocument], counts: dict[str, int]
    ) -> bool:
        """Read all documents in one display status. Returns False if the server ignores the status.

        Pagination relies on ``total``: ``has_more`` is true on a page that is exactly full. Documents move between
        pages during the scan, so one may appear twice.
        """
        page, pages = 1, 1
        while page <= min(pages, MAX_PAGES):
            answer = self._client.documents(dataset_id, state, page=page)
            if any(document.display_status in _RESTING for document in answer.data):
                if not self._ignores_status:
                    _log.warning(
                        "Dify ignores the status filter of document lists: only the newest documents are scanned",
                        server=self._server,
                        version=self._client.version,
                    )
                self._ignores_status = True
                return False
            documents.update((document.id, document) for document in answer.data)
            counts[state] = int(answer.total)
            pages = page_count(answer.total, len(answer.data))
            page += 1
        return True

    def _newest(self, dataset_id: str) -> dict[str, ListedDocument]:
        """The unfinished documents among the newest ones, for a server that cannot filter."""
        documents: dict[str, ListedDocument] = {}
        for page in range(1, OLD_PAGES + 1):
            answer = self._client.documents(dataset_id, "", page=page)
            documents.update((document.id, document) for document in answer.data)
            if page >= page_count(answer.total, len(answer.data)):
                break
        return {document.id: document for document in documents.values() if document.indexing_status not in FINISHED}

    def _read(self, documents: dict[str, ListedDocument]) -> dict[str, tuple[Progress, str | None]]:
        return {
            document.id: (read_listed(document, self._store.unknown), document.error) for document in documents.values()
        }

    def _filters(self) -> bool:
        """Whether the server filters document lists by status, as far as known."""
        if self._ignores_status:
            return False
        numbers = [int(part) for part in self._client.version.split(".")[:3] if part.isdecimal()]
        return len(numbers) < len(FILTER_VERSION) or tuple(numbers) >= FILTER_VERSION


def page_count(total: float | None, items: int) -> int:
    """The number of pages. An empty page is the last one, whatever ``total`` says."""
    if total is None or not items:
        return 1
    return -(-int(total) // PAGE)
