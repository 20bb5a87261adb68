"""Combines CRC-32 checksums without the data: the arithmetic of zlib's ``crc32_combine``.

A CRC is a polynomial over GF(2) modulo the polynomial of CRC-32; bit 31 stands for x^0. Appending n bytes multiplies
the checksum of the preceding data by x^(8n) and adds the checksum of the appended data.
"""

from __future__ import annotations

from functools import lru_cache

_POLYNOMIAL = 0xEDB88320
_ONE = 0x80000000


def _times_x(a: int) -> int:
    return a >> 1 ^ _POLYNOMIAL if a & 1 else a >> 1


def _times_x4(a: int) -> int:
    for _ in range(4):
        a = _times_x(a)
    return a


# What the four bits shifted out on the right become when a value is multiplied by x^4.
_FOLD = tuple(_times_x4(low) for low in range(16))


def _multiply(a: int, b: int) -> int:
    """Multiply modulo the polynomial, four bits of ``a`` at a time, highest powers (lowest bits) first."""
    b1 = b >> 1 ^ _POLYNOMIAL if b & 1 else b >> 1
    b2 = b1 >> 1 ^ _POLYNOMIAL if b1 & 1 else b1 >> 1
    b3 = b2 >> 1 ^ _POLYNOMIAL if b2 & 1 else b2 >> 1
    b23, b01 = b2 ^ b3, b ^ b1
    of = (
        0,
        b3,
        b2,
        b23,
        b1,
        b1 ^ b3,
        b1 ^ b2,
        b1 ^ b23,
        b,
        b ^ b3,
        b ^ b2,
        b ^ b23,
        b01,
        b01 ^ b3,
        b01 ^ b2,
        b01 ^ b23,
    )
    fold = _FOLD
    product = of[a & 15]
    product = product >> 4 ^ fold[product & 15] ^ of[a >> 4 & 15]
    product = product >> 4 ^ fold[product & 15] ^ of[a >> 8 & 15]
    product = product >> 4 ^ fold[product & 15] ^ of[a >> 12 & 15]
    product = product >> 4 ^ fold[product & 15] ^ of[a >> 16 & 15]
    product = product >> 4 ^ fold[product & 15] ^ of[a >> 20 & 15]
    product = product >> 4 ^ fold[product & 15] ^ of[a >> 24 & 15]
    return product >> 4 ^ fold[product & 15] ^ of[a >> 28 & 15]


def _squares() -> tuple[int, ...]:
    """x^8, x^16, x^32 …: the operators of 1, 2, 4 … bytes, enough for any 64-bit length."""
    power = _times_x4(_times_x4(_ONE))
    powers = []
    for _ in range(64):
        powers.append(power)
        power = _multiply(power, power)
    return tuple(powers)


_POWERS = _squares()


@lru_cache(maxsize=4096)
def operator(length: int) -> int:
    """The operator of ``length`` bytes, x^(8·length); compute it once per piece of text."""
    result = _ONE
    for power in _POWERS:
        if not length:
            break
        if length & 1:
            result = _multiply(power, result)
        length >>= 1
    return result


def combine(first: int, second: int, second_operator: int) -> int:
    """The CRC-32 of two concatenated texts, from the CRC-32 of each and the operator of the second text's length."""
    return _multiply(first, second_operator) ^ second
