"""What users and workers do on a server: uploads, retries, deletions, and changes of the embedding model."""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bench.soak.chance import SHORTEST_ATTEMPT, draw_attempt, draw_document, draw_quick_attempt, draw_quick_document
from bench.soak.knowledge import KnowledgeBase, permanent
from bench.soak.truth import FINISHED, IN_PROGRESS, Recorder
from exporter.simulator import Action, BatchPlan, DatasetPlan, DocumentPlan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

    from bench.soak.knowledge import Mode, ServerName
    from exporter.simulator import World
    from exporter.simulator.documents import Document
    from exporter.simulator.scenario import ActionKind

UPLOAD_EVERY: Final = 3.5
QUICK_EVERY: Final = 6.0
ACT_EVERY: Final = 1.2
REPLACE_EVERY: Final = 20.0

IDLE_FOR: Final = 30.0
"""Seconds between the end of an attempt and the next event of the document: longer than the exporter sees nothing."""

LISTED_IDLE: Final = 85.0
"""Maximum of the same where discovery is off: afterwards the exporter forgets the finished batch."""

DELETED_AFTER: Final = 240.0
"""Seconds after which a finished document is deleted, so that the server does not grow."""

BULK: Final = 700
"""Number of documents that a changed embedding model sets to indexing at once."""

BULK_WAITS: Final = 10.0
BULK_TAKES: Final = 7.0
"""Seconds until the first of them is completed again, and from the first to the last one."""


class Usage:
    """The documents of one server, and everything that is done to them."""

    def __init__(self, server: ServerName, world: World, recorder: Recorder, lists: Path, random: Random) -> None:
        """``lists``: the folder of the batch files."""
        self.world = world
        self.happened: Counter[str] = Counter()
        self._random = random
        self._recorder = recorder
        self._bases = {each.mode: each for each in permanent(server)}
        self._file = lists / f"{server}.json"
        self._listed: deque[tuple[float, str, str]] = deque()
        self._falling: deque[tuple[float, Document]] = deque()
        self._spare = 0
        for base in self._bases.values():
            plan = DatasetPlan(
                base.id, name=f"{server} {base.mode}", technique="high_quality", private=base.mode == "quick"
            )
            world.add_dataset(plan)
        self._fill_bulk()
        self._write_list()

    def events(self) -> dict[str, tuple[float, Callable[[], float]]]:
        """Seconds until the first, and a function that lets it happen and returns the seconds until the next."""
        return {
            "upload": (3.0, self._upload),
            "quick": (12.0, self._upload_quick),
            "act": (20.0, self._act),
            "replace": (25.0, self._replace),
            "spare": (30.0, self._toggle_spare_dataset),
        }

    def observe(self) -> None:
        """Record what happened; delete documents that finished, or moved, long ago."""
        self._complete_fallen_back()
        with self.world.lock:
            now = self.world.advance()
            documents = self._documents()
            self._recorder.observe(documents, now)
            late = time.monotonic() - DELETED_AFTER
            for document in documents:
                if document.dataset.plan.id == self._bases["bulk"].id:
                    continue
                ended = self._recorder.ended(document)
                if (self._recorder.since(document) if ended is None else ended) < late:
                    self.world.delete(document, now)

    def end(self) -> None:
        """Delete unfinished documents."""
        with self.world.lock:
            now = self.world.advance()
            for document in self._documents():
                if document.row_at(now).status not in FINISHED or document.paused:
                    self.world.delete(document, now)
        self.observe()

    @property
    def is_falling(self) -> bool:
        """Whether documents that were set to indexing in bulk are still to complete."""
        return len(self._falling) > BULK // 100

    def fall_back_in_bulk(self) -> None:
        """Set the documents of a knowledge base to indexing, as a changed embedding model does."""
        with self.world.lock:
            documents = [each for each in self._documents() if each.dataset.plan.id == self._bases["bulk"].id]
            first = time.monotonic() + BULK_WAITS
            for number, document in enumerate(documents):
                self._fall_back(document, first + number / len(documents) * BULK_TAKES)
            self._recorder.note(f"{len(documents)} documents set to indexing in {self._bases['bulk'].id}")

    def _documents(self) -> list[Document]:
        return [each for base in self._bases.values() for each in self.world.datasets[base.id].documents.values()]

    def _fill_bulk(self) -> None:
        """Documents that finished a day ago."""
        base = self._bases["bulk"]
        plans = tuple(DocumentPlan(name=f"old {n}.md", parse=0, split=0, index=0, segments=2) for n in range(BULK))
        with self.world.lock:
            self.world.add_batch(base.id, BatchPlan(queue=0, documents=plans))
            now = self.world.advance()
            documents = list(self.world.datasets[base.id].documents.values())
            for document in documents:
                document.end_attempt(now + 1)
                document.created -= 86_400
                row = document.row
                row.started = row.parsed = row.split = row.completed_at = row.updated = document.created + 2
            self._recorder.ignore(documents)
            self._recorder.observe(documents, now)

    def _upload(self) -> float:
        """Upload a batch that is queued for a while and then takes seconds."""
        base = self._bases[self._random.choice(("listed", "mixed", "discovered"))]
        documents = tuple(draw_document(self._random) for _ in range(self._random.choice((1, 1, 2, 3, 6))))
        lost = self._random.random() < 0.04
        queue = self._random.choice((self._random.uniform(0.2, 5.0), self._random.uniform(20.0, 28.0)))
        self._add(base, BatchPlan(queue=queue, lost=lost, documents=documents), listed=self._random.random() < 0.7)
        return self._random.expovariate(1 / UPLOAD_EVERY)

    def _upload_quick(self) -> float:
        """Upload a batch whose documents end within a second."""
        base = self._bases[self._random.choice(("quick", "quick", "discovered", "listed"))]
        documents = tuple(draw_quick_document(self._random) for _ in range(self._random.choice((1, 2, 5, 10))))
        self._add(base, BatchPlan(queue=self._random.uniform(0.0, 0.3), documents=documents), listed=True)
        self.happened["quick documents"] += len(documents)
        return self._random.expovariate(1 / QUICK_EVERY)

    def _add(self, base: KnowledgeBase, plan: BatchPlan, *, listed: bool) -> None:
        batch = self.world.add_batch(base.id, plan)
        if base.mode == "listed" or (base.mode == "mixed" and listed):
            self._list(base.id, batch)
        self.happened["uploads"] += 1
        self.happened["documents"] += len(plan.documents)

    def _list(self, dataset: str, batch: str) -> None:
        self._listed.append((time.monotonic(), dataset, batch))
        while time.monotonic() - self._listed[0][0] > DELETED_AFTER + 60.0:
            self._listed.popleft()
        self._write_list()

    def _write_list(self) -> None:
        content = msgspec.json.encode([{"dataset_id": dataset, "batch": batch} for _, dataset, batch in self._listed])
        new = self._file.with_suffix(".new")
        new.write_bytes(content)
        new.replace(self._file)

    def _act(self) -> float:
        """Apply an action to a document that is finished or far from finished."""
        with self.world.lock:
            now = self.world.advance()
            documents = [each for each in self._documents() if each.dataset.plan.id != self._bases["bulk"].id]
            idle = [each for each in documents if self._is_idle(each, now)]
            unfinished = [each for each in documents if each.row_at(now).status in {"waiting", "parsing"}]
            paused = [each for each in documents if each.paused]
            if idle and self._random.random() < 0.7:
                self._act_on_idle(self._random.choice(idle))
            elif paused and self._random.random() < 0.6:
                self._do(self._random.choice(paused), "resume")
            elif unfinished:
                self._do(self._random.choice(unfinished), self._random.choice(("pause", "delete")))
        return self._random.expovariate(1 / ACT_EVERY)

    def _mode(self, document: Document) -> Mode:
        return next(mode for mode, base in self._bases.items() if base.id == document.dataset.plan.id)

    def _is_idle(self, document: Document, now: float) -> bool:
        ended = self._recorder.ended(document)
        latest = LISTED_IDLE if self._mode(document) == "listed" else DELETED_AFTER - IDLE_FOR
        return (
            ended is not None
            and IDLE_FOR < time.monotonic() - ended < latest
            and document.row_at(now).status in FINISHED
            and not document.paused
        )

    def _act_on_idle(self, document: Document) -> None:
        kind: ActionKind = self._random.choice(
            ("retry", "update", "reupload", "fall_back", "disable", "enable", "archive", "unarchive", "delete")
        )
        if kind not in {"retry", "update", "reupload", "fall_back"}:
            self._do(document, kind)
            return
        if kind == "fall_back":
            self._fall_back(document, time.monotonic() + SHORTEST_ATTEMPT)
            return
        # Lists report no times: only where the batch is known does a quick attempt differ from the one before.
        quick = self._mode(document) == "listed" and self._random.random() < 0.5
        attempt = draw_quick_attempt(self._random) if quick else draw_attempt(self._random)
        into = (
            self.world.datasets[document.dataset.plan.id].new_batch_id(self.world.now()) if kind == "reupload" else ""
        )
        self._recorder.begin(document, f"quick {kind}" if quick else kind)
        self._do(document, kind, attempt=attempt, into=into)
        if into and self._mode(document) in ("listed", "mixed"):
            self._list(document.dataset.plan.id, into)

    def _fall_back(self, document: Document, until: float) -> None:
        self._recorder.begin(document, "fall back")
        self._do(document, "fall_back")
        self._falling.append((until, document))

    def _complete_fallen_back(self) -> None:
        """Complete documents that fell back long enough ago."""
        due = [document for until, document in self._falling if until <= time.monotonic()]
        self._falling = deque(each for each in self._falling if each[0] > time.monotonic() and each[1] not in due)
        for document in due:
            if not document.deleted:
                self._do(document, "come_back")

    def _replace(self) -> float:
        """Delete the unfinished documents of a batch and upload the same names again, as the runbook says."""
        with self.world.lock:
            now = self.world.advance()
            stuck = [
                each
                for each in self._documents()
                if each.row_at(now).status in IN_PROGRESS and self._mode(each) != "bulk" and each.timeline is None
            ]
            if stuck:
                chosen = self._random.choice(stuck)
                base, names = self._bases[self._mode(chosen)], chosen.name
                self._do(chosen, "delete")
                plan = draw_document(self._random)
                self._add(
                    base, BatchPlan(queue=1.0, documents=(msgspec.structs.replace(plan, name=names),)), listed=True
                )
                self.happened["deleted and uploaded again"] += 1
        return self._random.expovariate(1 / REPLACE_EVERY)

    def _do(self, document: Document, kind: ActionKind, **more: Any) -> None:
        self.happened[kind] += 1
        action = Action(kind=kind, document=document.id, batch=document.batch, **more)
        self.world.act(document.dataset.plan.id, action)

    def _toggle_spare_dataset(self) -> float:
        """Create a knowledge base with documents, and delete it later."""
        identifier = f"6a1d9a2e-6c0b-4d5e-9a43-{self._spare:012}"
        if identifier in self.world.datasets:
            self.world.delete_dataset(identifier)
            self._spare += 1
            return self._random.uniform(10.0, 20.0)
        documents = tuple(draw_document(self._random) for _ in range(4))
        plan = DatasetPlan(
            identifier, name=f"spare {self._spare}", batches=(BatchPlan(queue=5.0, documents=documents),)
        )
        self.world.add_dataset(plan)
        self.happened["spare knowledge bases"] += 1
        return self._random.uniform(15.0, 40.0)
