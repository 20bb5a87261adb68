"""Persists the latest documents, batches and event counters in an SQLite file, so that they survive a restart.

If the file cannot be used, the exporter continues without it, logs the problem once with a remedy, and keeps retrying.
"""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING

import structlog

from exporter.state import rows
from exporter.state.rows import Kept, key_of
from exporter.state.state_database import StateDatabase
from exporter.tracking import SavedObjects
from exporter.tracking.model import Batch, Document

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from exporter.clock import Clock
    from exporter.state.rows import Key, Row
    from exporter.tracking.model import Change

FORGOTTEN_AFTER = 30 * 86_400.0
"""Seconds after which an unclaimed row is deleted."""

GRACE = 3_600.0
"""Seconds after the start in which nothing is deleted: after a long stop, some targets are not polled yet."""

CLAIMED_FOR = 86_400.0
"""Seconds for which a claim is valid, so that claims cause few writes."""

GONE_AT_MOST = 100_000
"""Most deletions that wait for a failing file. The rows of older ones are deleted later, as unclaimed."""

_log = structlog.get_logger(__name__)


class StateFile:
    """The state file and the changes waiting to be written to it. Thread-safe. Never raises because of the file."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Does not open the file yet. Changes recorded before ``open`` wait for the first ``save``."""
        self._clock = clock
        self._using = threading.Lock()  # guards the file; acquired before the next lock
        self._noting = threading.Lock()  # guards the waiting changes
        self._file = StateDatabase(path, clock)
        self._since = clock.monotonic()
        self._in_log = False
        self._changed: dict[Key, Kept] = {}
        self._gone: dict[Key, None] = {}
        self._refused_told = False
        self.last_save: float | None = None
        """Unix seconds of the last successful ``save``."""
        self.last_save_successful: bool | None = None
        """Whether the last ``save`` succeeded; None before the first."""

    def open(self) -> None:
        """Open or create the file. A damaged one is set aside and replaced."""
        with self._using:
            self._file.open()

    def restore(self, server: str) -> SavedObjects:
        """All saved objects of ``server``. Ages continue as if there had been no restart; ETA milestones are lost."""
        with self._using:
            found = self._read(server)
            with self._noting:
                found |= {key: kept for key, kept in self._changed.items() if key[0] == server}
                for key in self._gone:
                    found.pop(key, None)
        wall, monotonic = self._clock.time(), self._clock.monotonic()
        shared: dict[object, object] = {}
        memory = SavedObjects([], [], [])
        for kept in found.values():
            match rows.revive(kept, wall=wall, monotonic=monotonic, shared=shared):
                case Document() as document:
                    memory.documents.append(document)
                case Batch() as batch:
                    memory.batches.append(batch)
                case activity:
                    memory.counters.append(activity)
        return memory

    def changed(self, changes: Sequence[Change], *, durable: bool = False) -> None:
        """Record the changes that the exposition receives.

        ``durable``: written before this returns, for counted events: an exporter that is killed right afterwards must
        neither count them again nor let a counter decrease. All other changes, and all changes while the file fails,
        wait for ``save``.
        """
        keys: list[Key] = []
        with self._noting:
            for old, new in changes:
                kept = old if new is None else new
                if not isinstance(kept, Kept):
                    continue
                key = key_of(kept)
                keys.append(key)
                if new is None:
                    self._changed.pop(key, None)
                    self._gone[key] = None
                    if len(self._gone) > GONE_AT_MOST:
                        del self._gone[next(iter(self._gone))]
                else:
                    self._gone.pop(key, None)
                    self._changed[key] = kept
        # Only ``save`` retries a failing file: polls must not wait for it each time.
        if durable and self._file.connection is not None:
            with self._using:
                self._write(keys)

    def save(self) -> bool:
        """Write all waiting changes in one transaction. False if that failed: they continue to wait."""
        with self._using:
            saved = self._save() or (self._file.damaged and self._save())
            self.last_save_successful = saved
            if saved:
                self.last_save = self._clock.time()
                self._file.works()
        return saved

    def claim(self, known: Iterable[Kept]) -> bool:
        """Claim the rows of ``known``, all objects of all servers; once per hour is enough. False if no file is usable.

        Rows that have not been claimed for 30 days are deleted, such as those of batches removed from the
        configuration. Objects that have no row, because the file was lost, are written with the next ``save``.
        """
        claimed = {key_of(kept): kept for kept in known}  # may take locks whose holders wait for the file
        now = self._clock.time()
        with self._using:
            if self._file.connection is None:
                return False
            try:
                seen = rows.last_seen(self._file.connection)
                aging = [key for key in claimed if seen.get(key, now) < now - CLAIMED_FOR]
                forgotten = [key for key, when in seen.items() if key not in claimed and when < now - FORGOTTEN_AFTER]
                if self._clock.monotonic() - self._since < GRACE:
                    forgotten = []
                if aging or forgotten:
                    rows.claim(self._file.connection, aging, now, forgotten)
                    self._in_log = True
            except sqlite3.Error as error:
                self._file.fail(error)
                return False
            self._put_back({key: kept for key, kept in claimed.items() if key not in seen}, {})
        return True

    def close(self) -> None:
        """Save, and close the file."""
        self.save()
        with self._using:
            self._file.close()

    def _save(self) -> bool:
        self._file.renew()
        return self._write(None) and self._copy_log()

    def _write(self, keys: Sequence[Key] | None) -> bool:
        """Write the waiting changes of ``keys``; None: all waiting changes."""
        if self._file.connection is None:
            return False
        with self._noting:
            if keys is None:
                changed, self._changed = self._changed, {}
                gone, self._gone = self._gone, {}
            else:
                changed = {key: self._changed.pop(key) for key in keys if key in self._changed}
                gone = {key: self._gone.pop(key) for key in keys if key in self._gone}
        if not changed and not gone:
            return True
        try:
            rows.write(self._file.connection, self._rows(changed), filter(rows.is_storable, gone))
        except sqlite3.Error as error:
            self._put_back(changed, gone)
            self._file.fail(error)
            return False
        self._in_log = True
        return True

    def _rows(self, changed: dict[Key, Kept]) -> Iterator[Row]:
        now = self._clock.time()
        for kept in changed.values():
            try:
                yield rows.encode(kept, now)
            except (OverflowError, ValueError) as error:
                if not self._refused_told:
                    self._refused_told = True
                    server, kind, dataset_id, id_ = map(ascii, key_of(kept))
                    _log.warning(
                        f"{kind} cannot be saved: it will count as new after a restart; this warning is logged once",
                        server=server,
                        dataset_id=dataset_id,
                        id=id_,
                        error=str(error),
                    )

    def _copy_log(self) -> bool:
        """Checkpoint SQLite's log into the file and sync it: from here on the data survives a power failure."""
        if self._in_log and self._file.connection is not None:
            try:
                self._file.connection.execute("PRAGMA wal_checkpoint").fetchone()
            except sqlite3.Error as error:
                self._file.fail(error)
                return False
        self._in_log = False
        return True

    def _read(self, server: str) -> dict[Key, Kept]:
        found: dict[Key, Kept] = {}
        unreadable: list[str] = []
        if self._file.readable is None:
            return found
        try:
            for key, packed, checksum in rows.read(self._file.readable, server):
                try:
                    kept = rows.decode(key, packed, checksum)
                except rows.UnreadableRow as error:
                    unreadable.append(str(error))
                else:
                    found[key_of(kept)] = kept
        except sqlite3.Error as error:
            self._file.fail(error)
        if unreadable:
            _log.warning(
                "rows of the state file could not be read and are ignored",
                path=self._file.path,
                server=server,
                rows=len(unreadable),
                first=unreadable[0],
            )
        return found

    def _put_back(self, changed: dict[Key, Kept], gone: dict[Key, None]) -> None:
        """Let the changes wait again, unless newer ones wait by now."""
        with self._noting:
            newer = self._changed.keys() | self._gone.keys()
            self._changed |= {key: kept for key, kept in changed.items() if key not in newer}
            self._gone |= {key: None for key in gone if key not in newer}
