"""Answers to scrapes."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from exporter.metrics import Format, Page
from exporter.web.scrape import PageBuilder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.web.conftest import FakeExposition, StartApp

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


def test_plain(start_app: StartApp, exposition: FakeExposition) -> None:
    """Without Accept-Encoding, the text is sent uncompressed, with its length and type."""
    answer = start_app().request("/metrics")

    assert 200 == answer.status
    assert exposition.text == answer.body
    assert str(len(exposition.text)) == answer.headers["content-length"]
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "Accept, Accept-Encoding" == answer.headers["vary"]
    assert "nosniff" == answer.headers["x-content-type-options"]
    assert "content-encoding" not in answer.headers
    assert "transfer-encoding" not in answer.headers


def test_gzip(start_app: StartApp, exposition: FakeExposition) -> None:
    """If gzip is accepted, the same text is sent as one gzip member, with Content-Encoding."""
    answer = start_app().request("/metrics", accept_encoding="gzip")

    assert exposition.text == gzip.decompress(answer.body)
    assert str(len(answer.body)) == answer.headers["content-length"]
    assert "gzip" == answer.headers["content-encoding"]
    assert "Accept, Accept-Encoding" == answer.headers["vary"]


def test_format_by_accept(start_app: StartApp, exposition: FakeExposition) -> None:
    """The Accept header chooses the format of the page and its Content-Type."""
    request = start_app().request

    answers = [request("/metrics", accept=OPENMETRICS), request("/metrics", accept="text/plain")]

    assert [fmt.content_type for fmt in exposition.formats] == [answer.headers["content-type"] for answer in answers]
    assert answers[0].headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answers[1].headers["content-type"].startswith("text/plain; version=0.0.4")


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_head(start_app: StartApp, encoding: str) -> None:
    """HEAD returns the headers of GET, the length included, without a body."""
    request = start_app().request

    get = request("/metrics", accept_encoding=encoding)
    head = request("/metrics", method="HEAD", accept_encoding=encoding)

    assert (200, b"") == (head.status, head.body)
    assert get.headers | {"date": ""} == head.headers | {"date": ""}


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_empty_page(start_app: StartApp, exposition: FakeExposition, encoding: str) -> None:
    """A page without lines is a complete answer."""
    exposition.text = b""

    answer = start_app().request("/metrics", accept_encoding=encoding)

    assert 200 == answer.status
    assert str(len(answer.body)) == answer.headers["content-length"]


def test_page_is_made_outside_the_event_loop(start_app: StartApp, exposition: FakeExposition) -> None:
    """While a page is being made, the server answers other requests."""
    exposition.gate.clear()
    request = start_app().request

    with ThreadPoolExecutor() as pool:
        scrape = pool.submit(request, "/metrics")
        assert exposition.entered.wait(60)
        healthy = request("/-/healthy")
        exposition.gate.set()

        assert 200 == healthy.status
        assert exposition.text == scrape.result().body
    assert "web" not in exposition.threads


def test_failing_page(start_app: StartApp, exposition: FakeExposition, caplog: pytest.LogCaptureFixture) -> None:
    """A failure to make a page is a 500 and a log line; the next scrape starts from scratch."""
    client = start_app()
    exposition.error = RuntimeError("no page")

    failed = client.request("/metrics")
    exposition.error = None
    after = client.request("/metrics")
    client.server.stop()  # the line is written after the answer

    assert (500, 200) == (failed.status, after.status)
    assert 1 == caplog.text.count("RuntimeError: no page")


def test_waiting_scrapes_share_the_next_page(exposition: FakeExposition) -> None:
    """Scrapes that arrive while a page is being made share a later page per format."""
    exposition.gate.clear()

    async def main() -> list[Page]:
        builder = PageBuilder(exposition.page)
        early = asyncio.create_task(builder.page(Format.TEXT))
        assert await asyncio.to_thread(exposition.entered.wait, 10)
        late = [asyncio.create_task(builder.page(Format.TEXT)) for _ in range(3)]
        other = asyncio.create_task(builder.page(Format.OPENMETRICS))
        await asyncio.sleep(0)
        exposition.gate.set()
        return [await early, *await asyncio.gather(*late), await other]

    old, *late, other = asyncio.run(main())

    assert [Format.TEXT, Format.TEXT, Format.OPENMETRICS] == exposition.formats
    assert 1 == len({id(page) for page in late})
    assert len({id(old), id(late[0]), id(other)}) == 3


def test_disconnecting_client_does_not_cancel_the_page_for_others(exposition: FakeExposition) -> None:
    """The page is made for the clients that still wait."""
    exposition.gate.clear()

    async def main() -> Page:
        builder = PageBuilder(exposition.page)
        leaving, staying = (asyncio.create_task(builder.page(Format.TEXT)) for _ in range(2))
        assert await asyncio.to_thread(exposition.entered.wait, 10)
        leaving.cancel()
        await asyncio.sleep(0)
        exposition.gate.set()
        return await staying

    assert exposition.text == b"".join(asyncio.run(main()).plain_chunks())
    assert [Format.TEXT] == exposition.formats


def test_one_page_at_a_time(start_app: StartApp, exposition: FakeExposition) -> None:
    """Concurrent scrapes wait for each other's page instead of contending for the interpreter."""
    request = start_app().request
    exposition.delay = 0.02
    formats = [OPENMETRICS, "text/plain"] * 4

    with ThreadPoolExecutor(8) as pool:
        statuses = [answer.status for answer in pool.map(lambda accept: request("/metrics", accept=accept), formats)]

    assert [200] * 8 == statuses
    assert 1 == exposition.max_concurrent


def test_many_scrapes_at_once(start_app: StartApp, exposition: FakeExposition) -> None:
    """200 concurrent scrapes all get the complete answer."""
    request = start_app().request
    start = threading.Barrier(200)
    encodings = ["gzip", "identity"] * 100

    def scrape(encoding: str) -> bytes:
        start.wait()
        body = request("/metrics", accept_encoding=encoding).body
        return gzip.decompress(body) if encoding == "gzip" else body

    with ThreadPoolExecutor(200) as pool:
        bodies = list(pool.map(scrape, encodings))

    assert [exposition.text] * 200 == bodies


class _LongPage(Page):
    """A long page that is produced while it is sent. Counts the chunks."""

    chunk = b"x" * 65_536
    count = 1_600

    def __init__(self) -> None:
        super().__init__()
        self.plain_length = len(self.chunk) * self.count
        self.made = 0

    def plain_chunks(self) -> Iterator[bytes]:
        """Yield ``count`` chunks."""
        for _ in range(self.count):
            self.made += 1
            yield self.chunk


def _begin_scrape(port: int) -> socket.socket:
    """A client that requests the page and has read the first byte of the answer."""
    client = socket.create_connection(("127.0.0.1", port), timeout=60)
    client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"H" == client.recv(1)
    return client


def test_slow_clients_cost_no_work(start_app: StartApp) -> None:
    """Chunks are made as fast as the client reads, and no thread waits for it: others are served meanwhile."""
    page = _LongPage()
    client = start_app(lambda _fmt: page)

    with ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(_begin_scrape(client.server.port))
        healthy = client.request("/-/healthy")
        threads = threading.active_count()

    assert 200 == healthy.status
    assert page.made < 50 * page.count / 4
    assert threads < 20


def test_client_that_disconnects(start_app: StartApp, caplog: pytest.LogCaptureFixture) -> None:
    """When the client disconnects, its page is abandoned at once, and nothing is logged."""
    page = _LongPage()
    client = start_app(lambda _fmt: page)

    _begin_scrape(client.server.port).close()
    client.server.stop()  # waits for the chunk being sent

    assert page.made < page.count
    assert "" == caplog.text
