"""Saves the latest documents, batches and event counters in an SQLite file, so that they survive a restart.

If the file cannot be used, the exporter continues without it, logs the problem once with a remedy, and keeps retrying.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import structlog

from exporter.state import rows
from exporter.state.database import StateDatabase
from exporter.state.rows import SavedObject, key_of
from exporter.tracking import Batch, DatasetCounters, Document, SavedObjects, SeenLists

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from exporter.clock import Clock
    from exporter.state.rows import Key, Row, UndecodedRow
    from exporter.tracking import Change

DELETE_AFTER = 30 * 86_400.0
"""Seconds after which an unclaimed row is deleted."""

GRACE_PERIOD = 3_600.0
"""Seconds after the start in which nothing is deleted: after a long stop, some targets are not polled yet."""

CLAIM_EVERY = 86_400.0
"""Seconds after which a row is claimed again, so that claims cause few writes."""

MAX_REMOVED = 10_000
"""Maximum number of removed objects that a failed ``save`` leaves waiting. The rows of others remain as they are."""

SYNC_EVERY = 30.0
"""Seconds between two syncs of the file. What was saved since the last one survives a kill, but no power failure."""

T = TypeVar("T", Document, Batch, DatasetCounters, SeenLists)

_log = structlog.get_logger(__name__)


class _Waiting(NamedTuple):
    """An object to be written; ``removed``: it has left the page, and its row stays for the case that it returns."""

    saved: SavedObject
    removed: bool


class StateFile:
    """The state file and the changes waiting to be written to it. Thread-safe. Never raises because of the file."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Does not open the file yet. Changes recorded before ``open`` wait for the first ``save``."""
        self._clock = clock
        self._file_lock = threading.Lock()  # acquired before the next lock
        self._waiting_lock = threading.Lock()
        self._database = StateDatabase(path, clock)
        self._waiting: dict[Key, _Waiting] = {}
        self._unsynced = False
        self._synced_at = -SYNC_EVERY
        self._started = clock.monotonic()
        self._skip_logged = False
        self.last_save: float | None = None
        """Unix seconds of the last successful ``save``."""
        self.last_save_successful: bool | None = None
        """Whether the last ``save`` succeeded; None before the first."""

    def open(self) -> None:
        """Open or create the file. A damaged one is set aside and replaced."""
        with self._file_lock:
            self._database.open()

    def restore(self, server: str) -> SavedObjects:
        """All saved objects of ``server``. Ages continue as if there had been no restart; ETA milestones are lost."""
        with self._file_lock:
            found = self._read(server, lambda connection: rows.read(connection, server))
            with self._waiting_lock:
                for key, waiting in self._waiting.items():
                    if waiting.removed:
                        found.pop(key, None)
                    elif key[0] == server:
                        found[key] = waiting.saved
        objects = self._as_watched(found.values())
        return SavedObjects(
            [saved for saved in objects if isinstance(saved, Document)],
            [saved for saved in objects if isinstance(saved, Batch)],
            [saved for saved in objects if isinstance(saved, DatasetCounters)],
            [saved for saved in objects if isinstance(saved, SeenLists)],
        )

    def recall(self, server: str, kind: type[T], dataset_id: str, ids: Collection[str] | None) -> list[T]:
        """The objects with these ids as they were last seen, removed ones included, as far as they have a row.

        ``ids`` None: all removed ones of the dataset. Ages continue as if there had been no break.
        """
        found: dict[Key, SavedObject] = {}
        # While the file cannot be used, ``save`` may wait for it under the lock.
        with self._file_lock if self._database.readable else contextlib.nullcontext():
            found = self._read(server, lambda connection: rows.read_objects(connection, kind, server, dataset_id, ids))
            with self._waiting_lock:
                if ids is None:
                    keys = [key for key, waiting in self._waiting.items() if waiting.removed and key[0] == server]
                else:
                    keys = rows.keys_of(kind, server, dataset_id, ids)
                found |= {key: self._waiting[key].saved for key in keys if key in self._waiting}
        objects = (saved for saved in found.values() if saved.dataset_id == dataset_id)
        return [saved for saved in self._as_watched(objects) if isinstance(saved, kind)]

    def changed(self, changes: Sequence[Change], *, durable: bool = False) -> None:
        """Record the changes that the exposition receives.

        ``durable``: written before this returns, for counted events: an exporter that is killed right afterwards must
        neither count them again nor let a counter decrease. All other changes, and all changes while the file fails,
        wait for ``save``.
        """
        keys: list[Key] = []
        with self._waiting_lock:
            for old, new in changes:
                saved = old if new is None else new
                if isinstance(saved, SavedObject):
                    keys.append(key_of(saved))
                    self._waiting[keys[-1]] = _Waiting(saved, removed=new is None)
        # Only ``save`` retries a failing file: polls must not wait for it each time.
        if durable and self._database.connection is not None:
            with self._file_lock:
                self._write(keys)

    def save(self, *, sync: bool = False) -> bool:
        """Write all waiting changes in one transaction. False if that failed: they continue to wait.

        ``sync``: sync the file even if that was done less than ``SYNC_EVERY`` seconds ago.
        """
        with self._file_lock:
            successful = self._save(sync=sync) or (self._database.damaged and self._save(sync=sync))
            self.last_save_successful = successful
            if successful:
                self.last_save = self._clock.time()
                self._database.report_success()
            else:
                self._limit_removed()
        return successful

    def claim(self, known: Iterable[SavedObject]) -> bool:
        """Claim the rows of ``known``, all objects of all servers; once per hour is enough. False if no file is usable.

        A claim records that the object of a row is still known. Rows that have not been claimed for 30 days are
        deleted, such as those of batches removed from the configuration. Objects that have no row, because the file was
        lost, are written with the next ``save``.
        """
        claimed = {key_of(saved): saved for saved in known}  # may take locks whose holders wait for the file
        now = self._clock.time()
        with self._file_lock:
            if self._database.connection is None:
                return False
            try:
                seen = rows.last_seen(self._database.connection)
                due = [key for key in claimed if seen.get(key, now) < now - CLAIM_EVERY]
                old = [key for key, when in seen.items() if key not in claimed and when < now - DELETE_AFTER]
                unclaimed = old if self._clock.monotonic() - self._started >= GRACE_PERIOD else []
                if due or unclaimed:
                    rows.claim(self._database.connection, due, now, unclaimed)
            except sqlite3.Error as error:
                self._database.report_failure(error)
                return False
            with self._waiting_lock:
                for key in claimed.keys() - seen.keys() - self._waiting.keys():
                    self._waiting[key] = _Waiting(claimed[key], removed=False)
        return True

    def close(self) -> None:
        """Save, and close the file."""
        self.save(sync=True)
        with self._file_lock:
            self._database.close()

    def _save(self, *, sync: bool) -> bool:
        self._database.reopen()
        if not self._write(None):
            return False
        is_due = sync or self._clock.monotonic() - self._synced_at >= SYNC_EVERY
        return self._sync() if is_due and self._unsynced else True

    def _write(self, keys: Sequence[Key] | None) -> bool:
        """Write the waiting changes of ``keys``; None: all waiting changes."""
        if self._database.connection is None:
            return False
        with self._waiting_lock:
            if keys is None:
                changes, self._waiting = self._waiting, {}
            else:
                changes = {key: self._waiting.pop(key) for key in keys if key in self._waiting}
        if not changes:
            return True
        try:
            rows.write(self._database.connection, self._encode(changes.values()))
        except sqlite3.Error as error:
            with self._waiting_lock:
                self._waiting = changes | self._waiting  # what changed in the meantime is newer
            self._database.report_failure(error)
            return False
        self._unsynced = True
        return True

    def _encode(self, objects: Iterable[_Waiting]) -> Iterator[Row]:
        now = self._clock.time()
        for saved, removed in objects:
            try:
                yield rows.encode(saved, now, removed=removed)
            except (OverflowError, ValueError) as error:
                if not self._skip_logged:
                    self._skip_logged = True
                    server, kind, dataset_id, id_ = map(ascii, key_of(saved))
                    _log.warning(
                        f"{kind} cannot be saved: it will count as new after a restart; this warning is logged once",
                        server=server,
                        dataset_id=dataset_id,
                        id=id_,
                        error=str(error),
                    )

    def _sync(self) -> bool:
        """Copy SQLite's log into the file and sync it: from here on the data survives a power failure."""
        if self._database.connection is None:
            return False
        try:
            self._database.connection.execute("PRAGMA wal_checkpoint").fetchone()
        except sqlite3.Error as error:
            self._database.report_failure(error)
            return False
        self._unsynced, self._synced_at = False, self._clock.monotonic()
        return True

    def _limit_removed(self) -> None:
        with self._waiting_lock:
            removed = [key for key, waiting in self._waiting.items() if waiting.removed]
            for key in removed[:-MAX_REMOVED]:
                del self._waiting[key]

    def _as_watched(self, objects: Iterable[SavedObject]) -> list[SavedObject]:
        """The objects as if they had been watched without a break."""
        wall, monotonic = self._clock.time(), self._clock.monotonic()
        shared: dict[object, object] = {}
        return [rows.restore(saved, wall=wall, monotonic=monotonic, shared=shared) for saved in objects]

    def _read(
        self, server: str, query: Callable[[sqlite3.Connection], Iterable[UndecodedRow]]
    ) -> dict[Key, SavedObject]:
        """The objects of the rows that ``query`` returns, without those that cannot be read."""
        found: dict[Key, SavedObject] = {}
        unreadable: list[str] = []
        if self._database.readable is None:
            return found
        try:
            for key, packed, checksum in query(self._database.readable):
                try:
                    saved = rows.decode(key, packed, checksum)
                except rows.UnreadableRow as error:
                    unreadable.append(str(error))
                else:
                    found[key_of(saved)] = saved
        except sqlite3.Error as error:
            self._database.report_failure(error)
        if unreadable:
            _log.warning(
                "rows of the state file could not be read and are ignored",
                path=str(self._database.path),
                server=server,
                rows=len(unreadable),
                first=unreadable[0],
            )
        return found
