"""A request and the reply to it. The body of a reply is read up to a maximum size."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from exporter.dify.errors import BadAnswer, DecodeFailed, TooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import requests

    from exporter.config import Secret

LARGEST = 16 * 1024 * 1024
"""Maximum size of an answer in bytes, decompressed. The status of 10 000 documents takes 5 MB."""

_VERSION_HEADER = "X-Version"
_PIECE = 64 * 1024
_GZIP = 16 + zlib.MAX_WBITS


class Request(NamedTuple):
    """A GET request. ``path`` is relative to the server's URL and includes the query.

    ``endpoint``: the name in metrics and messages. ``key``: the API key to send, None for none.
    """

    endpoint: str
    path: str
    key: Secret | None = None


class Route(NamedTuple):
    """How a server is reached. ``url``: its base URL; ``proxy``: host and port of the proxy, "" if there is none.

    Neither contains a user or password.
    """

    url: str
    proxy: str = ""

    @property
    def host(self) -> str:
        """Host and port of the server."""
        return urlsplit(self.url).netloc

    def with_scheme(self, scheme: str) -> str:
        """The base URL with another scheme."""
        return urlsplit(self.url)._replace(scheme=scheme).geturl()


class Reply(NamedTuple):
    """An HTTP response, with its whole body. ``route``: how it was requested."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    route: Route = Route("")

    @property
    def by_dify(self) -> bool:
        """Whether Dify's API itself answered, not a proxy, a gateway or the web frontend."""
        return _VERSION_HEADER in self.headers

    @property
    def version(self) -> str:
        """The version that Dify's API sends with every answer; "" if something else answered."""
        return self.headers.get(_VERSION_HEADER, "")


def read_body(response: requests.Response, endpoint: str, largest: int = LARGEST) -> bytes:
    """Return the whole body, decompressed.

    Raises TooLarge as soon as the body is known to exceed the limit, DecodeFailed for a damaged or truncated gzip
    stream and for a content coding that was not requested. A body that ends before its Content-Length or its last
    chunk was cut in transit: urllib3's exception is passed on.
    """
    try:
        return _read(response, largest)
    except BadAnswer as error:
        kind, text = type(error), str(error)
    # Raised outside the handler: the error must not reference the inner exception, whose frames hold the data read.
    raise kind(f"{endpoint}: {text}", status=response.status_code, by_dify=_VERSION_HEADER in response.headers)


def _read(response: requests.Response, largest: int) -> bytes:
    too_large = f"the answer is larger than {largest // 1024} KiB"
    declared = response.headers.get("Content-Length", "")
    if declared.isdecimal() and float(declared) > largest:
        raise TooLarge(too_large)
    coding = response.headers.get("Content-Encoding", "").strip().lower()
    pieces: Iterator[bytes] = iter(lambda: response.raw.read(_PIECE, decode_content=False), b"")
    if coding in {"gzip", "x-gzip"}:
        pieces = _unpacked(pieces, largest)
    elif coding not in {"", "identity"}:
        raise DecodeFailed("the answer has a Content-Encoding that was not requested")
    body = bytearray()
    for piece in pieces:
        body += piece
        if len(body) > largest:
            raise TooLarge(too_large)
    return bytes(body)


def _unpacked(pieces: Iterator[bytes], largest: int) -> Iterator[bytes]:
    """Decompress a gzip stream of one or more members, in pieces of at most ``largest`` + 1 bytes."""
    member = zlib.decompressobj(_GZIP)
    empty = True
    try:
        for piece in pieces:
            packed = piece
            while packed:
                if member.eof:
                    member = zlib.decompressobj(_GZIP)
                yield member.decompress(packed, largest + 1)
                empty = False
                packed = member.unconsumed_tail or member.unused_data
    except zlib.error:
        raise DecodeFailed("the answer is not a valid gzip stream, although its Content-Encoding is gzip") from None
    if not (member.eof or empty):
        raise DecodeFailed("the gzip stream of the answer is truncated")
