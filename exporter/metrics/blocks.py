"""Stores the objects of one type in blocks of fixed slots, so that a change costs the rendering of one block.

Blocks fill in the order of arrival, so that the documents of a batch share blocks. The slots of removed objects are
reused, and blocks that stay empty are removed. A block records which of its families must be rendered again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exporter.metrics.families import identity_labels, line_renderer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from exporter.metrics.families import Family, Read
    from exporter.metrics.gzip import Piece
    from exporter.tracking.model import Change, Tracked

SLOTS = 128
"""Objects per block: more make a change more expensive, fewer make more pieces to join."""


class Block:
    """Some objects and the rendered pieces of their families, indexed like the families of the store."""

    __slots__ = ("dirty", "dirty_since", "free", "identities", "number", "objects", "pieces")

    def __init__(self, number: int, families: int) -> None:
        self.number = number
        self.identities: list[str] = [""] * SLOTS
        self.objects: list[Tracked | None] = [None] * SLOTS
        self.free = list(range(SLOTS - 1, -1, -1))
        self.pieces: list[Piece | None] = [None] * families
        self.dirty = 0
        self.dirty_since = 0.0


class RenderJob:
    """A copy of a block and of what was dirty in it at one instant. Empty: the block was removed from the store."""

    __slots__ = ("block", "dirty", "empty", "identities", "objects")

    def __init__(self, block: Block) -> None:
        self.block = block
        self.dirty = block.dirty
        self.empty = len(block.free) == SLOTS
        self.identities = block.identities[:]
        self.objects = block.objects[:]


class BlockStore:
    """The blocks of one type of object. Not thread-safe: the caller lets in one thread at a time."""

    def __init__(self, of: type[Tracked], families: Iterable[Family]) -> None:
        self.families = tuple(family for family in families if family.of is of)
        self._identity = identity_labels(of)
        self._renderers = [(family.part, line_renderer(family)) for family in self.families]
        self._reads_by_part = _reads_by_part(self.families)
        self._all_families = (1 << len(self.families)) - 1
        self._slots: dict[str, int] = {}
        self._blocks: dict[int, Block] = {}
        self._open: dict[int, Block] = {}
        self._dirty: dict[int, Block] = {}
        self._next = 0

    def change(self, change: Change, now: float) -> None:
        """Replace the old object of ``change`` with the new one and mark the families that differ as dirty."""
        old, new = change
        identity = self._identity(old if new is None else new)
        slot = self._slots.get(identity)
        if new is None:
            if slot is not None:
                self._remove(identity, slot, now)
        elif slot is None:
            self._add(identity, new, now)
        else:
            block = self._blocks[slot // SLOTS]
            before = block.objects[slot % SLOTS]
            if before is not new:
                block.objects[slot % SLOTS] = new
                self._mark_dirty(block, self._difference(before, new), now)

    def jobs(self, before: float | None = None) -> Iterator[RenderJob]:
        """Take the blocks that have been dirty since ``before`` (None: all dirty blocks), oldest first."""
        while self._dirty:
            number, block = next(iter(self._dirty.items()))
            if before is not None and block.dirty_since > before:
                return
            del self._dirty[number]
            job = RenderJob(block)
            block.dirty = 0
            if job.empty:
                del self._blocks[number], self._open[number]
            yield job

    def render(self, job: RenderJob) -> Iterator[tuple[int, list[str]]]:
        """The dirty families of ``job`` by index, with their lines. Needs no lock: a job is a copy."""
        objects = [obj for obj in job.objects if obj is not None]
        identities = [identity for identity in job.identities if identity]
        parts: dict[Read, list[Any]] = {}
        for position, (part, render) in enumerate(self._renderers):
            if job.dirty >> position & 1:
                if part not in parts:
                    parts[part] = [part(obj) for obj in objects]
                yield position, render(identities, parts[part])

    def _add(self, identity: str, new: Tracked, now: float) -> None:
        if self._open:
            block = next(reversed(self._open.values()))
        else:
            block = self._blocks[self._next] = self._open[self._next] = Block(self._next, len(self.families))
            self._next += 1
        slot = block.free.pop()
        if not block.free:
            del self._open[block.number]
        block.identities[slot], block.objects[slot] = identity, new
        self._slots[identity] = block.number * SLOTS + slot
        self._mark_dirty(block, self._all_families, now)

    def _remove(self, identity: str, slot: int, now: float) -> None:
        block = self._blocks[slot // SLOTS]
        del self._slots[identity]
        block.identities[slot % SLOTS], block.objects[slot % SLOTS] = "", None
        block.free.append(slot % SLOTS)
        self._open[block.number] = block
        self._mark_dirty(block, self._all_families, now)

    def _mark_dirty(self, block: Block, families: int, now: float) -> None:
        if families and not block.dirty:
            block.dirty_since = now
            self._dirty[block.number] = block
        block.dirty |= families

    def _difference(self, old: Any, new: Any) -> int:
        """The families whose samples differ between the two objects, one bit each."""
        different = 0
        for part, families, reads in self._reads_by_part:
            before, after = part(old), part(new)
            if before is after or before == after:
                continue
            if before is None or after is None:
                different |= families
                continue
            for bit, read in reads:
                if read(before) != read(after):
                    different |= bit
        return different


def _reads_by_part(families: Iterable[Family]) -> list[tuple[Read, int, list[tuple[int, Read]]]]:
    """The families grouped by the part that they read: the part, the bits of its families, each bit with its reader."""
    groups: dict[Read, list[tuple[int, Read]]] = {}
    for position, family in enumerate(families):
        groups.setdefault(family.part, []).append((1 << position, family.read))
    return [(part, sum(bit for bit, _ in reads), reads) for part, reads in groups.items()]
