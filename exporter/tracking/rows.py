"""The rows of the state: what is kept of an object, and what may come back."""

from __future__ import annotations

import contextlib
import zlib
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec.structs import replace

from exporter.tracking.activity import PHASE_BOUNDS
from exporter.tracking.model import DISPLAY_STATUSES, STATUSES, Activity, Batch, Document

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from exporter.tracking.model import Progress

Kept = Document | Batch | Activity
"""What survives a restart. The rest is known anew after the first poll."""

Key = tuple[str, str, str, str]
"""Server, kind, dataset id, and the id of the document or batch."""

_KINDS: dict[type, str] = {Document: "document", Batch: "batch", Activity: "activity"}
_DECODERS: dict[
    str, msgspec.msgpack.Decoder[Document] | msgspec.msgpack.Decoder[Batch] | msgspec.msgpack.Decoder[Activity]
]
_DECODERS = {kind: msgspec.msgpack.Decoder(struct) for struct, kind in _KINDS.items()}
_encode = msgspec.msgpack.Encoder().encode

_WHERE = "WHERE server = ? AND kind = ? AND dataset_id = ? AND id = ?"

Row = tuple[str, str, str, str, float, int, bytes]
"""The key, Unix seconds of the last write or claim, checksum, object."""

_K = TypeVar("_K", Document, Batch, Activity)


class UnreadableRow(Exception):
    """The row is damaged, or does not fit what the program knows of such objects."""


def key_of(kept: Kept) -> Key:
    """Where the object is kept."""
    if isinstance(kept, Document):
        return kept.server, "document", kept.dataset_id, kept.document_id
    if isinstance(kept, Batch):
        return kept.server, "batch", kept.dataset_id, kept.batch
    return kept.server, "activity", kept.dataset_id, ""


def encode(kept: Kept, now: float) -> Row:
    """The row of the object: as MessagePack, with a CRC-32 because SQLite itself would not notice a flipped bit.

    Left out is what only means something to the running process. OverflowError or ValueError when a number or a text
    cannot be written, such as an integer of more than 64 bits.
    """
    if isinstance(kept, Document):
        kept = replace(kept, moved=0.0)
    elif isinstance(kept, Batch):
        kept = replace(kept, moved=0.0, trail=())
    packed = _encode(kept)
    return *key_of(kept), now, zlib.crc32(packed), packed


def decode(key: Key | None, packed: object, checksum: object) -> Kept:
    """The object of the row. UnreadableRow where it cannot be trusted."""
    decoder = _DECODERS.get(key[1]) if key else None
    if decoder is None or not isinstance(packed, bytes) or zlib.crc32(packed) != checksum:
        raise UnreadableRow("damaged")
    try:
        kept = decoder.decode(packed)
    except msgspec.MsgspecError as error:
        raise UnreadableRow(f"written by another version: {error}") from None
    if key_of(kept) != key:
        raise UnreadableRow("damaged: it is in the place of another")
    if not _is_known(kept):
        raise UnreadableRow("written by another version: it has unknown statuses or buckets")
    return kept


def revive(kept: Kept, *, wall: float, monotonic: float, shared: dict[object, object]) -> Kept:
    """The object as if it had been watched all along: its age goes on.

    ``shared`` makes equal strings and rules of many objects one, as they are in objects that come from answers.
    """
    if isinstance(kept, Activity):
        return kept
    # A wall clock that was set back would give ages below zero.
    moved = monotonic - max(0.0, wall - kept.last_progress)
    if isinstance(kept, Batch):
        return _share(replace(kept, moved=moved), shared)
    detail = kept.detail
    if detail is not None and detail.rule is not None:
        detail = replace(detail, rule=shared.setdefault(detail.rule, detail.rule))
    document = replace(kept, moved=moved, detail=detail, batch=shared.setdefault(kept.batch, kept.batch))
    return _share(document, shared)


def write(connection: sqlite3.Connection, rows: Iterable[Row], gone: Iterable[Key]) -> None:
    """Put the rows in the place of those with the same keys, and delete the others, in one transaction."""
    with _transaction(connection):
        connection.executemany(f"DELETE FROM tracked {_WHERE}", gone)  # noqa: S608 a constant
        connection.executemany(
            "INSERT OR REPLACE INTO tracked (server, kind, dataset_id, id, seen, checksum, object)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            rows,
        )


def read(connection: sqlite3.Connection, server: str) -> Iterator[tuple[Key | None, object, object]]:
    """Key, object and checksum of every row of the server, as they are found. None: the key is damaged."""
    query = "SELECT server, kind, dataset_id, id, object, checksum FROM tracked WHERE server = ?"
    for *columns, packed, checksum in connection.execute(query, (server,)):
        yield _key(columns), packed, checksum


def last_seen(connection: sqlite3.Connection) -> dict[Key, float]:
    """When each row was last written or claimed, Unix seconds."""
    found = connection.execute("SELECT server, kind, dataset_id, id, seen FROM tracked")
    return {key: seen if isinstance(seen, float) else 0.0 for *columns, seen in found if (key := _key(columns))}


def claim(connection: sqlite3.Connection, claimed: Iterable[Key], now: float, forgotten: Iterable[Key]) -> None:
    """Let the claimed rows be seen now, and delete the forgotten ones, in one transaction."""
    with _transaction(connection):
        connection.executemany(f"UPDATE tracked SET seen = ? {_WHERE}", [(now, *key) for key in claimed])  # noqa: S608 a constant
        connection.executemany(f"DELETE FROM tracked {_WHERE}", forgotten)  # noqa: S608 a constant


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit at the end. After an error close the connection: what was begun is undone."""
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
    """Whether the rest of the program can take it: another version may have had other statuses and buckets."""
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
    """Whether the key can be in the file at all: lone surrogates cannot."""
    try:
        "".join(key).encode()
    except UnicodeEncodeError:
        return False
    return True
