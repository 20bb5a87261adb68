"""What nobody named: the knowledge bases that the key sees, and the unfinished documents in them."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

import structlog
from msgspec.structs import replace

from exporter.dify import BadRequest, DecodeFailed, NotFound, SchemaMismatch, ServerFailed
from exporter.tracking.census import Census, page_count
from exporter.tracking.outcome import Outcome
from exporter.tracking.targets import Target

if TYPE_CHECKING:
    from exporter.clock import Clock
    from exporter.config import Server
    from exporter.dify import Dataset
    from exporter.tracking.store import Store
    from exporter.tracking.upstream import Upstream

LIST_ROUNDS = 5
"""The list of knowledge bases, which costs the server 180 ms and more, is asked for every so many rounds."""

QUIET_ROUNDS = 4
"""A knowledge base in which nothing is unfinished is looked at every so many rounds at the latest."""

GUIDED_ROUNDS = 30
"""The same where the list of knowledge bases tells of new and of finished documents: for retries, which it does not."""

MAX_LIST_PAGES = 100
"""Pages of the list that are read, whatever the server says how many there are."""

NAME_INTERVAL = 3_600.0
"""Seconds between two looks at the name of a knowledge base."""

NAME_RETRY = 600.0
"""Seconds until a name is asked for again that could not be had: the plugin daemon is down, or the server is old."""

_log = structlog.get_logger(__name__)


class Discovery:
    """Finds on one server."""

    def __init__(self, server: Server, client: Upstream, store: Store, clock: Clock) -> None:
        self._server = server
        self._client = client
        self._store = store
        self._clock = clock
        self._configured = {dataset.id: dataset for dataset in server.datasets}
        self._listed: dict[str, str] = {}
        self._named: dict[str, float] = {}
        self._census = Census(server.name, client, store)
        self._marks: dict[str, tuple[object, ...]] = {}
        self._marked: float | None = None

    def adopt(self, before: Discovery) -> None:
        """Go on from what another discovery on the same server has found, as far as the patterns still choose it."""
        if self._server.discover:
            self._listed = {dataset_id: name for dataset_id, name in before._listed.items() if self._chooses(name)}
            self._marks, self._marked = before._marks, before._marked
        self._named = before._named

    def holds(self, dataset_id: str) -> bool:
        """Whether the config names the knowledge base, or the list of them has brought it."""
        return dataset_id in self._configured or dataset_id in self._listed

    def discovers(self, dataset_id: str) -> bool:
        """Whether unfinished documents of the knowledge base are looked for."""
        dataset = self._configured.get(dataset_id)
        if dataset is not None and dataset.discover is not None:
            return dataset.discover
        return self._server.discover and (dataset_id in self._listed or dataset is not None)

    def is_guided(self, dataset_id: str, *, within: float) -> bool:
        """Whether the list of knowledge bases, read in the last so many seconds, tells when something happens there."""
        return (
            self._marked is not None and dataset_id in self._marks and self._clock.monotonic() - self._marked <= within
        )

    def list_datasets(self, _target: Target) -> Outcome:
        """Ask for every knowledge base; those that are new are to be surveyed, those that vanished to be dropped."""
        found: dict[str, Dataset] = {}
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
                self._census.forget(dataset_id)
                self._named.pop(dataset_id, None)
        if appeared or vanished:
            counted = {"found": len(chosen), "new": len(appeared), "gone": len(vanished)}
            _log.info("knowledge bases listed", server=self._server.name, **counted)
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
        """Learn the name of a knowledge base when it is time; with discovery, find its unfinished documents."""
        dataset_id = target.dataset_id
        discovers = self.discovers(dataset_id)
        if not discovers:
            self._uncount(dataset_id)
        if self._clock.monotonic() >= self._named.get(dataset_id, 0.0) or not discovers:
            self._ask_name(dataset_id, needed=not discovers)
        if not discovers:
            return Outcome(settled=True)
        seen = self._census.take(dataset_id)
        return self._store.apply_listed(dataset_id, seen.listed, paused=seen.paused, asked=seen.asked)

    def _chooses(self, name: str) -> bool:
        """Whether the patterns of the config let a knowledge base of that name pass."""

        def matches(patterns: tuple[str, ...]) -> bool:
            return any(fnmatch.fnmatchcase(name.casefold(), pattern.casefold()) for pattern in patterns)

        if self._server.discover_include and not matches(self._server.discover_include):
            return False
        return not matches(self._server.discover_exclude)

    def _ask_name(self, dataset_id: str, *, needed: bool) -> None:
        """Ask for a knowledge base. Without its name discovery goes on: only this asks the plugin daemon."""
        try:
            dataset = self._client.dataset(dataset_id)
        except (BadRequest, ServerFailed, DecodeFailed, SchemaMismatch, NotFound) as error:
            if needed or (isinstance(error, NotFound) and error.gone):
                raise
            self._named[dataset_id] = self._clock.monotonic() + NAME_RETRY
            _log.debug("no name", server=self._server.name, dataset_id=dataset_id, reason=error.reason)
        else:
            self._name(dataset_id, dataset)
            self._named[dataset_id] = self._clock.monotonic() + NAME_INTERVAL

    def _uncount(self, dataset_id: str) -> None:
        """Nobody counts the documents of a knowledge base any more: the last numbers would stand for ever."""
        known = self._store.knowledge_base(dataset_id)
        if known.documents:
            self._store.set_knowledge_base(replace(known, documents=()))

    def _name(self, dataset_id: str, dataset: Dataset) -> None:
        """Under the id that was asked for: another one in the answer would stay for ever."""
        known = self._store.knowledge_base(dataset_id)
        self._store.set_knowledge_base(
            replace(
                known,
                name=dataset.name or "",
                indexing_technique=dataset.indexing_technique or "",
                embedding_model=dataset.embedding_model or "",
            )
        )


def _mark(dataset: Dataset) -> tuple[object, ...] | None:
    """What changes when documents are added, deleted or finished; None: the server does not tell."""
    if dataset.total_documents is None or dataset.total_available_documents is None:
        return None
    return dataset.document_count, dataset.total_documents, dataset.total_available_documents
