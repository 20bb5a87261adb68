"""The page: the known state of Dify, kept deflated and up to date, joined with the exporter's own metrics at a scrape.

There are two locks. One guards the objects and is held for microseconds, also by polls. The other guards the rendered
pieces; it is held while blocks are flushed (rendered and deflated) and while a page is assembled. A poll never waits
for the second lock.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from exporter.metrics.blocks import BlockStore
from exporter.metrics.catalog import catalog
from exporter.metrics.families import IDENTITY
from exporter.metrics.formats import Format
from exporter.metrics.gzip import Deflater, Page, Piece, Run, join

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exporter.metrics.blocks import Block, RenderJob
    from exporter.metrics.families import Family
    from exporter.metrics.self_metrics import SelfMetrics
    from exporter.tracking.model import Change

_GROUP_SIZE = 32
"""Number of blocks whose pieces of one family are kept joined."""

_FLUSH_BUDGET = 0.01
"""Maximum seconds that one poll spends on flushing, beyond the block in progress; the next poll continues."""


class _RenderedPieces:
    """The rendered pieces of a block store, by block group and family; joined again only where something changed."""

    def __init__(self, block_store: BlockStore) -> None:
        self.block_store = block_store
        self.series = 0
        self.runs: list[Run | None] = [None] * len(block_store.families)
        self._groups: dict[int, dict[int, Block]] = {}
        self._joined: dict[int, list[Run | None]] = {}
        self._stale: dict[int, set[int]] = {position: set() for position in range(len(block_store.families))}

    def flush(self, job: RenderJob, deflater: Deflater) -> None:
        """Render and deflate the dirty families of ``job``."""
        number = job.block.number
        blocks = self._groups.setdefault(number // _GROUP_SIZE, {})
        blocks[number] = job.block
        pieces = job.block.pieces
        for position, lines in self.block_store.render(job):
            before = pieces[position]
            each = len(self.block_store.families[position].states) or 1
            after = deflater.piece("".join(lines).encode(), len(lines) * each) if lines else None
            if before is not None or after is not None:
                self.series += (after.samples if after else 0) - (before.samples if before else 0)
                pieces[position] = after
                self._stale[position].add(number // _GROUP_SIZE)
        if job.empty:
            del blocks[number]

    def join(self) -> bool:
        """Bring ``runs`` up to date. Returns False when nothing had changed."""
        changed = False
        for position, stale in self._stale.items():
            if stale:
                for group in stale:
                    joined = self._joined.setdefault(group, [None] * len(self.runs))
                    joined[position] = join(block.pieces[position] for block in self._groups[group].values())
                stale.clear()
                self.runs[position] = join(joined[position] for joined in self._joined.values())
                changed = True
        for group in [group for group, blocks in self._groups.items() if not blocks]:
            del self._groups[group]
            self._joined.pop(group, None)  # absent when no block of the group was ever flushed
        return changed


class Exposition:
    """The page that Prometheus scrapes. Polls call ``changed`` and ``flush``, scrapes call ``page``."""

    def __init__(
        self,
        *,
        self_metrics: SelfMetrics,
        document_name: bool = True,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``document_name``: whether document names appear. ``monotonic``: clock in seconds, for the age of changes."""
        families = catalog(document_name=document_name)
        self._self_metrics = self_metrics
        self._monotonic = monotonic
        self._block_stores: dict[type, BlockStore] = {of: BlockStore(of, families) for of in IDENTITY}
        self._rendered = [_RenderedPieces(block_store) for block_store in self._block_stores.values()]
        self._objects_lock = threading.Lock()
        self._pieces_lock = threading.Lock()
        self._scrapes_waiting = 0
        self._deflater = Deflater()
        self._headers = {fmt: {family.name: self._header(family, fmt) for family in families} for fmt in Format}
        self._order = [
            (family, rendered, rendered.block_store.families.index(family))
            for family in families
            for rendered in self._rendered
            if family in rendered.block_store.families
        ]
        self._domain: dict[Format, Run | None] = {}
        self._end = self._deflater.piece(b"# EOF\n")

    def changed(self, changes: Sequence[Change], *, durable: bool = False) -> None:  # noqa: ARG002 of the protocol
        """Apply all changes of one answer at once, so that no page shows only some of them.

        Objects of a type without families in the catalog are ignored.
        """
        now = self._monotonic()
        with self._objects_lock:
            for change in changes:
                block_store = self._block_stores.get(type(change[0] if change[1] is None else change[1]))
                if block_store is not None:
                    block_store.change(change, now)

    def flush(self, older_than: float = 0.1) -> None:
        """Flush the blocks that have been dirty for ``older_than`` seconds, as many as fit into a short turn.

        Call it after each poll and at each tick. It returns at once while a scrape or another poll is flushing.
        """
        if not self._pieces_lock.acquire(blocking=False):
            return
        try:
            now = self._monotonic()
            before, end = now - older_than, now + _FLUSH_BUDGET
            for rendered in self._rendered:
                while not self._scrapes_waiting and self._monotonic() <= end:
                    with self._objects_lock:
                        job = next(rendered.block_store.jobs(before), None)
                    if job is None:
                        break
                    rendered.flush(job, self._deflater)
        finally:
            self._pieces_lock.release()

    def page(self, fmt: Format) -> Page:
        """The page at this instant; it includes every answer applied before the call."""
        with self._objects_lock:
            self._scrapes_waiting += 1
        with self._pieces_lock:
            with self._objects_lock:
                self._scrapes_waiting -= 1
            self._flush_all()
            domain = self._join(fmt)
        self_metrics = Deflater().piece(self._self_metrics.render(fmt))
        end = self._end if fmt is Format.OPENMETRICS else None
        runs = (domain, join((self_metrics, end)))
        return Page(*[run for run in runs if run is not None])

    def series(self) -> int:
        """Number of series of objects: those of Dify and of targets."""
        with self._pieces_lock:
            self._flush_all()
            return sum(rendered.series for rendered in self._rendered)

    def series_rendered(self) -> int:
        """Number of object series rendered so far; never waits."""
        return sum(rendered.series for rendered in self._rendered)

    def _flush_all(self) -> None:
        # All copies are made under one lock, so that objects changed together appear together.
        with self._objects_lock:
            jobs_by_type = [(rendered, list(rendered.block_store.jobs())) for rendered in self._rendered]
        for rendered, jobs in jobs_by_type:
            for job in jobs:
                rendered.flush(job, self._deflater)

    def _join(self, fmt: Format) -> Run | None:
        """The part of the page that is rendered from objects; joined again only after a change."""
        joined = [rendered.join() for rendered in self._rendered]
        if any(joined):
            self._domain.clear()
        if fmt not in self._domain:
            headers = self._headers[fmt]
            self._domain[fmt] = join(
                part
                for family, rendered, position in self._order
                if (run := rendered.runs[position]) is not None
                for part in (headers[family.name], run)
            )
        return self._domain[fmt]

    def _header(self, family: Family, fmt: Format) -> Piece:
        name = family.name
        if fmt is Format.OPENMETRICS and family.type == "counter":
            name = name.removesuffix("_total")
        return self._deflater.piece(f"# HELP {name} {family.help}\n# TYPE {name} {family.type}\n".encode())
