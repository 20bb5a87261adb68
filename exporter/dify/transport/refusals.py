"""Maps error statuses and undecodable answers to errors of the tree."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import msgspec

from exporter.dify.answers import Refusal
from exporter.dify.errors import (
    BadRequest,
    DecodeFailed,
    DifyError,
    Forbidden,
    NotFound,
    RateLimited,
    SchemaMismatch,
    ServerFailed,
    Unauthorized,
)
from exporter.dify.transport.body import VERSION_HEADER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.config.model import Secret

_EXCERPT = 200
_LONGEST_RETRY_AFTER = 3600.0
_UNREADABLE = Refusal()
_refusals = msgspec.json.Decoder(Refusal)

# Matches up to the first escape of an unpaired surrogate. The quantifiers are possessive: linear time.
_HALF_PAIR = re.compile(
    rb"""
    (?: [^\\]++ | \\[^u] | \\u(?![dD][89a-fA-F]) | \\u[dD][89abAB]..\\u[dD][c-fC-F].. )*+
    (?P<half> \\u[dD][c-fC-F][0-9a-fA-F]{2}
            | \\u[dD][89abAB][0-9a-fA-F]{2} (?! \\u[dD][c-fC-F] | (?: \\(?: u[dD]? )? )? \Z) )
    """,
    re.VERBOSE | re.DOTALL,
)
_OFFSET = re.compile(r"\(byte ([0-9]+)\)")

_FRONTEND = "this may be the web frontend instead of the API: does url end in /v1?"
_KEY = "check the API key (in Dify: Knowledge > Service API)"


class Reply(NamedTuple):
    """An HTTP response, with its whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def by_dify(self) -> bool:
        """Whether the answer is from Dify's API itself, not from a proxy or the web frontend."""
        return VERSION_HEADER in self.headers


def refused(endpoint: str, reply: Reply, key: Secret | None, now: float) -> DifyError:
    """The error for a status other than 200. ``now``: Unix seconds, to evaluate a Retry-After date."""
    said = _parse(reply.body)
    status = reply.status
    message = excerpt(said.message or "", key)
    start = f"{endpoint}: {status}" + (f' "{message}"' if message else "")
    wait = retry_after(reply.headers.get("Retry-After"), now)
    limited = "rate limit" in (said.message or "").lower()
    error: DifyError
    match status:
        case 401:
            error = Unauthorized(f"{start}; {_KEY}", status=status)
        case 429:
            error = RateLimited(f"{start}; lower requests_per_second", status=status, retry_after=wait)
        case 403 if limited:
            error = RateLimited(f"{start}; lower requests_per_second", status=status, retry_after=wait)
        case 403:
            error = Forbidden(f"{start}; is API access enabled for this knowledge base?", status=status)
        case 404 | 405:
            error = _not_found(start, reply, said.code, key)
        case 400 if said.code is not None:
            error = BadRequest(f"{start} ({excerpt(said.code, key)})", status=status, retry_after=wait)
        case 301 | 302 | 303 | 307 | 308:
            target = _host(reply.headers.get("Location", ""), key)
            error = ServerFailed(f"{start}: redirect{target}; set url to the final address", status=status)
        case _:
            error = ServerFailed(start, status=status, retry_after=wait)
    error.by_dify = reply.by_dify
    return error


def _not_found(start: str, reply: Reply, code: str | None, key: Secret | None) -> DifyError:
    status = reply.status
    if status == HTTPStatus.NOT_FOUND and code == "not_found":
        return NotFound(start, gone=True)
    if reply.by_dify:
        version = excerpt(reply.headers[VERSION_HEADER], key)
        remedy = f"the id is malformed, or this version of Dify ({version}) does not have this endpoint"
        return NotFound(f"{start}; {remedy}", status=status)
    return NotFound(f"{start}; {_FRONTEND}", status=status)


def undecodable(endpoint: str, reply: Reply, error: Exception, key: Secret | None) -> DifyError:
    """The error for a 200 whose body does not conform to the API."""
    status, by_dify = reply.status, reply.by_dify
    if isinstance(error, msgspec.ValidationError):
        text = f"{endpoint}: unexpected JSON: {excerpt(str(error), key)}"
        return SchemaMismatch(text, status=status, by_dify=by_dify)
    body = reply.body.lstrip()
    if not body:
        reason = "the answer is empty"
    elif body.startswith(b"<"):
        reason = "HTML instead of JSON"
    elif isinstance(error, msgspec.DecodeError):
        said = "unpaired surrogate in a string" if _broken_by_half_a_pair(reply.body, error) else str(error)
        reason = f"not JSON: {excerpt(said, key)}"
    elif isinstance(error, RecursionError):
        reason = "the JSON is nested too deeply"
    else:
        reason = "the JSON is not UTF-8"
    remedy = "" if by_dify else f"; {_FRONTEND}"
    return DecodeFailed(f"{endpoint}: {reason}{remedy}", status=status, by_dify=by_dify)


def _broken_by_half_a_pair(body: bytes, error: msgspec.DecodeError) -> bool:
    """Whether an unpaired surrogate precedes the error's position, or occurs anywhere for "Input data was truncated".

    The decoder stops at the first error, and its own message for an unpaired surrogate is misleading.
    """
    found = _HALF_PAIR.match(body)
    offset = _OFFSET.search(str(error))
    return found is not None and (offset is None or found.start("half") < int(offset[1]))


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait according to a Retry-After header, at most one hour.

    None without a header, and for a value that is neither seconds nor a date. ``now``: Unix seconds.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST_RETRY_AFTER)
    try:
        date = parsedate_to_datetime(text)
        # Dates in HTTP are UTC, even without a time zone.
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER)


def excerpt(text: str, key: Secret | None) -> str:
    """Server text, made safe for a message: one line, printable, at most 200 characters, without the key."""
    if key is not None:
        text = text.replace(key.reveal(), "…")
    clean = " ".join("".join(c if c.isprintable() else " " for c in text[: 10 * _EXCERPT]).split())
    return clean if len(clean) <= _EXCERPT else clean[: _EXCERPT - 1] + "…"


def _parse(body: bytes) -> Refusal:
    try:
        return _refusals.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _UNREADABLE


def _host(location: str, key: Secret | None) -> str:
    try:
        host = urlsplit(location).hostname
    except ValueError:
        host = None
    return f" to {excerpt(host, key)}" if host else ""
