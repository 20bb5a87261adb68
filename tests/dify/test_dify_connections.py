"""The client's connections, rate limiting and shutdown."""

from __future__ import annotations

import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import pytest
from urllib3.connection import HTTPConnection

from exporter.clock import ManualClock, SystemClock
from exporter.dify import ConnectFailed, DifyError, Stopped, TimedOut, Unreachable
from exporter.dify.transport.connection import ClosedWithoutAnswer, _Connection
from exporter.dify.transport.failures import unreachable
from exporter.dify.transport.messages import Route
from tests.dify.conftest import (
    BATCH,
    DATASET,
    MakeClient,
    Peer,
    RecordingObserver,
    Upstream,
    always,
    http_answer,
    once,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.dify import Client

EMPTY = http_answer(200, {"data": []})


def fetch(client: Client) -> None:
    """Send one request."""
    client.indexing_status(DATASET, BATCH)


def close_at_request(peer: Peer) -> None:
    """Answer one request, and close the connection on the next one."""
    peer.request()
    peer.send(EMPTY)
    peer.request()


def reset_at_request(peer: Peer) -> None:
    """Answer one request, and reset the connection on the next one."""
    close_at_request(peer)
    peer.reset()


@pytest.mark.parametrize("script", [close_at_request, reset_at_request, once(EMPTY)])
def test_a_connection_that_the_server_just_closed_is_replaced_once(
    script: object, upstream: Upstream, connect: MakeClient, observer: RecordingObserver
) -> None:
    """A request on an idle connection that the server closed is repeated on a new one, and counts once."""
    upstream.play(script, always(EMPTY))  # type: ignore[arg-type]
    client = connect()
    fetch(client)
    fetch(client)
    assert 2 == upstream.connections
    assert [("main", "indexing_status", "200")] * 2 == observer.requests


def test_a_second_closed_connection_is_an_error(
    upstream: Upstream, connect: MakeClient, observer: RecordingObserver
) -> None:
    """A request is repeated only once: a new connection that is closed without an answer is a failure."""
    upstream.play(close_at_request, lambda peer: (peer.request(), None)[1])
    client = connect()
    fetch(client)
    with pytest.raises(ConnectFailed):
        fetch(client)
    assert 2 == upstream.connections
    assert ["200", "connect"] == [code for _, _, code in observer.requests]


def test_a_new_connection_without_an_answer_is_not_repeated(upstream: Upstream, connect: MakeClient) -> None:
    """A request on a new connection is not repeated."""
    upstream.play(lambda peer: (peer.request(), None)[1])
    with pytest.raises(ConnectFailed):
        fetch(connect())
    assert 1 == upstream.connections


def test_a_connection_that_was_opened_again_counts_as_new(upstream: Upstream, connect: MakeClient) -> None:
    """A connection reopened after a detected close counts as new: without an answer, the request is not repeated."""
    upstream.play(once(EMPTY), lambda peer: (peer.request(), None)[1])
    client = connect()
    fetch(client)
    assert upstream.closed.acquire(timeout=60)
    with pytest.raises(ConnectFailed):
        fetch(client)
    assert 2 == upstream.connections


def test_an_answer_that_began_is_not_repeated(upstream: Upstream, connect: MakeClient) -> None:
    """A request is not repeated once the server has sent a byte of the answer."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(EMPTY)
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nX-Ver")
        peer.reset()

    upstream.play(script, always(EMPTY))
    client = connect()
    fetch(client)
    with pytest.raises(ConnectFailed):
        fetch(client)
    assert 1 == upstream.connections


@pytest.mark.parametrize("send", [Peer.send, partial(Peer.send_slowly, pause=0.0005)], ids=["at once", "byte by byte"])
@pytest.mark.parametrize(
    "interim",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 199 Unassigned\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n" * 5 + b"HTTP/1.1 103 Early Hints\r\n\r\n",
    ],
)
def test_interim_answers_are_skipped(
    interim: bytes,
    send: Callable[[Peer, bytes], None],
    upstream: Upstream,
    connect: MakeClient,
    observer: RecordingObserver,
) -> None:
    """Every 1xx is followed by the final answer, which is the answer to this request and to no other."""

    def script(peer: Peer) -> None:
        while (line := peer.request()) is not None:
            batch = line.partition("/indexing-status")[0].rpartition("/")[2]
            answer = http_answer(200, {"data": [{"id": batch, "indexing_status": "indexing"}]})
            send(peer, interim + answer)

    upstream.play(script)
    client = connect()
    for batch in ("1", "2", "3", "4"):
        items = client.indexing_status(DATASET, batch).value
        assert items is not None
        assert [batch] == [item.id for item in items]
    assert 1 == upstream.connections
    assert ["200"] * 4 == [code for _, _, code in observer.requests]


def test_endless_interim_answers_are_an_error(upstream: Upstream, connect: MakeClient) -> None:
    """Interim answers without a final one are a failure, before the time-out."""
    upstream.play(once(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000))
    with pytest.raises(Unreachable):
        fetch(connect())


def test_bytes_after_an_answer_are_not_the_next_answer(upstream: Upstream, connect: MakeClient) -> None:
    """Unsolicited bytes are not interpreted as the next answer."""
    upstream.play(always(EMPTY + http_answer(500, {})), always(EMPTY))
    client = connect()
    fetch(client)
    fetch(client)
    assert 2 == len(upstream.requests)


@pytest.mark.parametrize("cut", [1, 17, 60])
def test_a_connection_with_surplus_bytes_is_not_used_again(
    cut: int, upstream: Upstream, connect: MakeClient, observer: RecordingObserver
) -> None:
    """A second answer, of which a part is received with the first one, does not become the answer to a request."""
    surplus = http_answer(500, {})

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(EMPTY + surplus[:cut])
        peer.request()
        peer.send(surplus[cut:] + EMPTY)

    upstream.play(script, always(EMPTY))
    client = connect()
    fetch(client)
    fetch(client)
    assert 2 == upstream.connections
    assert ["200", "200"] == [code for _, _, code in observer.requests]


def test_a_connection_that_switches_protocols_is_not_used_again(upstream: Upstream, connect: MakeClient) -> None:
    """What follows 101 is not HTTP."""
    upstream.play(
        always(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"), always(EMPTY)
    )
    client = connect()
    with pytest.raises(DifyError):
        fetch(client)
    fetch(client)
    assert 2 == upstream.connections


def test_each_thread_has_one_connection_and_all_are_closed_together(upstream: Upstream, connect: MakeClient) -> None:
    """Three workers use three connections; the end of a burst closes them all, and the next poll opens a new one."""
    upstream.play(always(EMPTY))
    client = connect()
    meet = threading.Barrier(3)

    def work() -> None:
        for _ in range(5):
            meet.wait(60)
            fetch(client)

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(work) for _ in range(3)]:
            done.result()
        assert 3 == upstream.connections
        client.close_connections()
        for _ in range(3):
            assert upstream.closed.acquire(timeout=60)
        pool.submit(fetch, client).result()
    assert 4 == upstream.connections


def test_closing_does_not_affect_a_request_in_flight(upstream: Upstream, connect: MakeClient) -> None:
    """A request in flight succeeds; its connection is closed afterwards."""
    asked, go = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.request()
        asked.set()
        go.wait(60)
        peer.send(EMPTY)
        peer.request()

    upstream.play(script)
    client = connect()
    with ThreadPoolExecutor(1) as pool:
        in_flight = pool.submit(client.indexing_status, DATASET, BATCH)
        assert asked.wait(60)
        client.close_connections()
        go.set()
        assert [] == in_flight.result().value
        assert upstream.closed.acquire(timeout=60)


def test_closing_at_any_time_fails_no_request(upstream: Upstream, connect: MakeClient) -> None:
    """All requests of two workers succeed while connections are closed continuously."""
    upstream.play(always(EMPTY))
    client = connect()

    def work() -> list[object]:
        return [client.indexing_status(DATASET, BATCH).value for _ in range(50)]

    with ThreadPoolExecutor(2) as pool:
        workers = [pool.submit(work) for _ in range(2)]
        while not all(worker.done() for worker in workers):
            client.close_connections()
    assert [[[]] * 50] * 2 == [worker.result() for worker in workers]


def test_requests_wait_for_the_rate_limit(upstream: Upstream, connect: MakeClient, observer: RecordingObserver) -> None:
    """At two requests per second, each further request waits half a second, and the observer is called."""
    upstream.play(always(EMPTY))
    clock = ManualClock()
    client = connect(clock=clock, requests_per_second=2)
    for _ in range(3):
        fetch(client)
    assert pytest.approx([0.5, 0.5]) == observer.waited
    assert pytest.approx(1.0) == clock.monotonic()
    assert pytest.approx([0, 0, 0]) == observer.seconds


def test_a_repeated_request_counts_against_the_rate_limit(
    upstream: Upstream, connect: MakeClient, observer: RecordingObserver
) -> None:
    """The repeat after a closed connection counts against the rate limit like any other request."""
    upstream.play(close_at_request, always(EMPTY))
    client = connect(clock=ManualClock(), requests_per_second=2)
    fetch(client)
    fetch(client)
    assert pytest.approx([0.5, 0.5]) == observer.waited


def test_stop_ends_waiting_at_once(upstream: Upstream, connect: MakeClient, observer: RecordingObserver) -> None:
    """A worker that waits for its slot returns promptly on a stop, without sending a request."""
    upstream.play(always(EMPTY))
    stop, waiting = threading.Event(), threading.Event()

    class Watched(SystemClock):
        def wait(self, event: threading.Event, seconds: float) -> bool:
            waiting.set()
            return super().wait(event, seconds)

    client = connect(clock=Watched(), stop=stop, requests_per_second=0.01)
    fetch(client)
    with ThreadPoolExecutor(1) as pool:
        worker = pool.submit(fetch, client)
        assert waiting.wait(60)
        stop.set()
        with pytest.raises(Stopped):
            worker.result(timeout=60)
    assert 1 == len(upstream.requests)
    assert 5 > observer.waited[0]


def test_nothing_is_sent_after_the_stop(upstream: Upstream, connect: MakeClient) -> None:
    """After a stop, nothing is sent even if a slot is free. Stopped is not a DifyError."""
    upstream.play(always(EMPTY))
    client = connect()
    client.stop.set()
    with pytest.raises(Stopped) as caught:
        fetch(client)
    assert not isinstance(caught.value, DifyError)
    assert [] == upstream.requests


@pytest.mark.parametrize("served", [True, False])
def test_tls_that_breaks_while_sending_is_stale_on_a_used_connection_only(
    served: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL may detect the server's close while writing; on a new connection this is a failure."""

    def broken(*_: object, **__: object) -> None:
        raise ssl.SSLEOFError(8, "EOF occurred in violation of protocol")

    monkeypatch.setattr(HTTPConnection, "request", broken)
    connection = _Connection("127.0.0.1")
    connection._used = served
    with pytest.raises(ClosedWithoutAnswer if served else ssl.SSLEOFError):
        connection.request("GET", "/")


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), ConnectFailed, "dify:80: connection closed"),
        (TimeoutError(110, "Connection timed out"), TimedOut, "dify:80: no complete answer within 10 s"),
        (OSError(113, "No route to host"), ConnectFailed, "dify:80: No route to host"),
        (UnicodeError("label too long"), ConnectFailed, r"dify:80: invalid url \(UnicodeError\)"),
        (ConnectionResetError(104, "reset by peer"), ConnectFailed, r"dify:80: connection closed \(reset by peer\)"),
        (ClosedWithoutAnswer("closed"), ConnectFailed, "dify:80: connection closed before an answer was received"),
    ],
)
def test_library_exceptions_map_to_errors_of_the_tree(error: Exception, kind: type[DifyError], said: str) -> None:
    """Exceptions that cannot be caused on loopback are mapped to the correct error too."""
    with pytest.raises(kind, match=said):
        raise unreachable(Route("http://dify:80/v1"), error, 10.0)


def test_truncated_headers_are_not_an_answer(upstream: Upstream, connect: MakeClient) -> None:
    """Headers truncated by the end of the connection are not accepted as complete."""
    upstream.play(once(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"))
    with pytest.raises(ConnectFailed):
        connect().indexing_status(DATASET, BATCH)
