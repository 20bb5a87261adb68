"""A server that answers from memory, a listener that records changes, and a poller on a manually advanced clock."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from exporter.clock import ManualClock
from exporter.config import Polling, ServerConfig
from exporter.dify import (
    PAGE,
    Answer,
    DatasetAnswer,
    DatasetPage,
    DocumentDetail,
    DocumentPage,
    IndexingItem,
    ListedDocument,
    NotFound,
    SegmentPage,
)
from exporter.polling import Poller, ServerHealth, TargetStatuses
from exporter.tracking import Change, Store, Tracked, nothing_to_recall

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exporter.state import StateFile

DATASET = "501756ed-cffa-44bb-b992-713f60113872"


def item(document_id: str, status: str, completed: int | None = 0, total: int | None = 0, **more: Any) -> IndexingItem:
    """An item of indexing-status."""
    return IndexingItem(document_id, status, completed_segments=completed, total_segments=total, **more)


class FakeClient:
    """Returns the answers that a test puts in and records the requests. An exception put in as an answer is raised.

    ``refuse`` gets the endpoint of each request, and may raise its failure.
    """

    def __init__(self) -> None:
        self.version = "1.12.1"
        self.batches: dict[str, list[IndexingItem] | Exception] = {}
        self.details: dict[str, DocumentDetail | Exception] = {}
        self.asked: list[tuple[str, str]] = []
        self.bases: dict[str, DatasetAnswer | Exception] = {}
        self.private: set[str] = set()
        self.listed: dict[str, list[ListedDocument] | Exception] = {}
        self.segments: dict[str, int | Exception] = {}
        self.list_error: Exception | None = None
        self.old = False
        self.closed = 0
        self.before_answer: Callable[[str], None] = lambda _: None
        self.refuse: Callable[[str], None] = lambda _: None

    def indexing_status(self, dataset_id: str, batch: str, *, known: bytes | None = None) -> Answer[list[IndexingItem]]:
        """The answer for a batch."""
        assert dataset_id
        return self._answer("batch", batch, self.batches[batch], known)

    def document(self, dataset_id: str, document_id: str, *, known: bytes | None = None) -> Answer[DocumentDetail]:
        """The detail of a document."""
        assert dataset_id
        found = self.details.get(document_id, DocumentDetail(document_id, name="a.txt"))
        return self._answer("document", document_id, found, known)

    def datasets(self, page: int, *, private: bool = True) -> DatasetPage:
        """A page of the list of datasets."""
        self._ask("datasets", str(page))
        self._raise(self.list_error)
        visible = [base for id_, base in self.bases.items() if private or id_ not in self.private]
        found = [base for base in visible if isinstance(base, DatasetAnswer)]
        return DatasetPage(found[(page - 1) * PAGE : page * PAGE], len(found))

    def dataset(self, dataset_id: str) -> DatasetAnswer:
        """A dataset."""
        self._ask("dataset", dataset_id)
        found = self.bases.get(dataset_id, NotFound("Dataset not found.", gone=True))
        self._raise(found if isinstance(found, Exception) else self.list_error)
        assert isinstance(found, DatasetAnswer)
        return found

    def documents(self, dataset_id: str, status: str, *, page: int = 1, limit: int = PAGE) -> DocumentPage:
        """A page of the document list of a dataset; an old server ignores the status."""
        self._ask("documents", f"{dataset_id}/{status}/{page}")
        listed = self.listed.get(dataset_id, [])
        if isinstance(listed, Exception):
            raise listed
        if not self.old:
            listed = [found for found in listed if status in ("", found.display_status)]
        return DocumentPage(listed[(page - 1) * limit : page * limit], len(listed))

    def completed_segments(self, dataset_id: str, document_id: str) -> SegmentPage:
        """The number of completed segments."""
        self._ask("segments", document_id)
        assert dataset_id
        found = self.segments.get(document_id, 0)
        if isinstance(found, Exception):
            raise found
        return SegmentPage(found)

    def _raise(self, error: Exception | None) -> None:
        if error is not None:
            raise error

    def close_connections(self) -> None:
        """Count the call."""
        self.closed += 1

    def _ask(self, kind: str, key: str) -> None:
        self.asked.append((kind, key))
        self.refuse(kind)

    def _answer(self, kind: str, key: str, found: Any, known: bytes | None) -> Answer[Any]:
        self._ask(kind, key)
        self.before_answer(key)
        if isinstance(found, Exception):
            raise found
        digest = hashlib.blake2b(json.dumps(msgspec.to_builtins(found)).encode(), digest_size=16).digest()
        return Answer(None if digest == known else found, digest)

    def count(self, kind: str) -> int:
        """Number of requests of that kind."""
        return sum(asked == kind for asked, _ in self.asked)


class RecordingListener:
    """Keeps the current objects by key; rejects changes that do not match the previous ones."""

    def __init__(self) -> None:
        self.objects: set[Tracked] = set()
        self.calls: list[list[Change]] = []

    def changed(self, changes: Sequence[Change], *, durable: bool = False) -> None:  # noqa: ARG002 of the protocol
        """Take changes as the exposition would."""
        self.calls.append(list(changes))
        for old, new in changes:
            if old is not None and new is None:
                # It may have been restored from the state file and never seen since.
                self.objects.discard(old)
            elif old is not None:
                self.objects.remove(old)
            if new is not None:
                assert new not in self.objects
                self.objects.add(new)

    def of(self, kind: type) -> list[Any]:
        """The current objects of that type."""
        return [found for found in self.objects if isinstance(found, kind)]


class Recorder:
    """Records the changes that a state file may save later; none of them has to be durable."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def changed(self, changes: Sequence[Change], *, durable: bool = False) -> None:
        """Take changes as the state file would."""
        assert not durable
        self.changes.extend(changes)


def recorded_store() -> tuple[Store, Recorder]:
    """A store that nothing polls, and what it records."""
    recorder = Recorder()
    statuses = TargetStatuses("main", listener=recorder)
    store = Store("main", statuses.watched, listeners=(recorder,), unknown=lambda _: None, clock=ManualClock())
    return store, recorder


class CountingObserver:
    """Counts what the exporter's own metrics count."""

    def __init__(self) -> None:
        self.polls: Counter[str] = Counter()
        self.failures: Counter[tuple[str, str]] = Counter()
        self.unknown: Counter[str] = Counter()

    def polled(self, server: str, kind: str) -> None:
        """Count a poll."""
        assert server == "main"
        self.polls[kind] += 1

    def poll_failed(self, server: str, kind: str, reason: str) -> None:
        """Count a failed poll."""
        assert server == "main"
        self.failures[kind, reason] += 1

    def unknown_value(self, server: str, field: str) -> None:
        """Count an unknown status."""
        assert server == "main"
        self.unknown[field] += 1


class PollerHarness:
    """A poller in a faked environment; ``pass_time`` advances the clock tick by tick, as the main loop would."""

    def __init__(
        self,
        polling: Polling | None = None,
        server: ServerConfig | None = None,
        *,
        document_name: bool = True,
        state: StateFile | None = None,
        clock: ManualClock | None = None,
    ) -> None:
        """``state``: an open state file, from which the objects are restored."""
        self.clock = clock or ManualClock()
        self.client = FakeClient()
        self.listener = RecordingListener()
        self.observer = CountingObserver()
        self.statuses = TargetStatuses("main", listener=self.listener)
        self.store = Store(
            "main",
            self.statuses.watched,
            listeners=(self.listener,) if state is None else (state, self.listener),
            unknown=lambda field: self.observer.unknown_value("main", field),
            clock=self.clock,
            recall=nothing_to_recall if state is None else state.recall,
        )
        if state is not None:
            self.store.restore(state.restore("main"))
        polling = polling or Polling()
        url = "http://127.0.0.1:5001/v1"
        self.health = ServerHealth("main", url, listener=self.listener, polling=polling, random=lambda: 0.5)
        self.poller = Poller(
            server or ServerConfig("main", url),
            self.client,
            self.store,
            self.statuses,
            self.health,
            polling=polling,
            observer=self.observer,
            clock=self.clock,
            jitter=lambda: 0.5,
            document_name=document_name,
        )
        self.stop = threading.Event()

    def poll(self) -> None:
        """Poll what is due now."""
        self.poller.work(self.stop)

    def pass_time(self, seconds: float, tick: float = 1.0) -> None:
        """Advance the clock; poll at each tick."""
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() + tick <= end:
            self.clock.advance(tick)
            self.poll()

    def times_of(self, key: str, seconds: float) -> list[float]:
        """The seconds from now at which ``key`` is requested, over the next ``seconds``."""
        start, times = self.clock.monotonic(), []
        self.client.before_answer = lambda asked: (
            times.append(round(self.clock.monotonic() - start, 3)) if asked == key else None
        )
        self.pass_time(seconds)
        return times
