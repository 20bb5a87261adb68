"""Answers a scrape: content negotiation, headers, and the page in pieces as fast as the client takes them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from exporter.metrics import accepts_gzip, negotiate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

    from starlette.requests import Request

    from exporter.metrics import Format

PIECE: Final = 128 * 1024
"""Bytes that are handed to the socket at once. A slow client holds about two pieces, not the page."""


class Page(Protocol):
    """One state of all metrics in one format. Does not change while it is being sent."""

    @property
    def gzip_length(self) -> int:
        """Bytes of all ``gzip_chunks``."""
        ...

    @property
    def plain_length(self) -> int:
        """Bytes of all ``plain_chunks``."""
        ...

    def gzip_chunks(self) -> Iterable[bytes]:
        """Give the page as one gzip member. Cheap: the bytes are ready."""
        ...

    def plain_chunks(self) -> Iterable[bytes]:
        """Give the page as text. Inflates while it goes."""
        ...


class PageSource(Protocol):
    """Where pages come from: the exposition. Called in worker threads."""

    def page(self, fmt: Format, /) -> Page:
        """Give the page of this moment. May take some milliseconds."""
        ...


def scrape_endpoint(source: PageSource) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint for GET and HEAD of the telemetry path.

    Pages are made one at a time: many scrapes at once wait for each other rather than for the interpreter, and the
    polls beside them notice one.
    """
    turn = asyncio.Lock()

    async def scrape(request: Request) -> Response:
        fmt = negotiate(_header(request, "accept"))
        gzip = accepts_gzip(_header(request, "accept-encoding"))
        async with turn:
            page = await run_in_threadpool(source.page, fmt)
        headers = {
            "Content-Type": fmt.content_type,
            "Content-Length": str(page.gzip_length if gzip else page.plain_length),
            "Vary": "Accept, Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
        }
        if gzip:
            headers["Content-Encoding"] = "gzip"
        if request.method == "HEAD":
            return Response(headers=headers)
        if gzip:
            return StreamingResponse(_ready(page.gzip_chunks()), headers=headers)
        return StreamingResponse(_inflated(page.plain_chunks(), turn), headers=headers)

    return scrape


def _header(request: Request, name: str) -> str:
    """The header as one list, however many lines it came in; "" without one."""
    return ", ".join(request.headers.getlist(name))


async def _ready(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Chunks that cost nothing to get."""
    for piece in pieces(chunks):
        yield piece


async def _inflated(chunks: Iterable[bytes], turn: asyncio.Lock) -> AsyncIterator[bytes]:
    """Chunks that cost CPU: made in a worker thread, each when the client has taken the one before."""
    rest = pieces(chunks)
    while True:
        async with turn:
            piece = await run_in_threadpool(next, rest, b"")
        if not piece:
            return
        yield piece


def pieces(chunks: Iterable[bytes], size: int = PIECE) -> Iterator[bytes]:
    """The same bytes in pieces of ``size`` and a shorter last one; none is empty."""
    waiting: list[bytes] = []
    length = 0
    for chunk in chunks:
        waiting.append(chunk)
        length += len(chunk)
        if length >= size:
            joined = memoryview(b"".join(waiting))
            whole = length - length % size
            for start in range(0, whole, size):
                yield bytes(joined[start : start + size])
            waiting = [bytes(joined[whole:])]
            length -= whole
    if length:
        yield b"".join(waiting)
