"""Combining checksums and deflated pieces."""

from __future__ import annotations

import gzip
import zlib

from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics.gzip import CHUNK, Deflater, Page, combine_crc, crc_operator, join


@given(st.binary(max_size=5000), st.binary(max_size=5000))
def test_combined_crc_equals_the_crc_of_both_texts(first: bytes, second: bytes) -> None:
    """Two checksums and a length yield the checksum of the concatenated texts."""
    combined = combine_crc(zlib.crc32(first), zlib.crc32(second), crc_operator(len(second)))

    assert zlib.crc32(first + second) == combined


def test_crc_of_lengths_beyond_four_gibibytes() -> None:
    """Lengths are not truncated: the operator of a + b bytes equals that of a and b, also above 2^32."""
    length = (1 << 33) + 5

    assert combine_crc(crc_operator(1 << 33), 0, crc_operator(5)) == crc_operator(length)


@given(st.lists(st.text(max_size=300)), st.integers(0, 9))
def test_pieces_are_independent(texts: list[str], repeat: int) -> None:
    """A piece inflates without the pieces made before it, in any order, and with nothing left over."""
    deflater = Deflater()
    raws = [(text * (1 + repeat)).encode(errors="replace") for text in texts]
    pieces = [deflater.piece(raw) for raw in raws]

    assert list(reversed(raws)) == [zlib.decompress(piece.data + b"\x03\x00", wbits=-15) for piece in reversed(pieces)]


@given(st.lists(st.binary(max_size=400), min_size=1), st.data())
def test_page_is_one_gzip_member(texts: list[bytes], data: st.DataObject) -> None:
    """Joined pieces, in any order and grouping, are one gzip member: also for a reader that stops after the first."""
    deflater = Deflater()
    order = data.draw(st.permutations(texts))
    cut = data.draw(st.integers(0, len(order)))
    runs = [join(deflater.piece(text) for text in part) for part in (order[:cut], order[cut:])]
    page = Page(*[run for run in runs if run is not None])
    stream = b"".join(page.gzip_chunks())
    text = b"".join(order)
    reader = zlib.decompressobj(wbits=31)

    assert text == gzip.decompress(stream)
    assert text == b"".join(reader.decompress(stream[i : i + 7]) for i in range(0, len(stream), 7))
    assert (True, b"") == (reader.eof, reader.unused_data)
    assert text == b"".join(page.plain_chunks())
    assert (len(stream), len(text)) == (page.gzip_length, page.plain_length)


def test_a_large_page_is_sent_in_chunks() -> None:
    """All chunks except the last have at least the minimum size, and the page is not one single chunk."""
    deflater = Deflater()
    run = join(deflater.piece(bytes([n]) * 50_000) for n in range(20))
    assert run is not None
    page = Page(*[run] * 150)
    plain, packed = list(page.plain_chunks()), list(page.gzip_chunks())

    assert all(CHUNK <= len(chunk) < 3 * CHUNK for chunk in plain[:-1] + packed[:-1])
    assert len(plain) > 10
    assert len(packed) > 1
    assert (page.plain_length, page.gzip_length) == (sum(map(len, plain)), sum(map(len, packed)))


def test_joining_nothing() -> None:
    """A row without pieces is None, so that its family is omitted from the page."""
    assert join([None, None]) is None


def test_an_empty_page_is_a_valid_stream() -> None:
    """A page without lines is an empty text."""
    page = Page()

    assert (b"", []) == (gzip.decompress(b"".join(page.gzip_chunks())), list(page.plain_chunks()))
