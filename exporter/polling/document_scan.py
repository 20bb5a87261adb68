"""Scanning one dataset: its unfinished documents, those that ended meanwhile, and how many have each display status.

A *full* scan counts all documents: these numbers always come from one scan. It also finds what ended since the last
one. A small dataset is read as one page; otherwise there is a list for each display status.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import structlog
from msgspec.structs import replace

from exporter.dify import IGNORES_STATUS_FILTER
from exporter.polling.document_lists import DocumentList, ListReader
from exporter.tracking import seen_lists
from exporter.tracking.merging import UNFINISHED
from exporter.tracking.model import DISPLAY_STATUSES
from exporter.tracking.parse import parse_listed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from exporter.dify import BadRequest, DifyApi, DocumentPage, ListedDocument
    from exporter.tracking import Store
    from exporter.tracking.model import Progress, SeenLists

FULL_SCAN_ROUNDS = 5
"""The last full scan is at most that many rounds old while something is unfinished or has just ended."""

SETTLED_FULL_SCAN_ROUNDS = 15
"""The same while nothing is."""

MAX_PAGES = 20
"""Pages of unfinished documents that are read per status and round; the rest follows as the first ones finish."""

MAX_PAGES_BACK = 100
"""Pages, newest first, that are read to find what ended since the last full scan."""

UNFILTERED_PAGES = 2
"""Pages, newest first, that are read from a server that cannot filter by status."""

_UNFINISHED = ("queuing", "indexing")
_COUNTED = ("available", "disabled", "archived")
_FEW = 3
"""From that many documents on, a page proves that the server ignores the status."""

_log = structlog.get_logger(__name__)


class ScannedDocuments(NamedTuple):
    """The result of a scan: progress and error text by document id, and the arguments of ``Merger.apply_listed``.

    ``sent``: the monotonic second at which the scan began. ``refusal``: a page that Dify refused.
    """

    listed: dict[str, tuple[Progress, str | None]]
    new: frozenset[str]
    seen: SeenLists | None
    sections: frozenset[str]
    beyond: bool
    untraced: frozenset[str] | None
    sent: float
    refusal: BadRequest | None


class DocumentScan:
    """Scans the datasets of one server, each in one thread at a time."""

    def __init__(self, server: str, client: DifyApi, store: Store, interval: float) -> None:
        """``interval``: seconds between two rounds."""
        self._server = server
        self._client = client
        self._store = store
        self._interval = interval
        self._full_at: dict[str, float] = {}
        self._doubts: set[str] = set()
        self._ignores_status = False

    def adopt(self, before: DocumentScan) -> None:
        """Continue from the scans of another configuration."""
        self._full_at, self._doubts = before._full_at, before._doubts
        self._ignores_status = before._ignores_status

    def require_full(self, dataset_id: str) -> None:
        """Make the next scan a full one: something has changed, or the dataset may return."""
        self._full_at.pop(dataset_id, None)

    def scan(self, dataset_id: str) -> ScannedDocuments:
        """Read the queuing and indexing documents; if their numbers have changed, or it is time, all others, too."""
        sent, now = self._store.clock.monotonic(), self._store.clock.time()
        reader = ListReader(self._client, dataset_id)
        lists: dict[str, DocumentList] = {}
        doubted = dataset_id in self._doubts
        due = self._is_full_due(dataset_id)
        filtered: bool | None = None
        if not due and not self._cannot_filter():
            filtered = self._read_unfinished(dataset_id, reader, lists, doubted=doubted)
            if filtered and not self._has_changed(dataset_id, lists):
                return self._result(dataset_id, reader, lists, sent=sent)
        sought = self._sought(dataset_id)
        newest = self._read_newest(dataset_id, reader, sought)
        failed: DocumentList | None = None
        counts: dict[str, int | None] | None = None
        if newest.exact:
            counts = _count(newest.documents.values())
        else:
            if filtered is None and (due or not self._ignores_status) and not self._has_old_version():
                knew = self._ignores_status
                filtered = self._read_unfinished(dataset_id, reader, lists, doubted=doubted)
                if self._ignores_status and not knew:
                    newest = self._read_newest(dataset_id, reader, sought)
            if filtered:
                counts, failed = self._read_sections(dataset_id, reader, lists)
            elif self._cannot_filter():
                counts = {}
        if counts is not None:
            numbers = tuple(counts.get(status) for status in DISPLAY_STATUSES) if counts else ()
            self._store.put_dataset(replace(self._store.dataset(dataset_id), documents=numbers))
        if counts or due:
            self._full_at[dataset_id] = sent
        lists[""] = newest
        return self._result(dataset_id, reader, lists, sent=sent, newest=newest, failed=failed, now=now, sought=sought)

    def _sought(self, dataset_id: str) -> set[str]:
        """The known documents to look for among the newest ones: no list of unfinished documents contains them."""
        if self._cannot_filter():
            return self._store.unfinished(dataset_id)
        return self._store.unlisted(dataset_id)

    def _is_full_due(self, dataset_id: str) -> bool:
        """Whether the last full scan would be too old one round and a half after the next one."""
        at = self._full_at.get(dataset_id)
        if at is None:
            return True
        busy = self._store.has_unfinished(dataset_id) or self._store.has_recent_ends(dataset_id)
        # A settled dataset is scanned at least every four rounds or, guided by the list of datasets, every fifteen.
        rounds = FULL_SCAN_ROUNDS - 1.5 if busy else SETTLED_FULL_SCAN_ROUNDS - 4.5
        return self._store.clock.monotonic() - at >= rounds * self._interval

    def _has_changed(self, dataset_id: str, lists: Mapping[str, DocumentList]) -> bool:
        """Whether the numbers of unfinished documents differ from those of the last full scan."""
        known = dict(zip(DISPLAY_STATUSES, self._store.dataset(dataset_id).documents, strict=False))
        return any(known.get(status) != lists[status].total for status in _UNFINISHED)

    def _has_old_version(self) -> bool:
        return IGNORES_STATUS_FILTER.affects(self._client.version)

    def _cannot_filter(self) -> bool:
        return self._ignores_status or self._has_old_version()

    def _read_unfinished(
        self, dataset_id: str, reader: ListReader, lists: dict[str, DocumentList], *, doubted: bool
    ) -> bool:
        """Read the lists of unfinished documents into ``lists``. False: the server ignores the status, or may do so.

        A list that mostly holds documents with other statuses proves it. One or two such documents may have changed
        meanwhile: they prove it if the scan before found such ones, too (``doubted``).
        """
        for status in _UNFINISHED:
            lists[status] = found = reader.read(status, at_most=MAX_PAGES, enough=partial(_is_unfiltered_page, status))
            if not _is_unfiltered(status, found.documents.values()):
                continue
            ignores = len(found.documents) >= _FEW or doubted or self._ignores_status
            if ignores and not self._ignores_status:
                _log.warning(
                    "Dify ignores the status filter of document lists: only the newest documents are searched",
                    server=self._server,
                    version=self._client.version,
                )
            self._ignores_status = ignores
            self._doubts.add(dataset_id)
            lists.clear()
            return False
        self._doubts.discard(dataset_id)
        self._ignores_status = False
        return True

    def _read_newest(self, dataset_id: str, reader: ListReader, sought: set[str]) -> DocumentList:
        """Read the documents, newest first, down to those of the last full scan, and on for the ``sought`` ones."""
        seen = self._store.seen_lists(dataset_id)
        since = seen_lists.read_back_to(seen) if seen else None
        at_least = UNFILTERED_PAGES if self._cannot_filter() else 1
        missing = set(sought)

        def enough(number: int, page: DocumentPage) -> bool:
            nonlocal since
            missing.difference_update(document.id for document in page.data)
            times = [document.created_at for document in page.data if document.created_at is not None]
            if since is None:
                since = max(times, default=0) - seen_lists.RECENT
            reached = not times or min(times) <= since
            return reached and number >= at_least and (not missing or number >= MAX_PAGES)

        return reader.read("", at_most=MAX_PAGES_BACK, enough=enough)

    def _read_sections(
        self, dataset_id: str, reader: ListReader, lists: dict[str, DocumentList]
    ) -> tuple[dict[str, int | None], DocumentList]:
        """Read the paused and the failed documents, and count the others. Returns the counts and the failed ones."""
        lists["paused"] = reader.read("paused", at_most=MAX_PAGES)
        seen = self._store.seen_lists(dataset_id)
        known = seen.failed if seen else None

        def enough(_number: int, page: DocumentPage) -> bool:
            return known is not None and page.total == len(known) and all(each.id in known for each in page.data)

        lists["error"] = failed = reader.read("error", at_most=MAX_PAGES_BACK, enough=enough)
        counts = {status: found.total for status, found in lists.items()}
        return counts | {status: reader.count(status) for status in _COUNTED}, failed

    def _result(
        self,
        dataset_id: str,
        reader: ListReader,
        lists: Mapping[str, DocumentList],
        *,
        sent: float,
        newest: DocumentList | None = None,
        failed: DocumentList | None = None,
        now: float = 0.0,
        sought: Iterable[str] = (),
    ) -> ScannedDocuments:
        """What the lists say together. A document in several of them has the status that was read last."""
        documents = {id_: document for found in lists.values() for id_, document in found.documents.items()}
        before = self._store.seen_lists(dataset_id)
        sections = _sections(lists)
        seen = None
        if newest is not None:
            errors = newest if newest.exact else failed
            seen = seen_lists.updated(
                before,
                newest.documents,
                complete=not newest.refused,
                failed=None if errors is None else [id_ for id_, each in errors.documents.items() if _has_failed(each)],
                all_failed=errors is not None and errors.exact,
                key=(self._server, dataset_id),
                now=now,
            )
        return ScannedDocuments(
            listed={
                id_: (parse_listed(document, self._store.unknown), document.error)
                for id_, document in documents.items()
            },
            new=seen_lists.new_ends(before, documents) if newest is not None else frozenset(),
            seen=seen,
            sections=sections,
            beyond=not sections and not any(found.refused for found in lists.values()),
            untraced=None if newest is not None and newest.exact else frozenset(sought) - documents.keys(),
            sent=sent,
            refusal=reader.refusal,
        )


def _sections(lists: Mapping[str, DocumentList]) -> frozenset[str]:
    """The indexing statuses of unfinished documents of which every one is on the pages that were read."""
    if "" in lists and lists[""].exact:
        return UNFINISHED
    complete = {status for status, found in lists.items() if status and found.complete}
    if not complete.issuperset(_UNFINISHED):
        return frozenset()
    return UNFINISHED if "paused" in complete else UNFINISHED - {"paused"}


def _count(documents: Iterable[ListedDocument]) -> dict[str, int | None]:
    """The number of documents by display status; ``unknown`` only if there are any."""
    counts: dict[str, int | None] = dict.fromkeys((*_UNFINISHED, "paused", "error", *_COUNTED), 0)
    for document in documents:
        status = document.display_status if document.display_status in counts else "unknown"
        counts[status] = (counts.get(status) or 0) + 1
    return counts


def _is_unfiltered(status: str, documents: Collection[ListedDocument]) -> bool:
    """Whether most documents do not belong into the list for ``status``. Unexpected display statuses may belong."""
    others = [each for each in documents if each.display_status != status and each.display_status in DISPLAY_STATUSES]
    return 2 * len(others) > len(documents)


def _is_unfiltered_page(status: str, _number: int, page: DocumentPage) -> bool:
    return _is_unfiltered(status, page.data)


def _has_failed(document: ListedDocument) -> bool:
    return document.indexing_status == "error"
