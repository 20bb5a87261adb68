"""A Dify with its knowledge bases, batches, documents and workers, on an injected clock.

Every event has an exact instant. A request advances the world to the current time and changes nothing else, so the
state at any time does not depend on how often, or when, it was read.
"""

from __future__ import annotations

import threading
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from exporter.simulator.actions import delete, perform
from exporter.simulator.documents import DatasetState, Document, document_id
from exporter.simulator.workers import EventQueue, Workers

if TYPE_CHECKING:
    from exporter.clock import Clock
    from exporter.simulator.scenario import Action, BatchPlan, DatasetPlan, Scenario


class World:
    """The state of the embedded server: the simulated world behind its API. Thread-safe.

    ``speed``: world seconds per second on the clock. The world starts at the clock's wall time and then follows the
    monotonic clock, so that it never steps.
    """

    def __init__(self, scenario: Scenario, clock: Clock, *, speed: float = 1.0) -> None:
        self.scenario = scenario
        self.lock = threading.RLock()
        self.start = clock.time()
        self.datasets: dict[str, DatasetState] = {}
        self._clock = clock
        self._origin = clock.monotonic()
        self._speed = speed
        self._events = EventQueue()
        self._workers = Workers(self._events, scenario.workers)
        self._batch_numbers = count(1)
        for plan in scenario.datasets:
            self._create_dataset(plan, self.start)

    def now(self) -> float:
        """The world's time in Unix seconds."""
        return self.start + (self._clock.monotonic() - self._origin) * self._speed

    def advance(self) -> float:
        """Run all events that are due and return the time. Hold ``lock`` while using the state."""
        with self.lock:
            now = self.now()
            self._events.run(now)
            return now

    def add_dataset(self, plan: DatasetPlan) -> None:
        """Create a knowledge base now; its batches follow at their times."""
        with self.lock:
            self._create_dataset(plan, self.advance())

    def delete_dataset(self, dataset_id: str) -> None:
        """Delete a knowledge base and everything in it. Raises ``KeyError``."""
        with self.lock:
            now = self.advance()
            for document in list(self.datasets[dataset_id].documents.values()):
                self.delete(document, now)
            del self.datasets[dataset_id]

    def add_batch(self, dataset_id: str, plan: BatchPlan) -> str:
        """Upload a batch now (or ``plan.at`` seconds from now) and return its id. Raises ``KeyError``."""
        with self.lock:
            return self._schedule_upload(self.datasets[dataset_id], plan, self.advance())

    def act(self, dataset_id: str, action: Action) -> None:
        """Perform an action now. Raises ``KeyError`` if there is no such dataset, batch or document."""
        with self.lock:
            now = self.advance()
            for document in _documents_of(self.datasets[dataset_id], action):
                perform(action, document, self._workers, now)

    def delete(self, document: Document, instant: float) -> None:
        """Delete a document. Hold ``lock``."""
        delete(document, self._workers, instant)

    def _create_dataset(self, plan: DatasetPlan, instant: float) -> None:
        dataset = self.datasets[plan.id] = DatasetState(plan, instant, self._batch_numbers)
        for batch in plan.batches:
            self._schedule_upload(dataset, batch, instant)

    def _schedule_upload(self, dataset: DatasetState, plan: BatchPlan, instant: float) -> str:
        batch = plan.id or dataset.new_batch_id(instant + plan.at)
        if plan.at > 0:
            self._events.schedule(instant + plan.at, partial(self._upload, dataset, batch, plan))
        else:
            self._upload(dataset, batch, plan, instant)
        return batch

    def _upload(self, dataset: DatasetState, batch: str, plan: BatchPlan, instant: float) -> None:
        if self.datasets.get(dataset.plan.id) is not dataset:
            return
        ids = [document_id(dataset.plan.id, batch, number, each) for number, each in enumerate(plan.documents)]
        for identifier in ids:
            if identifier in dataset.documents:
                self.delete(dataset.documents[identifier], instant)
        created = []
        for identifier, each in zip(ids, plan.documents, strict=True):
            document = dataset.documents[identifier] = Document(identifier, dataset, each, instant)
            document.enter_batch(batch)
            created.append(document)
        if not plan.lost:
            self._workers.submit(created, instant, delay=plan.queue)
        for action in plan.actions:
            self._events.schedule(instant + action.at, partial(self._act_as_planned, created, action))
        if plan.repeat is not None:
            self._events.schedule(instant + plan.repeat, partial(self._upload, dataset, batch, plan))

    def _act_as_planned(self, documents: list[Document], action: Action, instant: float) -> None:
        for document in documents:
            if not document.deleted and action.document in ("", document.id, document.plan.name):
                perform(action, document, self._workers, instant)


def _documents_of(dataset: DatasetState, action: Action) -> list[Document]:
    """The documents that an action names: in its batch, or by id anywhere in the dataset."""
    if not action.batch:
        return [dataset.documents[action.document]]
    found = [
        document for document in dataset.batches[action.batch] if action.document in ("", document.id, document.name)
    ]
    if not found:
        raise KeyError(action.document)
    return found
