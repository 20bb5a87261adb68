"""Makes errors of the tree from what a request got instead of a usable answer.

- ``unreachable``: an exception of sockets, ssl, urllib3 or requests, because there is no complete answer
- ``undecodable``: a body that does not conform to the API

``refusals.py`` does the same for a status other than 200.

The texts of library exceptions are not passed on: they may contain headers and proxy passwords. Texts of the server
are shortened and never contain the API key.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
import requests
import urllib3.exceptions

from exporter.dify.errors import (
    ConnectFailed,
    DecodeFailed,
    DifyError,
    SchemaMismatch,
    StaleConnection,
    TimedOut,
    TLSFailed,
    Unreachable,
)
from exporter.dify.transport.connection import ClosedWithoutAnswer
from exporter.dify.transport.masking import mask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.config import Secret
    from exporter.dify.transport.messages import Reply, Request, Route

NO_ANSWER = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError)
"""Exceptions of a request without a complete answer. ValueError: invalid URL or host name."""

UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""Exceptions of msgspec's JSON decoder."""

_UNKNOWN_AUTHORITY = (
    "set ca_file to a PEM file with the authority that signed it, which may be that of a proxy that decrypts TLS"
)
_OTHER_NAME = "set url to a name that the certificate contains"
_OTHER_TIME = "is the clock of this machine right? Otherwise the certificate, or that of its authority, must be renewed"
_TOO_WEAK = "the certificate, or that of its authority, must be issued again, with RSA 2048 and SHA-256 or better"
_LOOK_AT_IT = (
    "look at it with openssl s_client -showcerts -connect HOST:PORT; curl --cacert accepts the same certificates"
)

_CERTIFICATE_REMEDIES = {
    **dict.fromkeys((2, 18, 19, 20, 21), _UNKNOWN_AUTHORITY),
    **dict.fromkeys((62, 64), _OTHER_NAME),
    **dict.fromkeys((9, 10), _OTHER_TIME),
    **dict.fromkeys((66, 67, 68), _TOO_WEAK),
}
"""What to do about a certificate, by the error code of OpenSSL (X509_V_ERR_…)."""

_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"})
"""Reasons of OpenSSL for an answer that is not TLS."""

_TLS_ALERT = "\x15\x03"
"""The beginning of the record with which a TLS server refuses plain HTTP."""

_TUNNEL = re.compile(r"Tunnel connection failed: ([0-9]{3})")
"""The message of http.client when a proxy refuses CONNECT."""

_EXCERPT = 200

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

FRONTEND = "; this may be the web frontend instead of the API: does url end in /v1?"


def unreachable(route: Route, error: Exception, timeout: float) -> Unreachable:
    """The error for one of ``NO_ANSWER``. ``timeout``: the seconds that were allowed."""
    chain = tuple(_chain(error))
    where = f"{route.host} through the proxy {route.proxy} of the environment" if route.proxy else route.host
    # A certificate error or a timeout explains the rest of the chain, wherever it occurs.
    explained = next(filter(None, (_misrouted(link, route) or _explain(link, timeout) for link in chain)), None)
    numbered = (link.strerror for link in chain if isinstance(link, OSError) and link.errno is not None)
    reason = "invalid url" if isinstance(error, ValueError) else "connection closed, or the answer is not HTTP"
    kind, text = explained or (ConnectFailed, next(filter(None, numbered), f"{reason} ({type(error).__name__})"))
    return kind(f"{where}: {text}")


def _explain(link: BaseException, timeout: float) -> tuple[type[Unreachable], str] | None:
    found: tuple[type[Unreachable], str] | None = None
    match link:
        case ssl.SSLCertVerificationError():
            remedy = _CERTIFICATE_REMEDIES.get(link.verify_code, _LOOK_AT_IT)
            found = TLSFailed, f"certificate verification failed: {link.verify_message}; {remedy}"
        case TimeoutError() | urllib3.exceptions.ReadTimeoutError():
            found = TimedOut, f"no complete answer within {timeout:g} s"
        case ClosedWithoutAnswer():
            kind = StaleConnection if link.reused else ConnectFailed
            found = kind, "connection closed before an answer was received"
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            found = ConnectFailed, "connection closed"
        case ssl.SSLError() if link.reason not in _NO_TLS:
            found = TLSFailed, f"TLS failed ({link.reason})"
        case ConnectionResetError() | BrokenPipeError() if link.strerror:
            found = ConnectFailed, f"connection closed ({link.strerror})"
        case socket.gaierror():
            found = ConnectFailed, "host name could not be resolved (DNS)"
    return found


def _misrouted(link: BaseException, route: Route) -> tuple[type[Unreachable], str] | None:
    """The wrong scheme for the port, or a proxy that refuses the connection."""
    match link:
        case ClosedWithoutAnswer() if not link.reused and route.url.startswith("http:"):
            return ConnectFailed, "connection closed before an answer was received; does the port expect https?"
        case ssl.SSLError() if getattr(link, "reason", None) in _NO_TLS:
            plain = route.with_scheme("http")
            return TLSFailed, f"the port does not speak TLS; if it speaks plain HTTP, set url to {plain}"
        case http.client.BadStatusLine(args=(str() as line, *_)) if _TLS_ALERT in line:
            return ConnectFailed, f"the port speaks TLS; set url to {route.with_scheme('https')}"
        case OSError(args=(str() as text,)) if tunnel := _TUNNEL.match(text):
            return ConnectFailed, f"the proxy answered {tunnel[1]} to CONNECT; {proxy_remedy(int(tunnel[1]), route)}"
    return None


def proxy_remedy(status: int, route: Route) -> str:
    """What to do about a proxy that answers ``status`` itself."""
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return "write its user and password into the proxy variable of the environment"
    host = urlsplit(route.url).hostname or route.host
    return f"if {host} can be reached without the proxy, add it to NO_PROXY; otherwise the proxy has to permit it"


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


def undecodable(request: Request, reply: Reply, error: Exception) -> DifyError:
    """The error for one of ``UNDECODABLE``, raised for the body of a 200."""
    kind: type[DifyError] = DecodeFailed
    remedy = "" if reply.by_dify else FRONTEND
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


def excerpt(text: str, key: Secret | None) -> str:
    """Server text, made safe for a message: one line, printable, at most 200 characters, without the key."""
    text = mask(text, key)
    clean = " ".join("".join(c if c.isprintable() else " " for c in text[: 10 * _EXCERPT]).split())
    return clean if len(clean) <= _EXCERPT else clean[: _EXCERPT - 1] + "…"
