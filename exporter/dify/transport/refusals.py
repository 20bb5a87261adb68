"""Makes errors of the tree from replies with a status other than 200: who answered, what is wrong, and the remedy.

Only what Dify itself says is taken for its word. It is recognized by its version header or by the form of its errors;
everything else comes from a proxy, a firewall, a gateway or the web frontend.
"""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

import msgspec

from exporter.dify.answers import Refusal
from exporter.dify.errors import (
    BadRequest,
    DifyError,
    Forbidden,
    Intercepted,
    NotFound,
    RateLimited,
    ServerFailed,
    Unauthorized,
)
from exporter.dify.lenient import decode_leniently
from exporter.dify.transport.failures import FRONTEND, UNDECODABLE, excerpt, proxy_remedy
from exporter.dify.transport.masking import mask

if TYPE_CHECKING:
    from exporter.config import Secret
    from exporter.dify.transport.messages import Reply, Request

_LOGIN = re.compile(r"log-?in|sign-?in|/sso|/saml|/oauth|/auth\b", re.IGNORECASE)
"""Paths of login pages."""

_PLAIN_REFUSAL = 4096
"""Bytes of a 400 that are searched for the name of https."""

_LONGEST_RETRY_AFTER = 3600.0

_REDIRECTS = frozenset({301, 302, 303, 307, 308})

_LASTING = _REDIRECTS | {401, 403, 407}
"""Statuses that last until somebody acts: a Retry-After of theirs says nothing."""


def refused(request: Request, reply: Reply, now: float) -> DifyError:
    """The error for a status other than 200. ``now``: Unix seconds, to evaluate a Retry-After date."""
    try:
        said = decode_leniently(msgspec.json.decode, reply.body, Refusal, lambda _field: None)
    except UNDECODABLE:
        said = Refusal()
    status = reply.status
    by_dify = reply.by_dify or (bool(said.code) and said.message is not None and said.status == status)
    message = excerpt(said.message or "", request.key)
    start = f"{request.endpoint}: {status}" + (f' "{message}"' if message else "")
    if status in (404, 405):
        return _not_found(start, request, reply, said.code, by_dify=by_dify)
    kind: type[DifyError] = ServerFailed
    if status in _REDIRECTS:
        remedy = f": {_redirect(reply, request.key)}"
    elif by_dify:
        kind, remedy = _by_dify(status, said, request.key)
    else:
        kind, remedy = _by_another(reply, said, request.key)
    lasts = status in _LASTING and kind is not RateLimited
    wait = None if lasts else retry_after(reply.headers.get("Retry-After"), now)
    return kind(start + remedy, status=status, retry_after=wait, by_dify=by_dify)


def _by_dify(status: int, said: Refusal, key: Secret | None) -> tuple[type[DifyError], str]:
    """The error for a status of Dify itself, and what follows in the message."""
    if _is_rate_limit(status, said):
        return RateLimited, "; lower requests_per_second"
    match status:
        case 400 if said.code is not None:
            return BadRequest, f" ({excerpt(said.code, key)})"
        case 401:
            return Unauthorized, "; check the API key (in Dify: Knowledge > Service API)"
        case 403:
            return Forbidden, "; is API access enabled for this knowledge base?"
    return ServerFailed, ""


def _by_another(reply: Reply, said: Refusal, key: Secret | None) -> tuple[type[DifyError], str]:
    """The same for a status of a proxy, a firewall, a gateway or the web frontend."""
    if _is_rate_limit(reply.status, said):
        return RateLimited, f"; {_speaker(reply, key)} limits the requests: lower requests_per_second"
    match reply.status:
        case 401 | 403 | 407:
            return Intercepted, f"; {_interceptor(reply, key)}"
        case 400 | 497 if _expects_tls(reply):
            return ServerFailed, f": the port expects https; set url to {reply.route.with_scheme('https')}"
        case status if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return ServerFailed, f"; {_speaker(reply, key)} answered, not Dify: is Dify's API running?"
    return ServerFailed, ""


def _is_rate_limit(status: int, said: Refusal) -> bool:
    return status == 429 or (status == 403 and "rate limit" in (said.message or "").lower())  # noqa: PLR2004


def _not_found(start: str, request: Request, reply: Reply, code: str | None, *, by_dify: bool) -> NotFound:
    gone = reply.status == 404 and code == "not_found"  # noqa: PLR2004
    remedy = ""
    if not gone:
        version = excerpt(reply.version, request.key) or "unknown"
        old = f"; the id is malformed, or this version of Dify ({version}) does not have this endpoint"
        remedy = old if by_dify else FRONTEND
    return NotFound(start + remedy, gone=gone, status=reply.status, by_dify=by_dify)


def _speaker(reply: Reply, key: Secret | None) -> str:
    """Who answered in place of Dify, as far as that is known."""
    if reply.route.proxy:
        return f"the proxy {reply.route.proxy} of the environment, or something behind it,"
    server = excerpt(reply.headers.get("Server", ""), key)
    return f"something in front of Dify ({server})" if server else "something in front of Dify"


def _interceptor(reply: Reply, key: Secret | None) -> str:
    """Who refused a request in place of Dify, and what to do about it. It says nothing about the API key."""
    status, speaker = reply.status, _speaker(reply, key)
    if reply.route.proxy or status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return f"{speaker} answered, not Dify; {proxy_remedy(status, reply.route)}"
    if status == HTTPStatus.UNAUTHORIZED:
        scheme = excerpt(reply.headers.get("WWW-Authenticate", "").partition(" ")[0], key)
        login = f"a login of its own ({scheme})" if scheme else "a login of its own"
        return f"{speaker} answered, not Dify: it asks for {login}; exempt the path of Dify's API from it"
    return f"{speaker} answered, not Dify: a firewall or gateway blocks the request; let requests of this machine pass"


def _expects_tls(reply: Reply) -> bool:
    return reply.route.url.startswith("http:") and b"https" in reply.body[:_PLAIN_REFUSAL].lower()


def _redirect(reply: Reply, key: Secret | None) -> str:
    """Where a redirect leads, and what that means."""
    route = reply.route
    try:
        target = urlsplit(urljoin(f"{route.url}/", reply.headers.get("Location", "")))
        place = f"{target.scheme}://{target.hostname or ''}" + (f":{target.port}" if target.port else "")
    except ValueError:
        return "redirect to an invalid address"
    address = unquote(target.geturl())
    if mask(address, key) != address:
        return "redirect to an address that contains the API key; something in front of Dify is misconfigured"
    to, here = f"redirect to {excerpt(place, key)}", urlsplit(route.url)
    if _LOGIN.search(target.path):
        return f"{to}, to a login page; something in front of Dify asks for a login: exempt the path of its API from it"
    if (target.hostname, target.scheme, here.scheme) == (here.hostname, "https", "http"):
        base = here._replace(scheme="https", netloc=target.netloc.rpartition("@")[2]).geturl()
        return f"{to}; set url to {excerpt(base, key)}"
    if (target.scheme, target.netloc) == (here.scheme, here.netloc):
        return f"redirect to the path {excerpt(target.path, key)} of the same server; does url end in /v1?"
    return f"{to}; set url to the final address"


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
