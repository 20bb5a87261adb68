"""What nobody named: the knowledge bases that the key sees, and the unfinished documents in them."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

import structlog
from msgspec.structs import replace

from exporter.dify import PAGE, BadRequest, DecodeFailed, NotFound, SchemaMismatch, ServerFailed
from exporter.tracking.model import DISPLAY_STATUSES
from exporter.tracking.outcome import Outcome
from exporter.tracking.reading import FINISHED, read_listed
from exporter.tracking.targets import Target

if TYPE_CHECKING:
    from exporter.clock import Clock
    from exporter.config import Server
    from exporter.dify import Dataset, ListedDocument
    from exporter.tracking.model import Progress
    from exporter.tracking.store import Store
    from exporter.tracking.upstream import Upstream

LIST_ROUNDS = 5
"""The list of knowledge bases, which costs the server 180 ms and more, is asked for every so many rounds."""

QUIET_ROUNDS = 4
"""A knowledge base in which nothing is unfinished is looked at every so many rounds at the latest."""

CENSUS_ROUNDS = 5
"""The states in which nothing moves are counted every so many rounds."""

MAX_PAGES = 20
"""Pages of unfinished documents that are read of one state and round; more are read as the first ones finish."""

OLD_PAGES = 2
"""Pages, newest first, that are read of a server that cannot filter by state."""

NAME_INTERVAL = 3_600.0
"""Seconds between two looks at the name of a knowledge base."""

NAME_RETRY = 600.0
"""Seconds until a name is asked for again that could not be had: the plugin daemon is down, or the server is old."""

FILTER_VERSION = (1, 10, 1)
"""The version of Dify from which on ``status`` filters the list of documents; before, it is ignored."""

_UNFINISHED = ("queuing", "indexing", "paused")
_RESTING = ("error", "available", "disabled", "archived")

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
        self._rounds: dict[str, int] = {}
        self._ignores_status = False

    def adopt(self, before: Discovery) -> None:
        """Go on from what another discovery on the same server has found."""
        self._listed = before._listed if self._server.discover else {}
        self._named = before._named
        self._rounds = before._rounds

    def discovers(self, dataset_id: str) -> bool:
        """Whether unfinished documents of the knowledge base are looked for."""
        dataset = self._configured.get(dataset_id)
        if dataset is not None and dataset.discover is not None:
            return dataset.discover
        return self._server.discover and (dataset_id in self._listed or dataset is not None)

    def list_datasets(self, _target: Target) -> Outcome:
        """Ask for every knowledge base; those that are new are to be surveyed, those that vanished to be dropped."""
        found: dict[str, Dataset] = {}
        page, pages = 1, 1
        while page <= pages:
            answer = self._client.datasets(page)
            found.update((dataset.id, dataset) for dataset in answer.data)
            pages = _pages(answer.total, len(answer.data))
            page += 1
        now = self._clock.monotonic()
        chosen = {dataset.id: dataset.name or "" for dataset in found.values() if self._chooses(dataset)}
        for dataset in found.values():
            if dataset.id in chosen or dataset.id in self._configured:
                self._name(dataset)
                self._named[dataset.id] = now + NAME_INTERVAL
        vanished = [dataset_id for dataset_id in self._listed if dataset_id not in chosen]
        appeared = [dataset_id for dataset_id in chosen if dataset_id not in self._listed]
        self._listed = chosen
        for dataset_id in vanished:
            if dataset_id not in self._configured:
                self._store.forget_dataset(dataset_id)
                self._rounds.pop(dataset_id, None)
                self._named.pop(dataset_id, None)
        if appeared or vanished:
            counted = {"found": len(chosen), "new": len(appeared), "gone": len(vanished)}
            _log.info("knowledge bases listed", server=self._server.name, **counted)
        return Outcome(
            moved=bool(appeared or vanished),
            settled=True,
            wanted=tuple(Target("dataset", dataset_id, dataset_id) for dataset_id in appeared),
            dropped=tuple(
                Target("dataset", dataset_id, dataset_id)
                for dataset_id in vanished
                if dataset_id not in self._configured
            ),
        )

    def survey(self, target: Target) -> Outcome:
        """Learn the name of a knowledge base when it is time; with discovery, find its unfinished documents."""
        dataset_id = target.dataset_id
        discovers = self.discovers(dataset_id)
        if self._clock.monotonic() >= self._named.get(dataset_id, 0.0) or not discovers:
            self._ask_name(dataset_id, needed=not discovers)
        if not discovers:
            return Outcome(settled=True)
        listed, counts = self._unfinished(dataset_id)
        self._count(dataset_id, counts)
        return self._store.apply_listed(dataset_id, listed)

    def _chooses(self, dataset: Dataset) -> bool:
        """Whether the patterns of the config let the name of a knowledge base pass."""
        name = (dataset.name or "").casefold()

        def matches(patterns: tuple[str, ...]) -> bool:
            return any(fnmatch.fnmatchcase(name, pattern.casefold()) for pattern in patterns)

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
            self._name(dataset)
            self._named[dataset_id] = self._clock.monotonic() + NAME_INTERVAL

    def _name(self, dataset: Dataset) -> None:
        known = self._store.knowledge_base(dataset.id)
        self._store.set_knowledge_base(
            replace(
                known,
                name=dataset.name or "",
                indexing_technique=dataset.indexing_technique or "",
                embedding_model=dataset.embedding_model or "",
            )
        )

    def _unfinished(self, dataset_id: str) -> tuple[dict[str, tuple[Progress, str | None]], dict[str, int]]:
        """The unfinished documents, and how many documents are in each state that was asked for."""
        if self._filters():
            documents: dict[str, ListedDocument] = {}
            counts: dict[str, int] = {}
            for state in _UNFINISHED:
                if not self._page_through(dataset_id, state, documents, counts):
                    break
            else:
                return self._read(documents), counts
        return self._read(self._newest(dataset_id)), {}

    def _page_through(
        self, dataset_id: str, state: str, documents: dict[str, ListedDocument], counts: dict[str, int]
    ) -> bool:
        """Read the documents in one state. False: the server ignores the state.

        It goes by ``total``: ``has_more`` is true on a page that is just full. Documents move between pages while they
        are read, so one may come twice.
        """
        page, pages = 1, 1
        while page <= min(pages, MAX_PAGES):
            answer = self._client.documents(dataset_id, state, page=page)
            if any(document.display_status in _RESTING for document in answer.data):
                if not self._ignores_status:
                    _log.warning(
                        "the server ignores the state of documents in lists: only the newest are searched",
                        server=self._server.name,
                        version=self._client.version,
                    )
                self._ignores_status = True
                return False
            documents.update((document.id, document) for document in answer.data)
            counts[state] = int(answer.total)
            pages = _pages(answer.total, len(answer.data))
            page += 1
        return True

    def _newest(self, dataset_id: str) -> dict[str, ListedDocument]:
        """The unfinished ones among the newest documents, for a server that cannot filter."""
        documents: dict[str, ListedDocument] = {}
        for page in range(1, OLD_PAGES + 1):
            answer = self._client.documents(dataset_id, "", page=page)
            documents.update((document.id, document) for document in answer.data)
            if page >= _pages(answer.total, len(answer.data)):
                break
        return {document.id: document for document in documents.values() if document.indexing_status not in FINISHED}

    def _read(self, documents: dict[str, ListedDocument]) -> dict[str, tuple[Progress, str | None]]:
        return {
            document.id: (read_listed(document, self._store.unknown), document.error) for document in documents.values()
        }

    def _count(self, dataset_id: str, counts: dict[str, int]) -> None:
        """Note how many documents are in each state; ask for the states at rest when it is their turn."""
        known = self._store.knowledge_base(dataset_id)
        before = dict(zip(DISPLAY_STATUSES, known.documents, strict=False))
        rounds = self._rounds.get(dataset_id, 0)
        self._rounds[dataset_id] = rounds + 1
        if not counts:
            return
        if rounds % CENSUS_ROUNDS == 0 or any(before.get(state) != count for state, count in counts.items()):
            for state in _RESTING:
                counts[state] = int(self._client.documents(dataset_id, state, limit=1).total)
        documents = tuple(counts.get(state, before.get(state)) for state in DISPLAY_STATUSES)
        self._store.set_knowledge_base(replace(self._store.knowledge_base(dataset_id), documents=documents))

    def _filters(self) -> bool:
        """Whether the server filters the list of documents by state, as far as is known."""
        if self._ignores_status:
            return False
        numbers = [int(part) for part in self._client.version.split(".")[:3] if part.isdecimal()]
        return len(numbers) < len(FILTER_VERSION) or tuple(numbers) >= FILTER_VERSION


def _pages(total: float | None, items: int) -> int:
    """How many pages there are; one with nothing on it is the last, whatever it says."""
    if total is None or not items:
        return 1
    return -(-int(total) // PAGE)
