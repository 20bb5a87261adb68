"""How to fetch each target type from a server, and at which intervals.

The poller decides when a target is due. This module sends the request, skips decoding of byte-identical answers and
passes all others to the store.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from exporter.dify import BadRequest, SchemaMismatch
from exporter.polling.discovery import GUIDED_ROUNDS, LIST_ROUNDS, NAME_INTERVAL, QUIET_ROUNDS, Discovery

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.clock import Clock
    from exporter.config import Polling, ServerConfig
    from exporter.dify.api import Upstream
    from exporter.tracking.outcome import Outcome
    from exporter.tracking.store import Store
    from exporter.tracking.targets import Target, TargetKind


class Fetcher:
    """Fetches the targets of one server and passes the answers to the store.

    Thread-safe, as long as no two threads fetch the same target at the same time.
    """

    def __init__(self, server: ServerConfig, client: Upstream, store: Store, polling: Polling, *, clock: Clock) -> None:
        self._client = client
        self._store = store
        self._clock = clock
        self._discovery = Discovery(server, client, store, clock)
        self._digests: dict[Target, tuple[bytes, object]] = {}
        self._asks: dict[TargetKind, Callable[[Target], Outcome]] = {
            "batch": self._batch,
            "document": self._document,
            "detail": self._document,
            "segments": self._segments,
            "dataset": self._discovery.survey,
            "datasets": self._discovery.list_datasets,
        }
        found = polling.discovery_interval
        self._naming = _steady(polling, NAME_INTERVAL)
        self._guided = _resting(polling, found, GUIDED_ROUNDS)
        self._guided_for = 3 * found * LIST_ROUNDS
        self._rhythms: dict[TargetKind, Polling] = {
            "batch": polling,
            "document": polling,
            "segments": _steady(polling, max(found, polling.interval)),
            "detail": _steady(polling, polling.detail_interval),
            "dataset": _resting(polling, found, QUIET_ROUNDS),
            "datasets": _steady(polling, found * LIST_ROUNDS),
        }

    def changed(self, server: ServerConfig, client: Upstream, polling: Polling) -> Fetcher:
        """Return a fetcher for a changed configuration of the same server. It keeps what discovery has found."""
        asker = Fetcher(server, client, self._store, polling, clock=self._clock)
        asker._discovery.adopt(self._discovery)
        return asker

    def asks_anew(self, target: Target, before: Fetcher) -> bool:
        """Whether the answers that ``before`` fetched for ``target`` no longer fit the configuration.

        This is the case for the dataset list, whose name patterns may differ, and for a dataset whose discovery was
        switched on or off.
        """
        if target.kind == "dataset":
            discovers, discovered = self._discovery.discovers, before._discovery.discovers
            return discovers(target.dataset_id) != discovered(target.dataset_id)
        return target.kind == "datasets"

    def ask(self, target: Target) -> Outcome:
        """Fetch ``target`` and update the store. Raises DifyError or Stopped."""
        return self._asks[target.kind](target)

    def holds(self, dataset_id: str) -> bool:
        """Whether the configuration names the dataset or discovery has found it."""
        return self._discovery.holds(dataset_id)

    def rhythm(self, target: Target) -> Polling:
        """The poll intervals of ``target``."""
        if target.kind == "dataset":
            if not self._discovery.discovers(target.dataset_id):
                return self._naming
            if self._discovery.is_guided(target.dataset_id, within=self._guided_for):
                return self._guided
        return self._rhythms[target.kind]

    def forget(self, target: Target) -> None:
        """Decode the next answer of ``target`` even if it is byte-identical to the last one."""
        self._digests.pop(target, None)

    def left(self, target: Target) -> None:
        """Remove the objects of ``target``, which is no longer polled, unless discovery continues with the document."""
        if target.kind == "document" and self._discovery.discovers(target.dataset_id):
            self.forget(target)
            self._store.hand_over(target.dataset_id, target.id)
        else:
            self.gone(target)

    def gone(self, target: Target) -> list[Target]:
        """Remove the objects of ``target``, which Dify reports as not found. Returns the targets to poll at once.

        A document that its batch still lists is kept: servers before 1.5.1 have no document details.
        """
        self.forget(target)
        match target.kind:
            case "batch":
                return self._store.forget_batch(target.dataset_id, target.id)
            case "document" | "detail":
                self._store.forget_document(target.dataset_id, target.id)
            case "dataset":
                self._store.forget_dataset(target.dataset_id)
        return []

    def _batch(self, target: Target) -> Outcome:
        asked = self._clock.monotonic()
        answer = self._client.indexing_status(target.dataset_id, target.id, known=self._known(target))
        if answer.value is None:
            return self._store.confirm_batch(target.dataset_id, target.id)
        outcome = self._store.apply_batch(target.dataset_id, target.id, answer.value, asked=asked)
        self._remember(target, answer.digest, outcome)
        return outcome

    def _document(self, target: Target) -> Outcome:
        asked = self._clock.monotonic()
        answer = self._client.document(target.dataset_id, target.id, known=self._known(target))
        if answer.value is None:
            return self._store.confirm_document(target.dataset_id, target.id)
        outcome = self._store.apply_detail(
            target.dataset_id, answer.value, document_id=target.id, asked=asked, begins=not target.is_step
        )
        self._remember(target, answer.digest, outcome)
        return outcome

    def _known(self, target: Target) -> bytes | None:
        """Digest of the last answer while its result is still stored: an identical answer then adds nothing."""
        digest, trace = self._digests.get(target, (None, None))
        return digest if trace is not None and trace == self._store.trace(target) else None

    def _remember(self, target: Target, digest: bytes, outcome: Outcome) -> None:
        """Remember the digest of an answer. One that was partly ignored as outdated has to be decoded next time."""
        if outcome.outdated:
            self.forget(target)
        else:
            self._digests[target] = digest, self._store.trace(target)

    def _segments(self, target: Target) -> Outcome:
        asked = self._clock.monotonic()
        try:
            answer = self._client.completed_segments(target.dataset_id, target.id)
        except (BadRequest, SchemaMismatch):
            # No other request returns this count: the document is judged without it.
            return self._store.apply_segments(target.dataset_id, target.id, None)
        return self._store.apply_segments(target.dataset_id, target.id, answer.total, asked=asked)


def _resting(polling: Polling, interval: float, rounds: int) -> Polling:
    """A constant interval while something is unfinished; up to ``rounds`` times that interval while nothing is."""
    return replace(_steady(polling, interval), max_settled_interval=interval * rounds)


def _steady(polling: Polling, interval: float) -> Polling:
    """A constant interval in every state."""
    return replace(
        polling,
        interval=interval,
        max_interval=interval,
        settled_interval=interval,
        max_settled_interval=interval,
    )
