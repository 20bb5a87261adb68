"""How each kind of target is asked for, and at what rhythm."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from exporter.dify import BadRequest, SchemaMismatch
from exporter.tracking.discovery import GUIDED_ROUNDS, LIST_ROUNDS, NAME_INTERVAL, QUIET_ROUNDS, Discovery

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.clock import Clock
    from exporter.config import Polling, Server
    from exporter.tracking.outcome import Outcome
    from exporter.tracking.store import Store
    from exporter.tracking.targets import Target, TargetKind
    from exporter.tracking.upstream import Upstream


class Asker:
    """Asks one server and hands the answers to the store. Used by several threads, each for another target."""

    def __init__(self, server: Server, client: Upstream, store: Store, polling: Polling, *, clock: Clock) -> None:
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

    def changed(self, server: Server, client: Upstream, polling: Polling) -> Asker:
        """One for another configuration of the same server, which knows what was found so far."""
        asker = Asker(server, client, self._store, polling, clock=self._clock)
        asker._discovery.adopt(self._discovery)
        return asker

    def asks_anew(self, target: Target, before: Asker) -> bool:
        """Whether ``before`` asked for something else: for the list by other patterns, or discovery was switched."""
        if target.kind == "dataset":
            discovers, discovered = self._discovery.discovers, before._discovery.discovers
            return discovers(target.dataset_id) != discovered(target.dataset_id)
        return target.kind == "datasets"

    def ask(self, target: Target) -> Outcome:
        """Ask for ``target``. Raises DifyError, and Stopped."""
        return self._asks[target.kind](target)

    def holds(self, dataset_id: str) -> bool:
        """Whether the config names the knowledge base, or discovery has found it."""
        return self._discovery.holds(dataset_id)

    def rhythm(self, target: Target) -> Polling:
        """The intervals that ``target`` is polled at."""
        if target.kind == "dataset":
            if not self._discovery.discovers(target.dataset_id):
                return self._naming
            if self._discovery.is_guided(target.dataset_id, within=self._guided_for):
                return self._guided
        return self._rhythms[target.kind]

    def forget(self, target: Target) -> None:
        """Read the next answer anew, also when it is the same byte for byte."""
        self._digests.pop(target, None)

    def left(self, target: Target) -> None:
        """``target`` is polled no more: what came of it ends, unless discovery goes on with it."""
        if target.kind == "document" and self._discovery.discovers(target.dataset_id):
            self.forget(target)
            self._store.hand_over(target.dataset_id, target.id)
        else:
            self.gone(target)

    def gone(self, target: Target) -> list[Target]:
        """Dify says that ``target`` does not exist: what came of it ends. What else is to be asked for at once.

        A document that its batch still names stays: servers before 1.5.1 have no details.
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
        """The digest of the last answer, while what came of it stands: then an equal one tells no more."""
        digest, trace = self._digests.get(target, (None, None))
        return digest if trace is not None and trace == self._store.trace(target) else None

    def _remember(self, target: Target, digest: bytes, outcome: Outcome) -> None:
        """Let an equal answer pass as the same again; one that was passed over is to be read when it comes again."""
        if outcome.outdated:
            self.forget(target)
        else:
            self._digests[target] = digest, self._store.trace(target)

    def _segments(self, target: Target) -> Outcome:
        asked = self._clock.monotonic()
        try:
            answer = self._client.completed_segments(target.dataset_id, target.id)
        except (BadRequest, SchemaMismatch):
            # Nothing else tells more of the document: it is judged without them.
            return self._store.apply_segments(target.dataset_id, target.id, None)
        return self._store.apply_segments(target.dataset_id, target.id, answer.total, asked=asked)


def _resting(polling: Polling, interval: float, rounds: int) -> Polling:
    """The same interval while something is unfinished, up to so many times as long while nothing is."""
    return replace(_steady(polling, interval), max_settled_interval=interval * rounds)


def _steady(polling: Polling, interval: float) -> Polling:
    """The same interval whatever happens."""
    return replace(
        polling,
        interval=interval,
        max_interval=interval,
        settled_interval=interval,
        max_settled_interval=interval,
    )
