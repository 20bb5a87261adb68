"""Compressed pieces of a page that can be joined in any order into one gzip member, without compressing them again.

A piece is raw deflate that ends with a full flush: it ends on a byte boundary and refers to nothing before it. The
CRC-32 of the page is combined from the checksums of the pieces. The pieces form one member instead of one member each
because curl stops reading after the first member.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CHUNK = 64 * 1024
"""Minimum size in bytes of the chunks of a page, except the last one."""

_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"  # deflate, no name, no time, fastest algorithm, unknown system
_LAST_BLOCK = b"\x03\x00"


class Piece(Struct, frozen=True, gc=False):
    """Deflated lines: ``data``; CRC-32, length and CRC operator of the text; number of samples."""

    data: bytes
    crc: int
    length: int
    operator: int
    samples: int


class Run(Struct, frozen=True):
    """Consecutive pieces: their data and its size; CRC-32, length and CRC operator of the text."""

    data: list[bytes]
    size: int
    crc: int
    length: int
    operator: int


class Deflater:
    """Compresses text to pieces. Not thread-safe."""

    def __init__(self) -> None:
        # Level 1 costs a third of the library's 9 for 11 % more bytes. A full flush resets the compressor's history.
        self._compressor = zlib.compressobj(level=1, wbits=-zlib.MAX_WBITS)

    def piece(self, text: bytes, samples: int = 0) -> Piece:
        """Deflate ``text``, whole lines or nothing; ``samples`` is the number of samples in it."""
        data = self._compressor.compress(text) + self._compressor.flush(zlib.Z_FULL_FLUSH)
        return Piece(data, zlib.crc32(text), len(text), crc_operator(len(text)), samples)


def join(pieces: Iterable[Piece | Run | None]) -> Run | None:
    """The pieces and runs that are not None, concatenated; None when there are none."""
    data: list[bytes] = []
    size = crc = length = 0
    for piece in pieces:
        if piece is None:
            continue
        if isinstance(piece, Run):
            data += piece.data
            size += piece.size
        else:
            data.append(piece.data)
            size += len(piece.data)
        crc = combine_crc(crc, piece.crc, piece.operator)
        length += piece.length
    return Run(data, size, crc, length, crc_operator(length)) if data else None


class Page:
    """The answer to one scrape. Pages share the pieces of the exposition: many pages cost the memory of one."""

    __slots__ = ("_runs", "_trailer", "gzip_length", "plain_length")

    def __init__(self, *runs: Run) -> None:
        self._runs = runs
        crc = 0
        for run in runs:
            crc = combine_crc(crc, run.crc, run.operator)
        self.plain_length = sum(run.length for run in runs)
        self._trailer = _LAST_BLOCK + crc.to_bytes(4, "little") + (self.plain_length & 0xFFFFFFFF).to_bytes(4, "little")
        self.gzip_length = len(_HEADER) + sum(run.size for run in runs) + len(self._trailer)

    def gzip_chunks(self) -> Iterator[bytes]:
        """The page as one gzip member of ``gzip_length`` bytes."""
        return _chunks(chain((_HEADER,), *(run.data for run in self._runs), (self._trailer,)))

    def plain_chunks(self) -> Iterator[bytes]:
        """The page as UTF-8 text of ``plain_length`` bytes."""
        inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS).decompress
        return _chunks(map(inflate, chain(*(run.data for run in self._runs))))


def _chunks(parts: Iterable[bytes]) -> Iterator[bytes]:
    waiting: list[bytes] = []
    size = 0
    for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= CHUNK:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


# The arithmetic of zlib's crc32_combine. A CRC is a polynomial over GF(2) modulo the polynomial of CRC-32; bit 31
# stands for x^0. Appending n bytes multiplies the checksum of the preceding data by x^(8n), the operator of n bytes,
# and adds the checksum of the appended data.

_POLYNOMIAL = 0xEDB88320
_ONE = 0x80000000


def combine_crc(first: int, second: int, second_operator: int) -> int:
    """The CRC-32 of two concatenated texts, from the CRC-32 of each and the operator of the second text's length."""
    return _multiply(first, second_operator) ^ second


@lru_cache(maxsize=4096)
def crc_operator(length: int) -> int:
    """The operator of ``length`` bytes, x^(8·length); compute it once per piece of text."""
    result = _ONE
    for power in _POWERS:
        if not length:
            break
        if length & 1:
            result = _multiply(power, result)
        length >>= 1
    return result


def _times_x4(a: int) -> int:
    for _ in range(4):
        a = a >> 1 ^ _POLYNOMIAL if a & 1 else a >> 1
    return a


# What the four bits shifted out on the right become when a value is multiplied by x^4.
_REDUCTION = tuple(_times_x4(low) for low in range(16))


def _multiply(a: int, p: int) -> int:
    """Multiply modulo the polynomial, four bits of ``a`` at a time, highest powers (lowest bits) first."""
    # p·x, p·x^2, p·x^3, and the product of p and any four bits.
    q = p >> 1 ^ _POLYNOMIAL if p & 1 else p >> 1
    r = q >> 1 ^ _POLYNOMIAL if q & 1 else q >> 1
    s = r >> 1 ^ _POLYNOMIAL if r & 1 else r >> 1
    pq, rs = p ^ q, r ^ s
    of = (0, s, r, rs, q, q ^ s, q ^ r, q ^ rs, p, p ^ s, p ^ r, p ^ rs, pq, pq ^ s, pq ^ r, pq ^ rs)
    reduction = _REDUCTION
    product = of[a & 15]
    product = product >> 4 ^ reduction[product & 15] ^ of[a >> 4 & 15]
    product = product >> 4 ^ reduction[product & 15] ^ of[a >> 8 & 15]
    product = product >> 4 ^ reduction[product & 15] ^ of[a >> 12 & 15]
    product = product >> 4 ^ reduction[product & 15] ^ of[a >> 16 & 15]
    product = product >> 4 ^ reduction[product & 15] ^ of[a >> 20 & 15]
    product = product >> 4 ^ reduction[product & 15] ^ of[a >> 24 & 15]
    return product >> 4 ^ reduction[product & 15] ^ of[a >> 28 & 15]


def _squares() -> tuple[int, ...]:
    """x^8, x^16, x^32 …: the operators of 1, 2, 4 … bytes, enough for any 64-bit length."""
    power = _times_x4(_times_x4(_ONE))
    powers = []
    for _ in range(64):
        powers.append(power)
        power = _multiply(power, power)
    return tuple(powers)


_POWERS = _squares()
