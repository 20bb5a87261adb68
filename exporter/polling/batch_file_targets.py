"""Batch targets from batch files: polled while a file lists them, until they have been finished for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from exporter.polling.targets import BATCH_STATUS, Target, scan_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from exporter.polling.batch_files import BatchFiles
    from exporter.polling.poller import Poller

_log = structlog.get_logger(__name__)


class BatchFileTargets:
    """Keeps the targets of one server in sync with its batch files. Not thread-safe."""

    def __init__(self, files: BatchFiles, poller: Poller, *, configured: Collection[Target], retention: float) -> None:
        """``configured``: targets in the configuration itself, which no file removes. ``retention``: seconds."""
        self._files = files
        self._poller = poller
        self._configured = frozenset(configured)
        self._retention = retention
        self._listed: frozenset[Target] = frozenset()
        self._retired: set[Target] = set()

    def reconfigure(self, *, configured: Collection[Target], retention: float) -> None:
        """Apply a changed configuration. Call ``update`` afterwards."""
        self._configured = frozenset(configured)
        self._retention = retention
        self._retired &= self._named

    @property
    def problem_count(self) -> int:
        """Batch files that cannot be read, and patterns that match nothing. Can be read by any thread."""
        return self._files.problem_count

    @property
    def _named(self) -> frozenset[Target]:
        """The batches that files list and the configuration does not."""
        return self._listed - self._configured

    def lists(self, target: Target) -> bool:
        """Whether ``target`` is polled because a file lists it."""
        return target in self._listed and target not in self._configured and target not in self._retired

    def update(self) -> None:
        """Watch the batches that files newly list; unwatch those that they no longer list."""
        batches = self._files.update()
        if batches is None:
            return
        before = self._named
        self._listed = frozenset(Target(BATCH_STATUS, found.dataset_id, found.batch) for found in batches)
        named = self._named
        new, gone = named - before, before - named
        self._retired &= named
        datasets = {scan_of(target.dataset_id) for target in named} - self._configured
        self._poller.watch([*sorted(new), *sorted(datasets)])
        self._poller.unwatch(gone)
        if new or gone:
            _log.info("batch files read", server=self._poller.name, new=len(new), gone=len(gone), batches=len(named))

    def retire(self) -> None:
        """Unwatch batches that have been finished for the retention, even if files still list them."""
        over = {
            target
            for target in self._named - self._retired
            if (age := self._poller.store.finished_for(target.dataset_id, target.id)) is not None
            and age >= self._retention
        }
        self._retired |= over
        self._poller.unwatch(over)
