r"""Removes the API key from what a server sends: names, ids and messages reach pages, the log and the state file.

Dify itself repeats the key in a cookie, and proxies repeat what they were sent. The key is found in any case, as host
names are in lower case, and with characters encoded as in URLs (%2D) or JSON (\u002d).
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from exporter.config import Secret

MASK: Final = "…"

SHORTEST: Final = 8
"""Characters of a key that is searched in whole answers. A shorter one, never a real one, could be part of any word."""

_ESCAPED: Final = re.compile(rb"\\(?:u00[2-7]|/)")
"""JSON escapes of characters that need none, and that a key may contain."""


def mask(text: str, key: Secret | None) -> str:
    """``text`` without the key."""
    return text if key is None else re.sub(_pattern(key.reveal()), MASK, text, flags=re.IGNORECASE)


def mask_body(body: bytes, key: Secret | None) -> bytes:
    """The body of an answer without the key. Takes 2 ms for 5 MB that do not contain it; decoding them takes 40 ms."""
    if key is None or len(key.reveal()) < SHORTEST:
        return body
    lower = body.lower()
    if any(form in lower for form in _forms(key.reveal())) or (b"\\" in body and _ESCAPED.search(body)):
        return re.sub(_pattern(key.reveal()).encode(), MASK.encode(), body, flags=re.IGNORECASE)
    return body


@lru_cache(maxsize=64)
def _forms(key: str) -> frozenset[bytes]:
    """The key in lower case, as programs write it into texts, URLs and JSON."""
    return frozenset(form.lower().encode() for form in (key, quote(key), quote(key, safe=""), json.dumps(key)[1:-1]))


@lru_cache(maxsize=64)
def _pattern(key: str) -> str:
    """A regular expression for the key, with each of its characters in any form."""
    return "".join(
        rf"(?:{re.escape(c)}|%{ord(c):02x}|\\u00{ord(c):02x}" + (rf"|\\{re.escape(c)})" if c in '"\\/' else ")")
        for c in key
    )
