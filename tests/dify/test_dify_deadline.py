"""One deadline for the whole request, with real sockets."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest

from exporter.dify import ConnectFailed, TimedOut
from exporter.dify.transport.connection import Deadline, _DeadlineReader
from tests.dify.conftest import BATCH, DATASET, MakeClient, Peer, RecordingObserver, Upstream, always, http_answer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from exporter.dify import Client

TIMEOUT = 0.5
MARGIN = 3.0
"""Seconds by which a busy machine may be late. Without a deadline every script here goes on for longer."""
EMPTY = http_answer(200, {"data": []})
CHUNKED = http_answer(200, b"", {"Transfer-Encoding": "chunked"})


def slow_headers(peer: Peer) -> None:
    """Send an endless header byte by byte."""
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    peer.send_slowly(b"a" * 1000)


def slow_lines(peer: Peer) -> None:
    """Send one header line at a time."""
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\n")
    for number in range(90):
        if peer.ending.wait(0.1):
            return
        peer.send(f"X-{number}: a\r\n".encode())


def endless_continue(peer: Peer) -> None:
    """Send endless interim answers."""
    peer.request()
    for _ in range(200):
        if peer.ending.wait(0.05):
            return
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")


def slow_body(peer: Peer) -> None:
    """Send a body byte by byte."""
    peer.request()
    peer.send(http_answer(200, b"", {"Content-Length": "1000"}))
    peer.send_slowly(b" " * 1000)


def slow_error(peer: Peer) -> None:
    """Send the body of an error byte by byte."""
    peer.request()
    peer.send(http_answer(502, b"", {"Content-Length": "1000"}))
    peer.send_slowly(b" " * 1000)


def slow_chunks(peer: Peer) -> None:
    """Send one byte per chunk."""
    peer.request()
    peer.send(CHUNKED)
    peer.send_slowly(b"1\r\n \r\n" * 200)


def endless_trailer(peer: Peer) -> None:
    """Send the last chunk and endless trailers."""
    peer.request()
    peer.send(CHUNKED + b'c\r\n{"data": []}\r\n0\r\n')
    peer.send_slowly(b"X: a\r\n" * 200)


SLOW: list[Callable[[Peer], None]] = [
    Peer.send_nothing,
    slow_headers,
    slow_lines,
    endless_continue,
    slow_body,
    slow_chunks,
    endless_trailer,
]


def fetch(client: Client) -> object:
    """Send one request."""
    return client.indexing_status(DATASET, BATCH).value


def assert_ends_in_time(client: Client, observer: RecordingObserver, timeout: float = TIMEOUT) -> None:
    """Assert that a request ends at the deadline: not earlier, and not much later."""
    started = time.monotonic()
    with pytest.raises(TimedOut, match=f"no complete answer within {timeout:g} s"):
        fetch(client)
    assert timeout * 0.9 <= time.monotonic() - started <= timeout + MARGIN
    assert ("main", "indexing_status", "timeout") == observer.requests[-1]


@pytest.mark.parametrize("script", SLOW)
def test_a_slow_server_never_blocks_a_worker_past_the_deadline(
    script: Callable[[Peer], None], upstream: Upstream, connect: MakeClient, observer: RecordingObserver
) -> None:
    """A request ends at the deadline however slowly bytes are received; the next one uses a new connection."""
    upstream.play(script, always(EMPTY))
    client = connect(timeout=TIMEOUT)
    assert_ends_in_time(client, observer)
    assert [] == fetch(client)
    assert 2 == upstream.connections


def test_a_used_connection_has_a_deadline_too(
    upstream: Upstream, connect: MakeClient, observer: RecordingObserver
) -> None:
    """The second request on a connection has its own full timeout, and a timeout is not repeated."""
    timeout = 2.0

    def script(peer: Peer) -> None:
        peer.request()
        peer.ending.wait(timeout * 0.5)
        peer.send(EMPTY)
        slow_headers(peer)

    upstream.play(script)
    client = connect(timeout=timeout)
    assert [] == fetch(client)
    assert_ends_in_time(client, observer, timeout)
    assert 1 == upstream.connections


def test_a_late_byte_does_not_extend_the_deadline(upstream: Upstream, connect: MakeClient) -> None:
    """A byte shortly before the deadline does not extend it."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.ending.wait(1.8)
        peer.send(b"H")
        peer.send_nothing()

    upstream.play(script)
    started = time.monotonic()
    with pytest.raises(TimedOut):
        fetch(connect(timeout=2.0))
    assert 3.5 > time.monotonic() - started


def test_an_error_with_a_slow_body_has_its_status(
    upstream: Upstream, connect: MakeClient, observer: RecordingObserver
) -> None:
    """The deadline ends reading the body; the error keeps the status."""
    upstream.play(slow_error)
    started = time.monotonic()
    with pytest.raises(Exception, match="indexing_status: 502"):
        fetch(connect(timeout=TIMEOUT))
    assert TIMEOUT + MARGIN > time.monotonic() - started
    assert [("main", "indexing_status", "502")] == observer.requests


def test_connecting_is_within_the_deadline(connect: MakeClient, observer: RecordingObserver) -> None:
    """Connecting to a host that neither accepts nor refuses (its listen queue is full) ends at the deadline."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        assert_ends_in_time(connect(f"http://127.0.0.1:{full.getsockname()[1]}/v1", timeout=TIMEOUT), observer)


def test_an_unresponsive_address_allows_time_for_the_next(
    upstream: Upstream, connect: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host is reached within the deadline even if the first of its two addresses never responds."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        host, port = upstream.address.split(":")
        known = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in (full.getsockname(), (host, int(port)))
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: known)
        upstream.play(always(EMPTY))
        assert [] == fetch(connect("http://two.invalid/v1", timeout=3.0))


@pytest.mark.parametrize("known", [[], [(99, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))]])
def test_a_name_without_a_usable_address_is_connect_failed(
    known: list[object], connect: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name without an address, or with an unsupported address family only, is a ConnectFailed."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: known)
    with pytest.raises(ConnectFailed):
        fetch(connect("http://none.invalid/v1"))


def test_a_slow_proxy_tunnel_is_within_the_deadline(
    upstream: Upstream, connect: MakeClient, observer: RecordingObserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline includes the tunnel through a proxy."""
    upstream.play(slow_headers)
    monkeypatch.setenv("https_proxy", f"http://{upstream.address}")
    assert_ends_in_time(connect("https://dify.invalid/v1", timeout=TIMEOUT), observer)
    assert upstream.requests[0].startswith("CONNECT dify.invalid:443 ")
    assert "Authorization" not in upstream.requests[0]


def test_remaining_time_never_grows_and_is_never_negative() -> None:
    """A copy has the same deadline; the connect timeout is never 0, which would be non-blocking."""
    past = Deadline(time.monotonic() - 5).clone()
    assert (0.001, 0.0) == (past.connect_timeout, past.read_timeout)
    ahead = Deadline(time.monotonic() + 5)
    assert 5 >= ahead.connect_timeout >= ahead.clone().read_timeout > 4


def slow_handshake(peer: Peer) -> None:
    """Send the beginning of a TLS record byte by byte."""
    peer.send_slowly(b"\x16\x03\x03\x40\x00\x02" + b"\0" * 1000)


@pytest.mark.parametrize("script", [Peer.send_nothing, slow_handshake])
def test_the_handshake_is_within_the_deadline(
    script: Callable[[Peer], None], upstream: Upstream, connect: MakeClient, observer: RecordingObserver
) -> None:
    """The deadline includes the TLS handshake."""
    upstream.play(script)
    assert_ends_in_time(connect(f"https://{upstream.address}/v1", timeout=TIMEOUT), observer)


@pytest.mark.parametrize("script", SLOW)
def test_the_deadline_holds_over_tls(
    script: Callable[[Peer], None],
    secure: Upstream,
    certificate: Path,
    connect: MakeClient,
    observer: RecordingObserver,
) -> None:
    """Each kind of slow answer ends at the deadline over TLS too."""
    secure.play(script)
    assert_ends_in_time(connect(f"https://{secure.address}/v1", ca_file=certificate, timeout=TIMEOUT), observer)


def test_no_byte_is_read_after_the_deadline() -> None:
    """After the deadline nothing is read even if data is available; otherwise a server could send forever."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 200 OK")
        ours.settimeout(1e-6)
        with pytest.raises(TimeoutError), ours.makefile("rb", buffering=0) as raw:
            _DeadlineReader(raw, ours).readinto(bytearray(9))
