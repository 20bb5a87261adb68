"""Creates new inputs from old ones based on their structure: parts, JSON values, lines, repeated pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from bench.fuzz.limits import LONGEST

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

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


class Mutator:
    """Mutates inputs. The same random numbers result in the same changes.

    ``words``: what the parser knows. ``separator``: between the parts of an input, one of which is changed at a time.
    ``rest``: changes arbitrary bytes, up to the length that it is given.
    """

    def __init__(self, words: Sequence[bytes], separator: bytes, rest: Callable[[bytes, int], bytes]) -> None:
        self._words = words
        self._separator = separator
        self._rest = rest

    def change(self, data: bytes, longest: int, random: Random) -> bytes:
        """A mutated input of at most ``longest`` bytes."""
        if not self._separator or random.random() < 0.1:
            return self._change_part(data, longest, random)[:longest]
        parts = data.split(self._separator)
        which = random.randrange(len(parts))
        room = longest - len(data) + len(parts[which])
        parts[which] = self._change_part(parts[which], room, random)
        return self._separator.join(parts)[:longest]

    def _change_part(self, part: bytes, longest: int, random: Random) -> bytes:
        if part[:1] in {b"{", b"["} and random.random() < 0.6:
            try:
                return self._change_json(part, random)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass
        match random.randrange(8):
            case 0:
                return _change_line(part, random)
            case 1:
                return _repeat(part, random)
            case _:
                return self._rest(part, longest) if longest > 0 else part

    def _change_json(self, part: bytes, random: Random) -> bytes:
        """Replace, remove or duplicate one value, or add an unknown key."""
        holder: Any = [msgspec.json.decode(part)]
        root, key = holder, 0
        value: Any = holder[0]
        while isinstance(value, dict | list) and value and random.random() < 0.85:
            holder = value
            key = random.choice(list(value)) if isinstance(value, dict) else random.randrange(len(value))
            value = holder[key]
        match random.randrange(8):
            case 0 if holder is not root:
                del holder[key]
            case 1 if isinstance(holder, list) and holder is not root:
                holder.extend([value] * random.choice((1, 2, 20)))
            case 2 if isinstance(holder, dict):
                holder[random.choice(self._words).decode("utf-8", "replace")] = value
            case _:
                holder[key] = random.choice(_AWKWARD)
        return msgspec.json.encode(root[0])


def _change_line(data: bytes, random: Random) -> bytes:
    lines = data.split(b"\n")
    which = random.randrange(len(lines))
    match random.randrange(4):
        case 0:
            del lines[which]
        case 1:
            lines.insert(random.randrange(len(lines) + 1), lines[which])
        case 2:
            lines[which] = b" " * random.randint(1, 4) + lines[which]
        case _:
            lines[which] = lines[which].lstrip()
    return b"\n".join(lines)


def _repeat(data: bytes, random: Random) -> bytes:
    """Deep, long or repetitive values, which libFuzzer rarely creates."""
    start = random.randint(0, len(data))
    piece = data[start : start + int(random.expovariate(1 / 12)) + 1]
    times = random.choice((10, 100, 1_000, 5_000))
    place = random.randint(0, len(data))
    return data[:place] + (piece * times)[: LONGEST // 2] + data[place:]
