"""A Dify with its knowledge bases, batches, documents and workers, on an injected clock.

Every event has an exact instant. A request advances the world to the current time and changes nothing else, so the
state at any time does not depend on how often, or when, it was read.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from exporter.simulator import actions as deeds
from exporter.simulator.documents import DatasetState, Document, document_id
from exporter.simulator.tasks import IndexingTask
from exporter.simulator.workers import Agenda, Workers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exporter.clock import Clock
    from exporter.simulator.scenario import Action, BatchPlan, DatasetPlan, DocumentPlan, Scenario


class World:
    """The state of the embedded server. Thread-safe.

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
        self._agenda = Agenda()
        self._workers = Workers(self._agenda, scenario.workers)
        self._generated = 0
        for plan in scenario.datasets:
            self._open(plan, self.start)

    def now(self) -> float:
        """The world's time in Unix seconds."""
        return self.start + (self._clock.monotonic() - self._origin) * self._speed

    def advance(self) -> float:
        """Run all events that are due and return the time. Hold ``lock`` while using the state."""
        with self.lock:
            now = self.now()
            self._agenda.run(now)
            return now

    def add_dataset(self, plan: DatasetPlan) -> None:
        """Create a knowledge base now; its batches follow at their times."""
        with self.lock:
            self._open(plan, self.advance())

    def delete_dataset(self, dataset_id: str) -> None:
        """Delete a knowledge base and everything in it. Raises ``KeyError``."""
        with self.lock:
            now = self.advance()
            for document in list(self.datasets[dataset_id].documents.values()):
                self.remove(document, now)
            del self.datasets[dataset_id]

    def add_batch(self, dataset_id: str, plan: BatchPlan) -> str:
        """Upload a batch now (or ``plan.at`` seconds from now) and return its id. Raises ``KeyError``."""
        with self.lock:
            return self._announce(self.datasets[dataset_id], plan, self.advance())

    def act(self, dataset_id: str, action: Action) -> None:
        """Perform an action now. Raises ``KeyError`` if there is no such dataset, batch or document."""
        with self.lock:
            now = self.advance()
            dataset = self.datasets[dataset_id]
            for document in _named(dataset, action):
                deeds.do(self, document, action, now)

    def submit(self, documents: Iterable[Document], instant: float, *, queue: float = 0.0) -> None:
        """Send the workers a message to index these documents."""
        task = IndexingTask(tuple(documents))
        for document in task.documents:
            document.task = task
        self._agenda.enter(instant + queue, partial(self._arrive, task))

    def cut_task(self, task: IndexingTask, instant: float) -> None:
        """Take a task off its worker at ``instant``."""
        self._workers.end(task, instant)

    def new_batch_id(self, instant: float) -> str:
        """An id in the server's format: the time and six digits, here from a counter instead of random."""
        self._generated += 1
        stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime(instant))
        return f"{stamp}{self._generated * 7919 % 1_000_000:06d}"

    def remove(self, document: Document, instant: float) -> None:
        """Remove a document from its batch and dataset; a task without documents is withdrawn."""
        document.leave_batch()
        del document.dataset.documents[document.id]
        document.gone = True
        if document.task is not None and all(other.gone for other in document.task.documents):
            self._workers.withdraw(document.task, instant)
            document.task.withdrawn = True

    def _arrive(self, task: IndexingTask, instant: float) -> None:
        if not task.withdrawn:
            self._workers.submit(task, instant)

    def _open(self, plan: DatasetPlan, instant: float) -> None:
        dataset = self.datasets[plan.id] = DatasetState(plan, instant)
        for batch in plan.batches:
            self._announce(dataset, batch, instant)

    def _announce(self, dataset: DatasetState, plan: BatchPlan, instant: float) -> str:
        batch = plan.id or self.new_batch_id(instant + plan.at)
        if plan.at > 0:
            self._agenda.enter(instant + plan.at, partial(self._upload, dataset, batch, plan))
        else:
            self._upload(dataset, batch, plan, instant)
        return batch

    def _upload(self, dataset: DatasetState, batch: str, plan: BatchPlan, instant: float) -> None:
        if self.datasets.get(dataset.plan.id) is not dataset:
            return
        ids = [document_id(dataset.plan.id, batch, number, each) for number, each in enumerate(plan.documents)]
        for identifier in ids:
            if identifier in dataset.documents:
                self.remove(dataset.documents[identifier], instant)
        created = [
            self._create(dataset, batch, identifier, each, instant)
            for identifier, each in zip(ids, plan.documents, strict=True)
        ]
        if not plan.lost:
            self.submit(created, instant, queue=plan.queue)
        for action in plan.actions:
            self._agenda.enter(instant + action.at, partial(self._act_as_planned, created, action))
        if plan.repeat is not None:
            self._agenda.enter(instant + plan.repeat, partial(self._upload, dataset, batch, plan))

    def _create(
        self, dataset: DatasetState, batch: str, identifier: str, plan: DocumentPlan, instant: float
    ) -> Document:
        document = Document(identifier, dataset, plan, instant)
        dataset.documents[identifier] = document
        document.enter_batch(batch)
        return document

    def _act_as_planned(self, documents: list[Document], action: Action, instant: float) -> None:
        for document in documents:
            if not document.gone and action.document in ("", document.id, document.plan.name):
                deeds.do(self, document, action, instant)


def _named(dataset: DatasetState, action: Action) -> list[Document]:
    """The documents that an action names: in its batch, or by id anywhere in the dataset."""
    if not action.batch:
        return [dataset.documents[action.document]]
    found = [
        document for document in dataset.batches[action.batch] if action.document in ("", document.id, document.name)
    ]
    if not found:
        raise KeyError(action.document)
    return found
