"""The rows of the state file: how objects are encoded, and which rows are accepted when they are read."""

from __future__ import annotations

import contextlib
import zlib
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec.structs import replace

from exporter.tracking.counters import PHASE_BOUNDS
from exporter.tracking.model import DISPLAY_STATUSES, STATUSES, Batch, DatasetCounters, Document

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from exporter.tracking.model import Progress

Kept = Document | Batch | DatasetCounters
"""Objects that survive a restart. All others are known again after the first poll."""

Key = tuple[str, str, str, str]
"""Server, kind, dataset id, and the id of the document or batch."""

_KINDS: dict[type, str] = {Document: "document", Batch: "batch", DatasetCounters: "activity"}
_DECODERS: dict[
    str, msgspec.msgpack.Decoder[Document] | msgspec.msgpack.Decoder[Batch] | msgspec.msgpack.Decoder[DatasetCounters]
]
_DECODERS = {kind: msgspec.msgpack.Decoder(struct) for struct, kind in _KINDS.items()}
_encode = msgspec.msgpack.Encoder().encode

_WHERE = "WHERE server = ? AND kind = ? AND dataset_id = ? AND id = ?"

Row = tuple[str, str, str, str, float, int, bytes]
"""Key, Unix seconds of the last write or claim, checksum, object."""

_K = TypeVar("_K", Document, Batch, DatasetCounters)


class UnreadableRow(Exception):
    """The row is damaged or was written by an incompatible version."""


def key_of(kept: Kept) -> Key:
    """The key of the object's row."""
    if isinstance(kept, Document):
        return kept.server, "document", kept.dataset_id, kept.document_id
    if isinstance(kept, Batch):
        return kept.server, "batch", kept.dataset_id, kept.batch
    return kept.server, "activity", kept.dataset_id, ""


def encode(kept: Kept, now: float) -> Row:
    """Encode the object as MessagePack, with a CRC-32 because SQLite does not detect a flipped bit.

    Values that only make sense in the running process are left out. Raises OverflowError or ValueError for a number or
    a text that cannot be encoded, such as an integer of more than 64 bits.
    """
    if isinstance(kept, Document):
        kept = replace(kept, last_progress_monotonic=0.0)
    elif isinstance(kept, Batch):
        kept = replace(kept, last_progress_monotonic=0.0, milestones=())
    packed = _encode(kept)
    return *key_of(kept), now, zlib.crc32(packed), packed


def decode(key: Key | None, packed: object, checksum: object) -> Kept:
    """Decode the object of a row. Raises UnreadableRow if it cannot be trusted."""
    decoder = _DECODERS.get(key[1]) if key else None
    if decoder is None or not isinstance(packed, bytes) or zlib.crc32(packed) != checksum:
        raise UnreadableRow("damaged")
    try:
        kept = decoder.decode(packed)
    except msgspec.MsgspecError as error:
        raise UnreadableRow(f"written by another version: {error}") from None
    if key_of(kept) != key:
        raise UnreadableRow("damaged: it does not match its key")
    if not _is_known(kept):
        raise UnreadableRow("written by another version: unknown statuses or buckets")
    return kept


def revive(kept: Kept, *, wall: float, monotonic: float, shared: dict[object, object]) -> Kept:
    """Restore the object as if it had been watched without a break: its age continues.

    ``shared`` deduplicates equal strings and rules of many objects, as in objects that come from answers.
    """
    if isinstance(kept, DatasetCounters):
        return kept
    # A wall clock that was set back would yield negative ages.
    last_progress = monotonic - max(0.0, wall - kept.last_progress)
    if isinstance(kept, Batch):
        return _share(replace(kept, last_progress_monotonic=last_progress), shared)
    detail = kept.detail
    if detail is not None and detail.rule is not None:
        detail = replace(detail, rule=shared.setdefault(detail.rule, detail.rule))
    document = replace(
        kept, last_progress_monotonic=last_progress, detail=detail, batch=shared.setdefault(kept.batch, kept.batch)
    )
    return _share(document, shared)


def write(connection: sqlite3.Connection, rows: Iterable[Row], gone: Iterable[Key]) -> None:
    """Insert or replace the rows and delete the ``gone`` keys, in one transaction."""
    with _transaction(connection):
        connection.executemany(f"DELETE FROM tracked {_WHERE}", gone)  # noqa: S608 a constant
        connection.executemany(
            "INSERT OR REPLACE INTO tracked (server, kind, dataset_id, id, seen, checksum, object)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            rows,
        )


def read(connection: sqlite3.Connection, server: str) -> Iterator[tuple[Key | None, object, object]]:
    """Yield key, object and checksum of every row of the server, undecoded. Key None: the key is damaged."""
    query = "SELECT server, kind, dataset_id, id, object, checksum FROM tracked WHERE server = ?"
    for *columns, packed, checksum in connection.execute(query, (server,)):
        yield _key(columns), packed, checksum


def last_seen(connection: sqlite3.Connection) -> dict[Key, float]:
    """Unix seconds at which each row was last written or claimed."""
    found = connection.execute("SELECT server, kind, dataset_id, id, seen FROM tracked")
    return {key: seen if isinstance(seen, float) else 0.0 for *columns, seen in found if (key := _key(columns))}


def claim(connection: sqlite3.Connection, claimed: Iterable[Key], now: float, forgotten: Iterable[Key]) -> None:
    """Mark the claimed rows as seen now and delete the forgotten ones, in one transaction."""
    with _transaction(connection):
        connection.executemany(f"UPDATE tracked SET seen = ? {_WHERE}", [(now, *key) for key in claimed])  # noqa: S608 a constant
        connection.executemany(f"DELETE FROM tracked {_WHERE}", forgotten)  # noqa: S608 a constant


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit at the end. After an error the caller has to close the connection, which rolls back."""
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("COMMIT")


def _key(columns: list[object]) -> Key | None:
    try:
        server, kind, dataset_id, id_ = (column.decode() for column in columns if isinstance(column, bytes))
    except ValueError:
        return None
    return server, kind, dataset_id, id_


def _share(kept: _K, shared: dict[object, object]) -> _K:
    return replace(
        kept,
        server=shared.setdefault(kept.server, kept.server),
        dataset_id=shared.setdefault(kept.dataset_id, kept.dataset_id),
    )


def _is_known(kept: Kept) -> bool:
    """Whether the program can handle the object: another version may have had other statuses and buckets."""
    match kept:
        case Document(progress=progress, detail=detail, attempt=attempt):
            return (
                _has_known_status(progress)
                and (attempt.ended is None or _has_known_status(attempt.ended))
                and (detail is None or detail.display_status is None or detail.display_status in DISPLAY_STATUSES)
            )
        case Batch(counts=counts):
            return len(counts) == len(STATUSES)
        case _:
            return all(len(distribution.counts) == len(PHASE_BOUNDS) + 1 for _, distribution in kept.phases)


def _has_known_status(progress: Progress) -> bool:
    return progress.status in STATUSES


def is_storable(key: Key) -> bool:
    """Whether the key can be stored: lone surrogates cannot."""
    try:
        "".join(key).encode()
    except UnicodeEncodeError:
        return False
    return True
