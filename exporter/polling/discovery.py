"""Discovery: the datasets that the key sees, and the unfinished documents in them."""

from __future__ import annotations

import fnmatch
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import structlog
from msgspec.structs import replace

from exporter.dify import BadRequest, DecodeFailed, NotFound, SchemaMismatch, ServerFailed, every_page
from exporter.polling.document_scan import DocumentScan
from exporter.tracking.attempt_start import WIDEST_ZONE
from exporter.tracking.events import Outcome, Wanted
from exporter.tracking.model import SeenLists

if TYPE_CHECKING:
    from collections.abc import Collection

    from exporter.clock import Clock
    from exporter.config import ServerConfig
    from exporter.dify import DatasetAnswer, DifyApi
    from exporter.tracking import Merger, Store

LIST_ROUNDS = 5
"""The list of datasets, which costs the server 180 ms and more, is fetched once per so many rounds."""

SETTLED_ROUNDS = 4
"""A dataset without unfinished documents is scanned at least once per so many rounds."""

GUIDED_ROUNDS = 15
"""The same where the list of datasets shows new and finished documents: for retries, which it does not show."""

MAX_LIST_PAGES = 100
"""Pages of the list that are read, however many the server reports."""

NAME_INTERVAL = 3_600.0
"""Seconds between two requests for the name of a dataset."""

NAME_RETRY = 600.0
"""Seconds until the next request for a name that was not available: the plugin daemon is down, or Dify is old."""

_log = structlog.get_logger(__name__)


class Selection(NamedTuple):
    """How many datasets a list contained, and how many of them the patterns of the configuration select."""

    listed: int | None = None
    selected: int = 0

    @property
    def problem(self) -> str:
        """Why discovery finds nothing; "" if it does, or has not read the list."""
        if self.listed == 0:
            return "the list of knowledge bases is empty: does the API key belong to the right workspace?"
        if self.listed and not self.selected:
            return f"discover_include and discover_exclude select none of the {self.listed} knowledge bases"
        return ""


class _DatasetList(NamedTuple):
    """A list of datasets: when it was read (Unix seconds), their ids, and the latest ``created_at`` among them."""

    began: float
    ids: frozenset[str]
    newest: float


class Discovery:
    """The discovery of one server."""

    def __init__(
        self, server: ServerConfig, client: DifyApi, store: Store, merger: Merger, *, clock: Clock, interval: float
    ) -> None:
        """``interval``: seconds between two rounds."""
        self._server = server
        self._client = client
        self._store = store
        self._merger = merger
        self._clock = clock
        self._configured = {dataset.id: dataset for dataset in server.datasets}
        self._listed: dict[str, str] = {}
        self._absent: set[str] = set()
        self._name_due: dict[str, float] = {}
        self._last_list: _DatasetList | None = None
        self._scan = DocumentScan(server.name, client, store, interval)
        self._selection = Selection()
        self._totals: dict[str, tuple[object, ...]] = {}
        self._totals_at: float | None = None

    def adopt(self, before: Discovery) -> None:
        """Continue from what the discovery of another configuration has found, as far as the patterns still match."""
        if self._server.discover:
            self._listed = {dataset_id: name for dataset_id, name in before._listed.items() if self._chooses(name)}
            self._totals, self._totals_at = before._totals, before._totals_at
            self._last_list = before._last_list
        self._name_due = before._name_due
        self._scan.adopt(before._scan)

    def holds(self, dataset_id: str) -> bool:
        """Whether the configuration names the dataset, or the list of datasets contains it."""
        return dataset_id in self._configured or dataset_id in self._listed

    def discovers(self, dataset_id: str) -> bool:
        """Whether discovery looks for unfinished documents in the dataset."""
        dataset = self._configured.get(dataset_id)
        if dataset is not None and dataset.discover is not None:
            return dataset.discover
        return self._server.discover and (dataset_id in self._listed or dataset is not None)

    def is_guided(self, dataset_id: str, *, within: float) -> bool:
        """Whether the list of datasets, read within the last ``within`` seconds, shows when the dataset changes.

        It does not show that a document was deleted and uploaded again, which follows a failure.
        """
        return (
            self._totals_at is not None
            and dataset_id in self._totals
            and self._clock.monotonic() - self._totals_at <= within
            and not self._store.has_recent_ends(dataset_id)
        )

    def list_datasets(self) -> Outcome:
        """Fetch the list of datasets. New ones, and those in which something changed, are to be scanned."""
        began = self._clock.time()
        fetch_page = partial(self._client.datasets, private=self._server.discover_private)
        pages = every_page(fetch_page, at_most=MAX_LIST_PAGES)
        found = {dataset.id: dataset for page in pages for dataset in page.data}
        now = self._clock.monotonic()
        names = {dataset.id: self._name(dataset) for dataset in found.values()}
        chosen = {dataset_id: name for dataset_id, name in names.items() if self._chooses(name)}
        # Pages shift while they are read: a dataset is gone once two lists in a row lack it.
        absent = {dataset_id for dataset_id in self._listed if dataset_id not in found}
        chosen |= {dataset_id: self._listed[dataset_id] for dataset_id in absent - self._absent}
        self._absent = absent
        for dataset in found.values():
            if dataset.id in chosen or dataset.id in self._configured:
                self._store_name(dataset.id, dataset)
                self._name_due[dataset.id] = now + NAME_INTERVAL
        totals = {dataset.id: known for dataset in found.values() if (known := _totals(dataset)) is not None}
        changed = [dataset_id for dataset_id, new in totals.items() if self._totals.get(dataset_id, new) != new]
        self._totals, self._totals_at = totals, now
        vanished = tuple(dataset_id for dataset_id in self._listed if dataset_id not in chosen)
        appeared = tuple(dataset_id for dataset_id in chosen if dataset_id not in self._listed)
        self._listed = chosen
        self._note_created(found.values(), began)
        for dataset_id in changed:
            self._scan.require_full(dataset_id)
        for dataset_id in vanished:
            if dataset_id not in self._configured:
                self._clear_document_counts(dataset_id)
                self._scan.require_full(dataset_id)
                self._name_due.pop(dataset_id, None)
        self._report(Selection(len(found), len(chosen)))
        if appeared or vanished:
            counts = {"found": len(chosen), "new": len(appeared), "gone": len(vanished)}
            _log.info("list of knowledge bases changed", server=self._server.name, **counts)
        return Outcome(
            moved=bool(appeared or vanished),
            settled=True,
            wanted=Wanted(datasets=tuple(found for found in (*appeared, *changed) if self.discovers(found))),
            vanished=vanished,
        )

    def scan(self, dataset_id: str) -> Outcome:
        """Fetch the name of a dataset when it is time; with discovery, find its unfinished documents."""
        discovers = self.discovers(dataset_id)
        if not discovers:
            self._clear_document_counts(dataset_id)
        if self._clock.monotonic() >= self._name_due.get(dataset_id, 0.0) or not discovers:
            self._fetch_name(dataset_id, required=not discovers)
        if not discovers:
            return Outcome(settled=True)
        scanned = self._scan.scan(dataset_id)
        outcome = self._merger.apply_listed(
            dataset_id,
            scanned.listed,
            new=scanned.new,
            seen=scanned.seen,
            sections=scanned.sections,
            beyond=scanned.beyond,
            untraced=scanned.untraced,
            sent=scanned.sent,
        )
        return outcome._replace(refusal=scanned.refusal)

    def _note_created(self, found: Collection[DatasetAnswer], began: float) -> None:
        """Everything in a dataset that was created since the last list is new. ``began``: Unix seconds of this list.

        By the API's own times, it is newer than all others; while the clock offset is unknown, the exporter's clock
        only excludes what cannot be new in any time zone.
        """
        last = self._last_list
        times = [dataset.created_at for dataset in found if dataset.created_at is not None]
        self._last_list = _DatasetList(began, frozenset(dataset.id for dataset in found), max(times, default=0.0))
        if last is None:
            return
        offset = self._store.offset.seconds
        earliest = last.began - 1 + (-WIDEST_ZONE if offset is None else offset)
        for dataset in found:
            created = dataset.created_at
            if dataset.id not in last.ids and created is not None and created >= max(last.newest, earliest):
                self._store.put_lists(SeenLists(self._server.name, dataset.id, last.began, failed=frozenset()))

    @property
    def selection(self) -> Selection:
        """What the last list of datasets contained."""
        return self._selection

    def _report(self, selection: Selection) -> None:
        """Log when there is nothing to discover: it is more often a mistake than a fact."""
        before, self._selection = self._selection, selection
        if selection.problem and selection.problem != before.problem:
            _log.warning("nothing to discover", server=self._server.name, reason=selection.problem)

    def _chooses(self, name: str) -> bool:
        """Whether the patterns of the configuration include a dataset of that name."""

        def matches(patterns: tuple[str, ...]) -> bool:
            return any(fnmatch.fnmatchcase(name.casefold(), pattern.casefold()) for pattern in patterns)

        if self._server.discover_include and not matches(self._server.discover_include):
            return False
        return not matches(self._server.discover_exclude)

    def _name(self, dataset: DatasetAnswer) -> str:
        """The name in a list. Where it is missing, the name before: a dataset does not vanish with its name."""
        return self._listed.get(dataset.id, "") if dataset.name is None else dataset.name

    def _fetch_name(self, dataset_id: str, *, required: bool) -> None:
        """Fetch a dataset. Discovery continues without its name: only this request needs the plugin daemon."""
        try:
            dataset = self._client.dataset(dataset_id)
        except (BadRequest, ServerFailed, DecodeFailed, SchemaMismatch, NotFound) as error:
            if required or (isinstance(error, NotFound) and error.gone):
                raise
            self._name_due[dataset_id] = self._clock.monotonic() + NAME_RETRY
            _log.debug(
                "name of knowledge base could not be fetched",
                server=self._server.name,
                dataset_id=dataset_id,
                reason=error.reason,
            )
        else:
            self._store_name(dataset_id, dataset)
            self._name_due[dataset_id] = self._clock.monotonic() + NAME_INTERVAL

    def _clear_document_counts(self, dataset_id: str) -> None:
        """Remove the document counts of a dataset that is no longer scanned: they would never change again."""
        known = self._store.dataset(dataset_id)
        if known.documents:
            self._store.put_dataset(replace(known, documents=()))

    def _store_name(self, dataset_id: str, dataset: DatasetAnswer) -> None:
        """Store the name under the requested id: an object under another id in the answer would never be removed."""
        known = self._store.dataset(dataset_id)
        self._store.put_dataset(
            replace(
                known,
                name=dataset.name or "",
                indexing_technique=dataset.indexing_technique or "",
                embedding_model=dataset.embedding_model or "",
            )
        )


def _totals(dataset: DatasetAnswer) -> tuple[object, ...] | None:
    """The totals that change when documents are added, deleted or finished; None: the server does not report them.

    ``word_count`` differs where a deleted document was replaced by another one.
    """
    if dataset.total_documents is None or dataset.total_available_documents is None:
        return None
    return dataset.document_count, dataset.total_documents, dataset.total_available_documents, dataset.word_count
