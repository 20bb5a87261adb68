"""Limits the documents that have series to ``limits.documents``.

Unfinished documents are shown first, then failed ones, then the newest. The others are only withheld from the
exposition: they are still polled, checked for stalls, and included in the sums of their batches and datasets.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from sortedcontainers import SortedList

from exporter.tracking.model import FINISHED, Document

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from exporter.tracking.model import Change, ChangeListener

_Key = tuple[str, str, str]
_Rank = tuple[int, float, str, str, str]

_IDLE_SHARE = 0.75
"""Fraction of the limit below which the documents are not sorted: sorting is expensive and not needed soon."""


class DocumentLimit:
    """Filters the changes between the stores and a listener: at most ``limit`` documents pass, over all servers.

    Thread-safe. The listener is called under a lock, once per change: it sees changes in order and never a part of one.
    """

    def __init__(self, listener: ChangeListener, limit: int) -> None:
        self._listener = listener
        self._limit = limit
        self._lock = threading.Lock()
        self._shown: dict[_Key, Document] = {}
        self._withheld: dict[_Key, Document] = {}
        self._collapsed: Counter[tuple[str, str]] = Counter()
        # Both sides, sorted; None while the number of documents is far below the limit.
        self._order: tuple[SortedList, SortedList] | None = None

    def changed(self, changes: Sequence[Change], *, durable: bool = False) -> None:  # noqa: ARG002 of the protocol
        """Pass on the visible part of ``changes`` and the documents that become visible or hidden because of them."""
        with self._lock:
            if self._order is None:
                if len(self._shown) + len(changes) <= self._limit:
                    self._show_all(changes)
                    self._listener.changed(changes)
                    return
                self._order = SortedList(map(_rank, self._shown.values())), SortedList()
            passed = self._filter(changes, *self._order)
            if passed:
                self._listener.changed(passed)
            if len(self._shown) < self._limit * _IDLE_SHARE:
                self._order = None

    def collapsed(self) -> dict[tuple[str, str], int]:
        """Number of withheld documents by server and dataset, without zeros."""
        with self._lock:
            return dict(+self._collapsed)

    def _show_all(self, changes: Iterable[Change]) -> None:
        """Record the documents among ``changes``, all of which are shown."""
        for old, new in changes:
            if isinstance(new, Document):
                self._shown[_key(new)] = new
            elif new is None and isinstance(old, Document):
                self._shown.pop(_key(old), None)

    def _filter(self, changes: Iterable[Change], shown: SortedList, withheld: SortedList) -> list[Change]:
        """Return the changes to pass on. ``shown`` and ``withheld`` are both sides, sorted, and are updated."""
        passed: list[Change] = []
        before: dict[_Key, Document | None] = {}
        for change in changes:
            document = change[0] if change[1] is None else change[1]
            if not isinstance(document, Document):
                passed.append(change)
                continue
            key = _key(document)
            before.setdefault(key, self._shown.get(key))
            if change[1] is None:
                self._remove(key, shown, withheld)
            else:
                self._update(key, document, shown, withheld)
        while len(shown) > self._limit:
            self._withhold(before, shown, withheld)
        while withheld and len(shown) < self._limit:
            self._show(before, shown, withheld)
        while withheld and shown and withheld[0] < shown[-1]:
            self._show(before, shown, withheld)
            self._withhold(before, shown, withheld)
        now = self._shown
        return passed + [(was, now.get(key)) for key, was in before.items() if was is not now.get(key)]

    def _update(self, key: _Key, document: Document, shown: SortedList, withheld: SortedList) -> None:
        """Update ``document`` on its current side. A new document starts as shown."""
        if key in self._withheld:
            _rerank(withheld, self._withheld[key], document)
            self._withheld[key] = document
        else:
            _rerank(shown, self._shown.get(key), document)
            self._shown[key] = document

    def _remove(self, key: _Key, shown: SortedList, withheld: SortedList) -> None:
        if key in self._withheld:
            withheld.remove(_rank(self._withheld.pop(key)))
            self._collapsed[key[:2]] -= 1
        elif key in self._shown:
            shown.remove(_rank(self._shown.pop(key)))

    def _withhold(self, before: dict[_Key, Document | None], shown: SortedList, withheld: SortedList) -> None:
        """Hide the least interesting shown document."""
        rank: _Rank = shown.pop()
        withheld.add(rank)
        key = rank[2:]
        document = self._withheld[key] = self._shown.pop(key)
        before.setdefault(key, document)
        self._collapsed[key[:2]] += 1

    def _show(self, before: dict[_Key, Document | None], shown: SortedList, withheld: SortedList) -> None:
        """Show the most interesting withheld document."""
        rank: _Rank = withheld.pop(0)
        shown.add(rank)
        key = rank[2:]
        before.setdefault(key, None)
        self._shown[key] = self._withheld.pop(key)
        self._collapsed[key[:2]] -= 1


def _key(document: Document) -> _Key:
    return document.server, document.dataset_id, document.document_id


def _rank(document: Document) -> _Rank:
    """Sort key that puts the most interesting document first. The ids make it unique."""
    status = document.progress.status
    group = 2 if status == "completed" else int(status in FINISHED)
    created = document.detail.created_at if document.detail else None
    return group, -(document.last_progress if created is None else created), *_key(document)


def _rerank(order: SortedList, old: Document | None, new: Document) -> None:
    before, after = None if old is None else _rank(old), _rank(new)
    if before != after:
        if before is not None:
            order.remove(before)
        order.add(after)
