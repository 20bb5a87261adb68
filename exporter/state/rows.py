"""The rows of the state file: how objects are encoded, and which rows are accepted when they are read."""

from __future__ import annotations

import contextlib
import zlib
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from exporter.dify.lenient import decode_leniently, prepare
from exporter.tracking.counters import PHASE_BOUNDS
from exporter.tracking.model import DISPLAY_STATUSES, STATUSES, Batch, DatasetCounters, Document, SeenLists

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Iterator

SavedObject = Document | Batch | DatasetCounters | SeenLists
"""Objects that survive a restart. All others are known again after the first poll."""

Key = tuple[str, str, str, str]
"""Server, kind, dataset id, and the id of the document or batch."""

Row = tuple[str, str, str, str, float, bool, int, bytes]
"""Key, Unix seconds of the last write or claim, whether the object was removed, checksum, object.

The row of a removed object stays, so that the object continues from it should it return.
"""

_TYPES: dict[str, type[SavedObject]] = {
    "document": Document,
    "batch": Batch,
    "activity": DatasetCounters,
    "lists": SeenLists,
}
prepare(*_TYPES.values())

_encode = msgspec.msgpack.Encoder().encode

_NAMES = {saved_type: name for name, saved_type in _TYPES.items()}

UndecodedRow = tuple[Key | None, object, object]
"""Key, object and checksum. Key None: the key is damaged."""

_SELECT = "SELECT server, kind, dataset_id, id, object, checksum FROM tracked"
_IDS = 500
"""Ids per query: SQLite limits the parameters of a statement."""

_WHERE = "WHERE server = ? AND kind = ? AND dataset_id = ? AND id = ?"


class UnreadableRow(Exception):
    """The row is damaged or was written by an incompatible version."""


def key_of(saved: SavedObject) -> Key:
    """The key of the object's row."""
    if isinstance(saved, Document):
        return saved.server, "document", saved.dataset_id, saved.document_id
    if isinstance(saved, Batch):
        return saved.server, "batch", saved.dataset_id, saved.batch
    if isinstance(saved, SeenLists):
        return saved.server, "lists", saved.dataset_id, ""
    return saved.server, "activity", saved.dataset_id, ""


def keys_of(kind: type[SavedObject], server: str, dataset_id: str, ids: Iterable[str]) -> list[Key]:
    """The keys of objects of one dataset, as far as there can be rows with them."""
    keys = ((server, _NAMES[kind], dataset_id, id_) for id_ in ids)
    return [key for key in keys if _is_storable(key)]


def encode(saved: SavedObject, now: float, *, removed: bool = False) -> Row:
    """Encode the object as MessagePack, with a CRC-32 because SQLite does not detect a flipped bit.

    Values that only make sense in the running process are omitted. Raises OverflowError or ValueError for a number or
    a text that cannot be encoded, such as an integer of more than 64 bits.
    """
    if isinstance(saved, Document):
        saved = replace(saved, last_progress_monotonic=0.0)
    elif isinstance(saved, Batch):
        saved = replace(saved, last_progress_monotonic=0.0, milestones=())
    packed = _encode(saved)
    return *key_of(saved), now, removed, zlib.crc32(packed), packed


def decode(key: Key | None, packed: object, checksum: object) -> SavedObject:
    """Decode the object of a row. Raises UnreadableRow if it cannot be trusted.

    Numbers out of range, which earlier versions saved as the API returned them, become None.
    """
    saved_type = _TYPES.get(key[1]) if key else None
    if saved_type is None or not isinstance(packed, bytes) or zlib.crc32(packed) != checksum:
        raise UnreadableRow("damaged")
    try:
        saved: SavedObject = decode_leniently(msgspec.msgpack.decode, packed, saved_type, _ignore)
    except msgspec.MsgspecError as error:
        raise UnreadableRow(f"written by another version: {error}") from None
    if key_of(saved) != key:
        raise UnreadableRow("damaged: it does not match its key")
    if not _is_known(saved):
        raise UnreadableRow("written by another version: unknown statuses or buckets")
    return saved


def _ignore(_field: str) -> None:
    """What is unknown after a restart is known again after the next poll."""


def restore(saved: SavedObject, *, wall: float, monotonic: float, shared: dict[object, Any]) -> SavedObject:
    """The object as if it had been watched without a break: its age continues.

    ``shared`` deduplicates equal strings and rules of many objects, as in objects that come from answers.
    """
    if isinstance(saved, DatasetCounters | SeenLists):
        return saved
    server = shared.setdefault(saved.server, saved.server)
    dataset_id = shared.setdefault(saved.dataset_id, saved.dataset_id)
    # A wall clock that was set back would yield negative ages; a time before 1970 is none.
    age = wall - saved.last_progress
    last_progress = monotonic - (age if 0 <= age <= wall else 0.0)
    if isinstance(saved, Batch):
        return replace(saved, server=server, dataset_id=dataset_id, last_progress_monotonic=last_progress)
    batch, detail = shared.setdefault(saved.batch, saved.batch), saved.detail
    if detail is not None and detail.rule is not None:
        detail = replace(detail, rule=shared.setdefault(detail.rule, detail.rule))
    return replace(
        saved, server=server, dataset_id=dataset_id, batch=batch, detail=detail, last_progress_monotonic=last_progress
    )


def write(connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """Insert or replace the rows in one transaction."""
    with _transaction(connection):
        connection.executemany(
            "INSERT OR REPLACE INTO tracked (server, kind, dataset_id, id, seen, removed, checksum, object)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )


def read(connection: sqlite3.Connection, server: str) -> Iterator[UndecodedRow]:
    """Yield every row of the server whose object was not removed."""
    return _undecoded(connection.execute(f"{_SELECT} WHERE server = ? AND NOT removed", (server,)))


def read_objects(
    connection: sqlite3.Connection, kind: type[SavedObject], server: str, dataset_id: str, ids: Collection[str] | None
) -> Iterator[UndecodedRow]:
    """Yield the rows of objects of one dataset, removed or not; ``ids`` None: of all that were removed."""
    where, values = "WHERE server = ? AND kind = ? AND dataset_id = ?", (server, _NAMES[kind], dataset_id)
    if ids is None:
        yield from _undecoded(connection.execute(f"{_SELECT} {where} AND removed", values))
        return
    storable = sorted(id_ for *_, id_ in keys_of(kind, server, dataset_id, ids))
    for start in range(0, len(storable), _IDS):
        some = storable[start : start + _IDS]
        marks = ", ".join("?" * len(some))
        yield from _undecoded(connection.execute(f"{_SELECT} {where} AND id IN ({marks})", (*values, *some)))


def _undecoded(found: Iterable[tuple[object, ...]]) -> Iterator[UndecodedRow]:
    for *columns, packed, checksum in found:
        yield _key(columns), packed, checksum


def last_seen(connection: sqlite3.Connection) -> dict[Key, float]:
    """Unix seconds at which each row was last written or claimed."""
    found = connection.execute("SELECT server, kind, dataset_id, id, seen FROM tracked")
    return {key: seen if isinstance(seen, float) else 0.0 for *columns, seen in found if (key := _key(columns))}


def claim(connection: sqlite3.Connection, claimed: Iterable[Key], now: float, deleted: Iterable[Key]) -> None:
    """Set the time of the claimed rows to ``now`` and delete the ``deleted`` ones, in one transaction."""
    with _transaction(connection):
        connection.executemany(f"UPDATE tracked SET seen = ? {_WHERE}", [(now, *key) for key in claimed])  # noqa: S608 a constant
        _delete(connection, deleted)


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit at the end. After an error the caller has to close the connection, which rolls back."""
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("COMMIT")


def _delete(connection: sqlite3.Connection, keys: Iterable[Key]) -> None:
    connection.executemany(f"DELETE FROM tracked {_WHERE}", [key for key in keys if _is_storable(key)])  # noqa: S608 a constant


def _is_storable(key: Key) -> bool:
    """Whether there can be a row with that key: SQLite stores no lone surrogates."""
    try:
        "".join(key).encode()
    except UnicodeEncodeError:
        return False
    return True


def _key(columns: list[object]) -> Key | None:
    try:
        server, kind, dataset_id, id_ = (column.decode() for column in columns if isinstance(column, bytes))
    except ValueError:
        return None
    return server, kind, dataset_id, id_


def _is_known(saved: SavedObject) -> bool:
    """Whether the program can handle the object: another version may have had other statuses and buckets."""
    match saved:
        case Document(progress=progress, detail=detail, attempt=attempt):
            return (
                progress.status in STATUSES
                and (attempt.ended is None or attempt.ended.status in STATUSES)
                and (detail is None or detail.display_status is None or detail.display_status in DISPLAY_STATUSES)
            )
        case Batch(counts=counts):
            return len(counts) == len(STATUSES)
        case SeenLists():
            return True
        case _:
            return all(len(distribution.counts) == len(PHASE_BOUNDS) + 1 for _, distribution in saved.phases)
