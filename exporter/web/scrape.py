"""Answers a scrape: content negotiation, headers, and the page in chunks as fast as the client reads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from exporter.metrics import accepts_gzip, negotiate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from starlette.requests import Request

    from exporter.metrics import Format


class Page(Protocol):
    """All metrics at one instant in one format. Does not change while it is being sent."""

    @property
    def gzip_length(self) -> int:
        """Total bytes of ``gzip_chunks``."""
        ...

    @property
    def plain_length(self) -> int:
        """Total bytes of ``plain_chunks``."""
        ...

    def gzip_chunks(self) -> Iterator[bytes]:
        """Yield the page as one gzip member. Cheap: the bytes are ready."""
        ...

    def plain_chunks(self) -> Iterator[bytes]:
        """Yield the page as text, inflated on demand. A slow client occupies a chunk or two, not the page."""
        ...


class PageSource(Protocol):
    """Source of pages: the exposition. Called in worker threads."""

    def page(self, fmt: Format, /) -> Page:
        """Return the current page. May take some milliseconds."""
        ...


class Pages:
    """Pages of a source, made one at a time in worker threads, so that many scrapes slow down polls no more than one.

    Scrapes that wait for their turn share the next page: it is made after all of them have arrived.
    """

    def __init__(self, source: PageSource) -> None:
        self._source = source
        self._next: dict[Format, asyncio.Task[Page]] = {}
        self.turn = asyncio.Lock()
        """Held while a scrape uses the CPU."""

    async def page(self, fmt: Format) -> Page:
        """A page that is at least as new as this call."""
        made = self._next.get(fmt)
        if made is None:
            made = self._next[fmt] = asyncio.create_task(self._make(fmt))
        # A client that disconnects must not cancel the page for the others.
        return await asyncio.shield(made)

    async def _make(self, fmt: Format) -> Page:
        async with self.turn:
            del self._next[fmt]
            return await run_in_threadpool(self._source.page, fmt)


def scrape_endpoint(source: PageSource) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint for GET and HEAD of the telemetry path."""
    pages = Pages(source)

    async def scrape(request: Request) -> Response:
        fmt = negotiate(_header(request, "accept"))
        gzip = accepts_gzip(_header(request, "accept-encoding"))
        page = await pages.page(fmt)
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
        return StreamingResponse(_inflated(page.plain_chunks(), pages.turn), headers=headers)

    return scrape


def _header(request: Request, name: str) -> str:
    """The header's lines joined to one list; "" when it is absent."""
    return ", ".join(request.headers.getlist(name))


async def _ready(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Chunks that are ready and need no thread."""
    for chunk in chunks:
        yield chunk


async def _inflated(chunks: Iterator[bytes], turn: asyncio.Lock) -> AsyncIterator[bytes]:
    """Chunks that cost CPU: each is made in a worker thread once the client has read the previous one."""
    while True:
        async with turn:
            chunk = await run_in_threadpool(next, chunks, None)
        if chunk is None:
            return
        yield chunk
