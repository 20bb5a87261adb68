"""Answers a scrape: content negotiation, headers, and the page in chunks as fast as the client reads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from exporter.metrics import accepts_gzip, negotiate
from exporter.web.pages import NO_SNIFFING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from starlette.requests import Request

    from exporter.metrics import Format, Page


class PageBuilder:
    """Calls ``page`` in worker threads, once at a time, so that many scrapes slow down polls no more than one.

    Scrapes that wait for their turn share the next page: it is made after all of them have arrived.
    """

    def __init__(self, page: Callable[[Format], Page]) -> None:
        self._page = page
        self._next: dict[Format, asyncio.Task[Page]] = {}
        self.turn = asyncio.Lock()
        """Held while a scrape uses the CPU."""

    async def page(self, fmt: Format) -> Page:
        """A page that is at least as new as this call."""
        task = self._next.get(fmt)
        if task is None:
            task = self._next[fmt] = asyncio.create_task(self._build(fmt))
        # A client that disconnects must not cancel the page for the others.
        return await asyncio.shield(task)

    async def _build(self, fmt: Format) -> Page:
        async with self.turn:
            del self._next[fmt]
            return await run_in_threadpool(self._page, fmt)


def scrape_endpoint(page_in: Callable[[Format], Page]) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint for GET and HEAD of the telemetry path."""
    builder = PageBuilder(page_in)

    async def scrape(request: Request) -> Response:
        fmt = negotiate(_header(request, "accept"))
        gzip = accepts_gzip(_header(request, "accept-encoding"))
        page = await builder.page(fmt)
        headers = {
            "Content-Type": fmt.content_type,
            "Content-Length": str(page.gzip_length if gzip else page.plain_length),
            "Vary": "Accept, Accept-Encoding",
            **NO_SNIFFING,
        }
        if gzip:
            headers["Content-Encoding"] = "gzip"
        if request.method == "HEAD":
            return Response(headers=headers)
        chunks = _ready(page.gzip_chunks()) if gzip else _inflated(page.plain_chunks(), builder.turn)
        return StreamingResponse(chunks, headers=headers)

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
