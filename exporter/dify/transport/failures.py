"""Makes errors of the tree from what a request got instead of a usable answer.

- ``unreachable``: an exception of sockets, ssl, urllib3 or requests, because there is no complete answer
- ``refused``: a status other than 200
- ``undecodable``: a body that does not conform to the API

The texts of library exceptions are not passed on: they may contain headers and proxy passwords. Texts of the server
are shortened and never contain the API key.
"""

from __future__ import annotations

import re
import socket
import ssl
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
import requests
import urllib3.exceptions

from exporter.dify.answers import Refusal
from exporter.dify.errors import (
    BadRequest,
    ConnectFailed,
    DecodeFailed,
    DifyError,
    Forbidden,
    NotFound,
    RateLimited,
    SchemaMismatch,
    ServerFailed,
    StaleConnection,
    TimedOut,
    TLSFailed,
    Unauthorized,
    Unreachable,
)
from exporter.dify.lenient import decode_leniently
from exporter.dify.transport.connection import ClosedWithoutAnswer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.config import Secret
    from exporter.dify.transport.messages import Reply, Request

NO_ANSWER = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError)
"""Exceptions of a request without a complete answer. ValueError: invalid URL or host name."""

UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""Exceptions of msgspec's JSON decoder."""

_EXCERPT = 200
_LONGEST_RETRY_AFTER = 3600.0

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

_FRONTEND = "; this may be the web frontend instead of the API: does url end in /v1?"


def unreachable(where: str, error: Exception, timeout: float) -> Unreachable:
    """The error for one of ``NO_ANSWER``. ``where``: host and port. ``timeout``: the seconds that were allowed."""
    chain = tuple(_chain(error))
    if any(isinstance(link, requests.exceptions.ProxyError) for link in chain):
        where = f"{where} through the proxy set in the environment"
    # A certificate error or a timeout explains the rest of the chain, wherever it occurs.
    explained = next(filter(None, (_explain(link, timeout) for link in chain)), None)
    numbered = (link.strerror for link in chain if isinstance(link, OSError) and link.errno is not None)
    reason = "invalid url" if isinstance(error, ValueError) else "connection closed, or the answer is not HTTP"
    kind, text = explained or (ConnectFailed, next(filter(None, numbered), f"{reason} ({type(error).__name__})"))
    return kind(f"{where}: {text}")


def _explain(link: BaseException, timeout: float) -> tuple[type[Unreachable], str] | None:
    found: tuple[type[Unreachable], str] | None = None
    match link:
        case ssl.SSLCertVerificationError():
            found = TLSFailed, f"certificate verification failed: {link.verify_message}; check ca_file"
        case TimeoutError() | urllib3.exceptions.ReadTimeoutError():
            found = TimedOut, f"no complete answer within {timeout:g} s"
        case ClosedWithoutAnswer():
            kind = StaleConnection if link.reused else ConnectFailed
            found = kind, "connection closed before an answer was received"
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            found = ConnectFailed, "connection closed"
        case ssl.SSLError():
            found = TLSFailed, f"TLS failed ({link.reason}); does the server use https?"
        case ConnectionResetError() | BrokenPipeError() if link.strerror:
            found = ConnectFailed, f"connection closed ({link.strerror})"
        case socket.gaierror():
            found = ConnectFailed, "host name could not be resolved (DNS)"
    return found


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and its causes, also those that urllib3 stores instead of chaining them (failures of proxies)."""
    while error is not None:
        yield error
        cause = error.__cause__ or error.__context__
        match error:
            case urllib3.exceptions.ProxyError() if cause is None:
                error = error.original_error
            case urllib3.exceptions.SSLError(args=(BaseException() as reason, *_)) if cause is None:
                error = reason
            case _:
                error = cause


def refused(request: Request, reply: Reply, now: float) -> DifyError:
    """The error for a status other than 200. ``now``: Unix seconds, to evaluate a Retry-After date."""
    try:
        said = decode_leniently(msgspec.json.decode, reply.body, Refusal, lambda _field: None)
    except UNDECODABLE:
        said = Refusal()
    status, by_dify = reply.status, reply.by_dify
    message = excerpt(said.message or "", request.key)
    start = f"{request.endpoint}: {status}" + (f' "{message}"' if message else "")
    limited = status == 429 or (status == 403 and "rate limit" in (said.message or "").lower())  # noqa: PLR2004
    wait = retry_after(reply.headers.get("Retry-After"), now)
    kind: type[DifyError] = ServerFailed
    remedy = ""
    match status:
        case 404 | 405:
            return _not_found(start, request, reply, said.code)
        case _ if limited:
            kind, remedy = RateLimited, "; lower requests_per_second"
        case 401:
            kind, remedy, wait = Unauthorized, "; check the API key (in Dify: Knowledge > Service API)", None
        case 403:
            kind, remedy, wait = Forbidden, "; is API access enabled for this knowledge base?", None
        case 400 if said.code is not None:
            kind, remedy = BadRequest, f" ({excerpt(said.code, request.key)})"
        case 301 | 302 | 303 | 307 | 308:
            target = _host(reply.headers.get("Location", ""), request.key)
            remedy, wait = f": redirect{target}; set url to the final address", None
    return kind(start + remedy, status=status, retry_after=wait, by_dify=by_dify)


def _not_found(start: str, request: Request, reply: Reply, code: str | None) -> NotFound:
    gone = reply.status == 404 and code == "not_found"  # noqa: PLR2004
    remedy = ""
    if not gone:
        version = excerpt(reply.version, request.key)
        old = f"; the id is malformed, or this version of Dify ({version}) does not have this endpoint"
        remedy = old if reply.by_dify else _FRONTEND
    return NotFound(start + remedy, gone=gone, status=reply.status, by_dify=reply.by_dify)


def undecodable(request: Request, reply: Reply, error: Exception) -> DifyError:
    """The error for one of ``UNDECODABLE``, raised for the body of a 200."""
    kind: type[DifyError] = DecodeFailed
    remedy = "" if reply.by_dify else _FRONTEND
    body = reply.body.lstrip()
    if isinstance(error, msgspec.ValidationError):
        kind, reason, remedy = SchemaMismatch, f"unexpected JSON: {excerpt(str(error), request.key)}", ""
    elif not body:
        reason = "the answer is empty"
    elif body.startswith(b"<"):
        reason = "HTML instead of JSON"
    elif isinstance(error, msgspec.DecodeError):
        said = "unpaired surrogate in a string" if _broken_by_half_a_pair(reply.body, error) else str(error)
        reason = f"not JSON: {excerpt(said, request.key)}"
    elif isinstance(error, RecursionError):
        reason = "the JSON is nested too deeply"
    else:
        reason = "the JSON is not UTF-8"
    return kind(f"{request.endpoint}: {reason}{remedy}", status=reply.status, by_dify=reply.by_dify)


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


def _host(location: str, key: Secret | None) -> str:
    try:
        host = urlsplit(location).hostname
    except ValueError:
        host = None
    return f" to {excerpt(host, key)}" if host else ""
