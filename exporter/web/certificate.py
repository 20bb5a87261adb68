"""How long a certificate is valid, read from its PEM file. Only the server's own certificate, the first, counts."""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)

_DAY: Final = 86_400
_SOON: Final = 14 * _DAY
_SOON_SHARE: Final = 5

_UTC_TIME: Final = 0x17
_VERSION: Final = 0xA0
_LONG: Final = 0x80
_PIVOT: Final = "50"
"""Two-digit years from here on are of the twentieth century."""


class Validity(NamedTuple):
    """When a certificate is valid, in Unix seconds."""

    not_before: float
    not_after: float

    def problem(self, now: float) -> str | None:
        """Why clients refuse the certificate, or soon will; None if it is valid for long enough.

        Soon is 14 days, or a fifth of the whole time for certificates of a short life.
        """
        if now < self.not_before:
            return f"is not valid before {_show(self.not_before)}: clients refuse it; check the clock"
        if now >= self.not_after:
            return f"expired on {_show(self.not_after)}: clients refuse it; renew it"
        if self.not_after - now < min(_SOON, (self.not_after - self.not_before) / _SOON_SHARE):
            return f"expires on {_show(self.not_after)}: renew it"
        return None


def _show(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M UTC}"


def validity_of(pem: str) -> Validity | None:
    """The validity of the first certificate in ``pem``; None if it cannot be read."""
    found = _FIRST.search(pem)
    if found is None:
        return None
    try:
        (_, certificate) = next(_elements(ssl.PEM_cert_to_DER_cert(found[0])))
        (_, signed) = next(_elements(certificate))
        fields = [content for tag, content in _elements(signed) if tag != _VERSION]
        _serial_number, _algorithm, _issuer, validity, *_ = fields
        start, end = (_time(tag, content) for tag, content in _elements(validity))
    except (ValueError, IndexError, StopIteration):
        return None
    return Validity(start, end)


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element of a DER sequence. ValueError or IndexError if it is malformed."""
    at = 0
    while at < len(der):
        tag, length = der[at], der[at + 1]
        at += 2
        if length >= _LONG:
            size = length - _LONG
            length = int.from_bytes(der[at : at + size])
            at += size
        if at + length > len(der):
            raise ValueError("element is longer than its sequence")
        yield tag, der[at : at + length]
        at += length


def _time(tag: int, content: bytes) -> float:
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if text[:2] >= _PIVOT else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
