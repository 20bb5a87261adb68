"""Reading the body of an answer without holding more than a limit."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from exporter.dify.errors import DecodeFailed, TooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

LARGEST = 16 * 1024 * 1024
"""Bytes of an answer, unpacked. The status of 10 000 documents takes 5 MB."""

_PIECE = 64 * 1024
_GZIP = 16 + zlib.MAX_WBITS


def read_body(response: requests.Response, endpoint: str, largest: int = LARGEST) -> bytes:
    """The whole body, unpacked.

    Raises TooLarge as soon as it is known, DecodeFailed for a gzip stream that is damaged or ends early and for a
    coding that was not asked for. A body that ends before its Content-Length or its last chunk was cut on its way:
    that raises what urllib3 raises for it.
    """
    status = response.status_code
    try:
        return _read(response, largest)
    except _Large:
        damage = ""
    except _Damaged as error:
        damage = str(error)
    # Raised out here, the error does not carry the other one, whose frames hold what was read.
    if damage:
        raise DecodeFailed(f"{endpoint}: {damage}", status=status)
    raise TooLarge(f"{endpoint}: the answer is larger than {largest // 1024} KiB", status=status)


class _Large(Exception):
    """More than the limit."""


class _Damaged(Exception):
    """Cannot be unpacked."""


def _read(response: requests.Response, largest: int) -> bytes:
    declared = response.headers.get("Content-Length", "")
    if declared.isdecimal() and float(declared) > largest:
        raise _Large
    coding = response.headers.get("Content-Encoding", "").strip().lower()
    pieces = _raw(response)
    if coding in {"gzip", "x-gzip"}:
        pieces = _unpacked(pieces, largest)
    elif coding not in {"", "identity"}:
        raise _Damaged("the answer has a Content-Encoding that was not asked for")
    body = bytearray()
    for piece in pieces:
        body += piece
        if len(body) > largest:
            raise _Large
    return bytes(body)


def _raw(response: requests.Response) -> Iterator[bytes]:
    while piece := response.raw.read(_PIECE, decode_content=False):
        yield piece


def _unpacked(pieces: Iterator[bytes], largest: int) -> Iterator[bytes]:
    """A gzip stream of one or more members; what comes out at once stays below the limit, too."""
    member = zlib.decompressobj(_GZIP)
    empty = True
    try:
        for piece in pieces:
            packed = piece
            while packed:
                if member.eof:
                    member = zlib.decompressobj(_GZIP)
                yield member.decompress(packed, largest + 1)
                empty = False
                packed = member.unconsumed_tail or member.unused_data
    except zlib.error:
        raise _Damaged("the answer is no gzip stream, against its Content-Encoding") from None
    if not (member.eof or empty):
        raise _Damaged("the gzip stream of the answer ends early")
