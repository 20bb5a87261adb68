"""Fetching: send one request about one object and merge the answer into the store."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from exporter.dify import BadRequest, SchemaMismatch
from exporter.polling.discovery import GUIDED_ROUNDS, LIST_ROUNDS, NAME_INTERVAL, SETTLED_ROUNDS, Discovery
from exporter.tracking import Merger, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.clock import Clock
    from exporter.config import Polling, ServerConfig
    from exporter.dify import DifyApi
    from exporter.tracking import Store

_Key = tuple[str, str, str]


class Fetcher:
    """Fetches from one server. Several threads use it at once, each for another target.

    Its methods that send a request raise DifyError, and Stopped.
    """

    def __init__(
        self,
        server: ServerConfig,
        client: DifyApi,
        store: Store,
        polling: Polling,
        *,
        clock: Clock,
        last_success: Callable[[str, str], float | None],
    ) -> None:
        """``last_success``: when a batch was last read (Unix seconds), by dataset id and batch."""
        self._client = client
        self._store = store
        self._merger = Merger(store)
        self._clock = clock
        self._last_success = last_success
        self.discovery = Discovery(
            server, client, store, self._merger, clock=clock, interval=polling.discovery_interval
        )
        self._digests: dict[_Key, tuple[bytes, object]] = {}
        found = polling.discovery_interval
        self.polling = polling
        self.segment_intervals = _constant(polling, max(found, polling.interval))
        self.detail_intervals = _constant(polling, polling.detail_interval)
        self.list_intervals = _constant(polling, found * LIST_ROUNDS)
        self._name_intervals = _constant(polling, NAME_INTERVAL)
        self._scan_intervals = _slower_when_settled(polling, found, SETTLED_ROUNDS)
        self._guided_intervals = _slower_when_settled(polling, found, GUIDED_ROUNDS)
        self._guided_for = 3 * found * LIST_ROUNDS

    def reconfigured(self, server: ServerConfig, client: DifyApi, polling: Polling) -> Fetcher:
        """A fetcher for another configuration of the same server. It knows what discovery has found so far."""
        fetcher = Fetcher(server, client, self._store, polling, clock=self._clock, last_success=self._last_success)
        fetcher.discovery.adopt(self.discovery)
        return fetcher

    def dataset_intervals(self, dataset_id: str) -> Polling:
        """The poll intervals of a dataset."""
        if not self.discovery.discovers(dataset_id):
            return self._name_intervals
        if self.discovery.is_guided(dataset_id, within=self._guided_for):
            return self._guided_intervals
        return self._scan_intervals

    def fetch_batch(self, dataset_id: str, batch: str) -> Outcome:
        """Fetch the indexing status of a batch."""
        sent = self._clock.monotonic()
        key, token = ("batch", dataset_id, batch), partial(self._store.batch_token, dataset_id, batch)
        answer = self._client.indexing_status(dataset_id, batch, known=self._known(key, token()))
        if answer.value is None:
            return self._merger.confirm_batch(dataset_id, batch)
        outcome = self._merger.apply_batch(
            dataset_id, batch, answer.value, sent=sent, previous_success=self._last_success(dataset_id, batch)
        )
        self._store_digest(key, answer.digest, token(), outcome)
        return outcome

    def fetch_document(self, dataset_id: str, document_id: str, *, adopt: bool = True) -> Outcome:
        """Fetch the detail of a document. ``adopt``: it becomes known, because the configuration names it."""
        sent = self._clock.monotonic()
        key = ("document" if adopt else "detail", dataset_id, document_id)
        token = partial(self._store.document_token, dataset_id, document_id)
        answer = self._client.document(dataset_id, document_id, known=self._known(key, token()))
        if answer.value is None:
            return self._merger.confirm_document(dataset_id, document_id)
        outcome = self._merger.apply_detail(dataset_id, answer.value, document_id=document_id, sent=sent, adopt=adopt)
        self._store_digest(key, answer.digest, token(), outcome)
        return outcome

    def count_segments(self, dataset_id: str, document_id: str) -> Outcome:
        """Fetch the number of completed segments of a document."""
        sent = self._clock.monotonic()
        try:
            answer = self._client.completed_segments(dataset_id, document_id)
        except (BadRequest, SchemaMismatch):
            # No other request reports more about the document: it is judged without its segments.
            return self._merger.apply_segments(dataset_id, document_id, None)
        return self._merger.apply_segments(dataset_id, document_id, answer.total, sent=sent)

    def confirm_without_segments(self, dataset_id: str, document_id: str) -> Outcome:
        """The segments of a document are refused: lists alone show whether it stalls."""
        return self._merger.confirm_listed(dataset_id, document_id, segments=False)

    def confirm_without_detail(self, dataset_id: str, document_id: str) -> Outcome:
        """The detail of a document is refused: lists, and segments while they are counted, show whether it stalls."""
        return self._merger.confirm_listed(dataset_id, document_id, segments=True)

    def send_heartbeat(self, dataset_id: str, _id: str) -> Outcome:
        """Send the cheapest request that needs the key and the database."""
        self._client.documents(dataset_id, "", limit=1)
        return Outcome(settled=True)

    def invalidate(self, name: str, dataset_id: str, id_: str) -> None:
        """Decode the next answer also when it repeats the last one. ``name``: of the target type."""
        self._digests.pop((name, dataset_id, id_), None)

    def _known(self, key: _Key, token: object) -> bytes | None:
        """The digest of the last answer while its result is still stored: a byte-identical one adds nothing."""
        digest, stored = self._digests.get(key, (None, None))
        return digest if stored is not None and stored == token else None

    def _store_digest(self, key: _Key, digest: bytes, token: object, outcome: Outcome) -> None:
        """Skip decoding a byte-identical answer, unless part of this one was ignored."""
        if outcome.outdated:
            self._digests.pop(key, None)
        else:
            self._digests[key] = digest, token


def _slower_when_settled(polling: Polling, interval: float, rounds: int) -> Polling:
    """One interval while something is unfinished, up to ``rounds`` times as long while nothing is."""
    return replace(_constant(polling, interval), max_settled_interval=interval * rounds)


def _constant(polling: Polling, interval: float) -> Polling:
    """The same interval in every state."""
    return replace(
        polling,
        interval=interval,
        max_interval=interval,
        settled_interval=interval,
        max_settled_interval=interval,
    )
