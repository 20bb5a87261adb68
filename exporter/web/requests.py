"""Requests as RFC 9112 demands them: h11's parser, without the lenience in which two parsers may disagree."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

import h11

MAX_HEAD: Final = 16 * 1024
"""Maximum number of bytes of a request's head."""

_END = re.compile(rb"\n\r?\n")
_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)|\n[ \t]")
"""A line feed or a carriage return alone, and a line that continues the one before."""

_ABSOLUTE = re.compile(rb"https?://[^/?#]+", re.IGNORECASE)
_CLOSE: Final = (b"connection", b"close")


class StrictConnection(h11.Connection):
    """The server's side of a connection. ``refusal`` is the status for the request that could not be read."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEAD)
        self.refusal = HTTPStatus.BAD_REQUEST

    def next_event(self) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        """As h11's. Raises ``RemoteProtocolError`` also for requests that only lenient servers accept."""
        try:
            if self.their_state is h11.IDLE:
                _check_head(self.trailing_data[0])
            event = super().next_event()
            return _checked(event) if isinstance(event, h11.Request) else event
        except h11.RemoteProtocolError as error:
            self.refusal = HTTPStatus(error.error_status_hint)
            raise


def _check_head(received: bytes) -> None:
    """Check a head once all of it has been received; until then h11 limits its length."""
    end = _END.search(received)
    if end is None:
        return
    if end.end() > MAX_HEAD:
        raise h11.RemoteProtocolError("head too long", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    if _BARE.search(received, 0, end.end()):
        raise h11.RemoteProtocolError("lines must end in CR LF, and must not be continued")


def _checked(request: h11.Request) -> h11.Request:
    """The request with the target in origin form; the connection is closed after one whose body is in chunks.

    Chunks end in further header lines, and this server needs no body: it does not risk to find the next request at
    another place than a proxy.
    """
    names = {name for name, _ in request.headers}
    if not request.http_version.startswith(b"1."):
        raise h11.RemoteProtocolError("not HTTP/1", HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    if {b"content-length", b"transfer-encoding"} <= names:
        raise h11.RemoteProtocolError("two lengths of one body")
    headers = list(request.headers)
    if b"transfer-encoding" in names:
        headers.append(_CLOSE)
    return h11.Request(
        method=request.method, target=_origin_form(request.target), headers=headers, http_version=request.http_version
    )


def _origin_form(target: bytes) -> bytes:
    """``/path`` for ``http://host/path``, as clients send it that take the server for a proxy."""
    path = _ABSOLUTE.sub(b"", target, count=1) if _ABSOLUTE.match(target) else target
    return path if path.startswith(b"/") or path == target else b"/" + path
