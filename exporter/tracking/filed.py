"""Batches that files name: watched while they are named and not long finished."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from exporter.tracking.targets import Target

if TYPE_CHECKING:
    from collections.abc import Collection

    from exporter.tracking.batchfiles import BatchFiles
    from exporter.tracking.poller import Poller

_log = structlog.get_logger(__name__)


class FiledBatches:
    """Keeps the targets of one server in step with its batch files. For one thread."""

    def __init__(self, files: BatchFiles, poller: Poller, *, configured: Collection[Target], retention: float) -> None:
        """``configured``: targets that the config names itself, which no file ends. ``retention``: seconds."""
        self._files = files
        self._poller = poller
        self._configured = frozenset(configured)
        self._retention = retention
        self._listed: frozenset[Target] = frozenset()
        self._retired: set[Target] = set()

    def change(self, *, configured: Collection[Target], retention: float) -> None:
        """Go on with another configuration. ``look`` again after it."""
        self._configured = frozenset(configured)
        self._retention = retention
        self._retired &= self._named

    @property
    def _named(self) -> frozenset[Target]:
        """The batches that files name and the config does not."""
        return self._listed - self._configured

    def holds(self, target: Target) -> bool:
        """Whether ``target`` is watched because a file names it."""
        return target in self._listed and target not in self._configured and target not in self._retired

    def look(self) -> None:
        """Watch what the files newly name, and no more what they name no longer."""
        batches = self._files.look()
        if batches is None:
            return
        before = self._named
        self._listed = frozenset(Target("batch", found.dataset_id, found.batch) for found in batches)
        named = self._named
        new, gone = named - before, before - named
        self._retired &= named
        datasets = {Target("dataset", target.dataset_id, target.dataset_id) for target in named} - self._configured
        self._poller.watch([*sorted(new), *sorted(datasets)])
        self._poller.leave(gone)
        if new or gone:
            _log.info("batch files read", server=self._poller.name, new=len(new), gone=len(gone), batches=len(named))

    def retire(self) -> None:
        """Drop batches that have been finished for the retention, although files still name them."""
        over = {
            target
            for target in self._named - self._retired
            if (age := self._poller.store.finished_for(target.dataset_id, target.id)) is not None
            and age >= self._retention
        }
        self._retired |= over
        self._poller.leave(over)
