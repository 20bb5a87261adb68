"""Discovery: finds the datasets that the API key can see and the unfinished documents in them.

Nothing has to be configured for either.
"""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

import structlog
from msgspec.structs import replace

from exporter.dify import BadRequest, DecodeFailed, NotFound, SchemaMismatch, ServerFailed
from exporter.polling.document_scan import DocumentScan, page_count
from exporter.tracking.outcome import Outcome
from exporter.tracking.targets import Target

if TYPE_CHECKING:
    from exporter.clock import Clock
    from exporter.config import ServerConfig
    from exporter.dify import DatasetAnswer
    from exporter.dify.api import Upstream
    from exporter.tracking.store import Store

LIST_ROUNDS = 5
"""The dataset list, which costs the server 180 ms and more, is fetched once per this many rounds."""

QUIET_ROUNDS = 4
"""A dataset without unfinished documents is scanned at least once per this many rounds."""

GUIDED_ROUNDS = 30
"""Same, if the dataset list reveals new and finished documents: the scans only have to find retries."""

MAX_LIST_PAGES = 100
"""Most pages of the dataset list that are read, however many the server reports."""

NAME_INTERVAL = 3_600.0
"""Seconds between two fetches of the name of a dataset."""

NAME_RETRY = 600.0
"""Seconds until a name that could not be fetched is retried: the plugin daemon is down, or the server is old."""

_log = structlog.get_logger(__name__)


class Discovery:
    """Discovers the datasets of one server and their unfinished documents."""

    def __init__(self, server: ServerConfig, client: Upstream, store: Store, clock: Clock) -> None:
        self._server = server
        self._client = client
        self._store = store
        self._clock = clock
        self._configured = {dataset.id: dataset for dataset in server.datasets}
        self._listed: dict[str, str] = {}
        self._named: dict[str, float] = {}
        self._scan = DocumentScan(server.name, client, store)
        self._marks: dict[str, tuple[object, ...]] = {}
        self._marked: float | None = None

    def adopt(self, before: Discovery) -> None:
        """Take over what another discovery found on the same server, as far as the current patterns still match."""
        if self._server.discover:
            self._listed = {dataset_id: name for dataset_id, name in before._listed.items() if self._chooses(name)}
            self._marks, self._marked = before._marks, before._marked
        self._named = before._named

    def holds(self, dataset_id: str) -> bool:
        """Whether the configuration names the dataset or the dataset list contains it."""
        return dataset_id in self._configured or dataset_id in self._listed

    def discovers(self, dataset_id: str) -> bool:
        """Whether the dataset is scanned for unfinished documents."""
        dataset = self._configured.get(dataset_id)
        if dataset is not None and dataset.discover is not None:
            return dataset.discover
        return self._server.discover and (dataset_id in self._listed or dataset is not None)

    def is_guided(self, dataset_id: str, *, within: float) -> bool:
        """Whether a dataset list no older than ``within`` seconds reveals new and finished documents of the dataset."""
        return (
            self._marked is not None and dataset_id in self._marks and self._clock.monotonic() - self._marked <= within
        )

    def list_datasets(self, _target: Target) -> Outcome:
        """Fetch the dataset list. New and changed datasets are to be polled; missing ones are to be dropped."""
        found: dict[str, DatasetAnswer] = {}
        page, pages = 1, 1
        while page <= pages:
            answer = self._client.datasets(page)
            found.update((dataset.id, dataset) for dataset in answer.data)
            pages = min(page_count(answer.total, len(answer.data)), MAX_LIST_PAGES)
            page += 1
        now = self._clock.monotonic()
        chosen = {dataset.id: dataset.name or "" for dataset in found.values() if self._chooses(dataset.name or "")}
        for dataset in found.values():
            if dataset.id in chosen or dataset.id in self._configured:
                self._name(dataset.id, dataset)
                self._named[dataset.id] = now + NAME_INTERVAL
        marks = {dataset.id: mark for dataset in found.values() if (mark := _mark(dataset)) is not None}
        stirred = [dataset_id for dataset_id, mark in marks.items() if self._marks.get(dataset_id, mark) != mark]
        self._marks, self._marked = marks, now
        vanished = [dataset_id for dataset_id in self._listed if dataset_id not in chosen]
        appeared = [dataset_id for dataset_id in chosen if dataset_id not in self._listed]
        self._listed = chosen
        for dataset_id in vanished:
            if dataset_id not in self._configured:
                self._uncount(dataset_id)
                self._scan.forget(dataset_id)
                self._named.pop(dataset_id, None)
        if appeared or vanished:
            counted = {"found": len(chosen), "new": len(appeared), "gone": len(vanished)}
            _log.info("list of knowledge bases changed", server=self._server.name, **counted)
        return Outcome(
            moved=bool(appeared or vanished),
            settled=True,
            wanted=tuple(
                Target("dataset", dataset_id, dataset_id)
                for dataset_id in (*appeared, *stirred)
                if self.discovers(dataset_id)
            ),
            dropped=tuple(Target("dataset", dataset_id, dataset_id) for dataset_id in vanished),
        )

    def survey(self, target: Target) -> Outcome:
        """Fetch the name of a dataset when it is due. With discovery, scan for unfinished documents."""
        dataset_id = target.dataset_id
        discovers = self.discovers(dataset_id)
        if not discovers:
            self._uncount(dataset_id)
        if self._clock.monotonic() >= self._named.get(dataset_id, 0.0) or not discovers:
            self._ask_name(dataset_id, needed=not discovers)
        if not discovers:
            return Outcome(settled=True)
        seen = self._scan.take(dataset_id)
        return self._store.apply_listed(dataset_id, seen.listed, paused=seen.paused, asked=seen.asked)

    def _chooses(self, name: str) -> bool:
        """Whether the configured patterns select a dataset of that name."""

        def matches(patterns: tuple[str, ...]) -> bool:
            return any(fnmatch.fnmatchcase(name.casefold(), pattern.casefold()) for pattern in patterns)

        if self._server.discover_include and not matches(self._server.discover_include):
            return False
        return not matches(self._server.discover_exclude)

    def _ask_name(self, dataset_id: str, *, needed: bool) -> None:
        """Fetch a dataset. Discovery works without its name: only this request depends on the plugin daemon."""
        try:
            dataset = self._client.dataset(dataset_id)
        except (BadRequest, ServerFailed, DecodeFailed, SchemaMismatch, NotFound) as error:
            if needed or (isinstance(error, NotFound) and error.gone):
                raise
            self._named[dataset_id] = self._clock.monotonic() + NAME_RETRY
            _log.debug(
                "name of knowledge base could not be fetched",
                server=self._server.name,
                dataset_id=dataset_id,
                reason=error.reason,
            )
        else:
            self._name(dataset_id, dataset)
            self._named[dataset_id] = self._clock.monotonic() + NAME_INTERVAL

    def _uncount(self, dataset_id: str) -> None:
        """Clear the document counts of a dataset that is no longer scanned: they would never change again."""
        known = self._store.dataset(dataset_id)
        if known.documents:
            self._store.set_dataset(replace(known, documents=()))

    def _name(self, dataset_id: str, dataset: DatasetAnswer) -> None:
        """Store the attributes under the requested id: an object under any other id would never be removed."""
        known = self._store.dataset(dataset_id)
        self._store.set_dataset(
            replace(
                known,
                name=dataset.name or "",
                indexing_technique=dataset.indexing_technique or "",
                embedding_model=dataset.embedding_model or "",
            )
        )


def _mark(dataset: DatasetAnswer) -> tuple[object, ...] | None:
    """Values that change when documents are added, deleted or finished. None: the server does not report them."""
    if dataset.total_documents is None or dataset.total_available_documents is None:
        return None
    return dataset.document_count, dataset.total_documents, dataset.total_available_documents
