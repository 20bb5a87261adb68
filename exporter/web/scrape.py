"""Answers a scrape: content negotiation, headers, and the page in pieces as fast as the client takes them."""

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
    """One state of all metrics in one format. Does not change while it is being sent."""

    @property
    def gzip_length(self) -> int:
        """Bytes of all ``gzip_chunks``."""
        ...

    @property
    def plain_length(self) -> int:
        """Bytes of all ``plain_chunks``."""
        ...

    def gzip_chunks(self) -> Iterator[bytes]:
        """Give the page as one gzip member. Cheap: the bytes are ready."""
        ...

    def plain_chunks(self) -> Iterator[bytes]:
        """Give the page as text, inflated while it goes. A slow client holds a chunk or two, not the page."""
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


async def _ready(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Chunks that cost nothing to get."""
    for chunk in chunks:
        yield chunk


async def _inflated(chunks: Iterator[bytes], turn: asyncio.Lock) -> AsyncIterator[bytes]:
    """Chunks that cost CPU: made in a worker thread, each when the client has taken the one before."""
    while True:
        async with turn:
            chunk = await run_in_threadpool(next, chunks, None)
        if chunk is None:
            return
        yield chunk
