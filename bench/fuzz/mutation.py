"""New inputs from old ones: bytes turned, pieces moved, words put in, values of JSON replaced by awkward ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

LONGEST: Final = 48 * 1024
"""Bytes of an input at most."""

_AWKWARD: Final = tuple(
    msgspec.Raw(raw)
    for raw in (
        *(b"null", b"true", b"{}", b"[]", b'""', b"0", b"-1", b"-0.0", b"0.1", b"1e400", b"-1e308", b"1e-400", b"NaN"),
        *(b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809", b"18446744073709551616"),
        *(b"9" * 400, b"1." + b"0" * 400 + b"1", b"4294967296", b"253402300800", b'"12"', b'"NaN"', b"[null]"),
        *(rb'"\u0000"', rb'"\ud800"', rb'"\u202e"', rb'"\n\r\u2028"', b'"\xf0\x9f\x9a\x92"', rb'"\"\\"', b'"\x7f"'),
        *(b'"' + b"x" * 5_000 + b'"', b"[" * 600 + b"]" * 600, b'{"a":' * 200 + b"1" + b"}" * 200),
        *(b'"waiting"', b'"indexing"', b'"completed"', b'"error"', b'"paused"', b'"parsing"', b'"unheard"'),
        *(b'"available"', b'"queuing"', b'"high_quality"', b'"not_found"'),
    )
)
_BYTES: Final = (
    b"\x00",
    b"\r\n",
    b"\n",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xe2\x80\xa8",
    b'"',
    b"\\",
    b"{",
    b"[",
    b":",
    b" ",
)


class Mutator:
    """Draws inputs from a corpus that may grow. The same random numbers give the same inputs.

    ``words``: what the reader knows. ``separator``: between the parts of an input, of which one is changed at a time.
    """

    def __init__(self, random: Random, corpus: Sequence[bytes], words: Sequence[bytes], separator: bytes = b"") -> None:
        self.corpus = list(corpus)
        self._random = random
        self._words = (*words, *_BYTES)
        self._separator = separator
        self._ways: tuple[Callable[[bytearray], bytearray], ...] = (
            self._turn_bits,
            self._put_word,
            self._put_word,
            self._cut,
            self._double,
            self._splice,
            self._change_line,
            self._repeat,
        )

    def draw(self) -> bytes:
        """An input."""
        data = self._random.choice(self.corpus)
        for _ in range(self._random.choice((1, 1, 2, 3, 5))):
            data = self._change(data)
        return data[:LONGEST]

    def _change(self, data: bytes) -> bytes:
        if not self._separator or self._random.random() < 0.1:
            return self._change_part(data)
        parts = data.split(self._separator)
        which = self._random.randrange(len(parts))
        parts[which] = self._change_part(parts[which])
        return self._separator.join(parts)

    def _change_part(self, part: bytes) -> bytes:
        if part[:1] in {b"{", b"["} and self._random.random() < 0.6:
            try:
                return self._change_json(part)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass
        return bytes(self._random.choice(self._ways)(bytearray(part)))

    def _change_json(self, part: bytes) -> bytes:
        """Replace, take away or double one value, or put an unheard-of key beside it."""
        holder: Any = [msgspec.json.decode(part)]
        root, key = holder, 0
        value: Any = holder[0]
        while isinstance(value, dict | list) and value and self._random.random() < 0.85:
            holder = value
            key = self._random.choice(list(value)) if isinstance(value, dict) else self._random.randrange(len(value))
            value = holder[key]
        match self._random.randrange(8):
            case 0 if holder is not root:
                del holder[key]
            case 1 if isinstance(holder, list) and holder is not root:
                holder.extend([value] * self._random.choice((1, 2, 20)))
            case 2 if isinstance(holder, dict):
                holder[self._word().decode("utf-8", "replace")] = value
            case _:
                holder[key] = self._random.choice(_AWKWARD)
        return msgspec.json.encode(root[0])

    def _word(self) -> bytes:
        return self._random.choice(self._words)

    def _place(self, data: bytearray) -> int:
        return self._random.randint(0, len(data))

    def _span(self, data: bytearray) -> slice:
        start = self._place(data)
        return slice(start, start + min(int(self._random.expovariate(1 / 12)) + 1, 4_096))

    def _turn_bits(self, data: bytearray) -> bytearray:
        for _ in range(min(len(data), self._random.choice((1, 1, 4, 16)))):
            data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
        return data

    def _put_word(self, data: bytearray) -> bytearray:
        place = self._place(data)
        over = self._random.choice((0, 0, 1, 4))
        data[place : place + over] = self._word()
        return data

    def _cut(self, data: bytearray) -> bytearray:
        if self._random.random() < 0.1:
            return data[: self._place(data)]
        del data[self._span(data)]
        return data

    def _double(self, data: bytearray) -> bytearray:
        piece = data[self._span(data)]
        place = self._place(data)
        data[place:place] = piece
        return data

    def _splice(self, data: bytearray) -> bytearray:
        other = bytearray(self._random.choice(self.corpus))
        return data[: self._place(data)] + other[self._place(other) :]

    def _change_line(self, data: bytearray) -> bytearray:
        lines = data.split(b"\n")
        which = self._random.randrange(len(lines))
        match self._random.randrange(4):
            case 0:
                del lines[which]
            case 1:
                lines.insert(self._random.randrange(len(lines) + 1), lines[which])
            case 2:
                lines[which][:0] = b" " * self._random.randint(1, 4)
            case _:
                lines[which] = lines[which].lstrip()
        return bytearray(b"\n").join(lines)

    def _repeat(self, data: bytearray) -> bytearray:
        piece = bytes(data[self._span(data)])
        times = self._random.choice((10, 100, 1_000, 5_000))
        place = self._place(data)
        data[place:place] = (piece * times)[: LONGEST // 2]
        return data
