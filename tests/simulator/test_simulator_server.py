"""The server over real sockets: latency, keep-alive, connection limits and faults."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import requests

from exporter.clock import SystemClock
from exporter.simulator import Api, BatchPlan, DatasetPlan, Fault, Scenario, SimulatorServer, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATASET = "501756ed-cffa-44bb-b992-713f60113872"
BATCH = "20261121173517669864"
KEY = "dataset-secret"
PATH = f"/v1/datasets/{DATASET}/documents/{BATCH}/indexing-status"
REQUEST = f"GET {PATH} HTTP/1.1\r\nHost: dify\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()


@pytest.fixture
def serve() -> Iterator[Callable[..., SimulatorServer]]:
    """Serve one lost batch, with the given options of the server."""
    running: list[SimulatorServer] = []

    def start(**options: Any) -> SimulatorServer:
        batch = BatchPlan(id=BATCH, lost=True)
        scenario = Scenario(key=KEY, datasets=(DatasetPlan(id=DATASET, batches=(batch,)),))
        server = SimulatorServer(Api(World(scenario, SystemClock())), **options)
        server.start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop()


def connect(server: SimulatorServer) -> socket.socket:
    """A raw connection."""
    return socket.create_connection((server.host, server.port), timeout=60)


def read_all(connection: socket.socket) -> bytes:
    """Read until the server closes the connection."""
    data = b""
    try:
        while piece := connection.recv(65_536):
            data += piece
    except ConnectionResetError:
        pass
    return data


def test_an_answer_over_http(serve: Callable[..., SimulatorServer]) -> None:
    """Status, body and headers are those of a real server."""
    server = serve()
    answer = requests.get(
        f"{server.url}/datasets/{DATASET}/documents/{BATCH}/indexing-status",
        timeout=60,
        headers={"Authorization": f"Bearer {KEY}"},
    )
    assert (200, "waiting") == (answer.status_code, answer.json()["data"][0]["indexing_status"])
    assert {"Date", "Connection", "Content-Type", "X-Version", "Set-Cookie", "Content-Length"} == set(answer.headers)
    assert "keep-alive" == answer.headers["Connection"]


def test_head_has_the_headers_alone(serve: Callable[..., SimulatorServer]) -> None:
    """Content-Length is that of the GET, no body is sent, and the connection serves the next request."""
    with closing(http.client.HTTPConnection("127.0.0.1", serve().port, timeout=60)) as client:
        client.request("HEAD", PATH, headers={"Authorization": f"Bearer {KEY}"})
        head = client.getresponse()
        assert (200, b"") == (head.status, head.read())
        client.request("GET", PATH, headers={"Authorization": f"Bearer {KEY}"})
        assert str(len(client.getresponse().read())) == head.headers["Content-Length"]


def test_requests_in_pieces_and_in_a_row(serve: Callable[..., SimulatorServer]) -> None:
    """A request may arrive in pieces, and two may arrive at once: both are answered, in order."""
    with closing(connect(serve())) as connection:
        connection.sendall(REQUEST[:20])
        connection.sendall(REQUEST[20:] + REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert 2 == read_all(connection).count(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("head", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"])
def test_invalid_requests_are_refused(serve: Callable[..., SimulatorServer], head: bytes) -> None:
    """An invalid request is answered with 400, and the connection is closed."""
    with closing(connect(serve())) as connection:
        connection.sendall(head)
        assert read_all(connection).startswith(b"HTTP/1.1 400 ")


def test_an_endless_head_is_cut(serve: Callable[..., SimulatorServer]) -> None:
    """A header section of 64 KiB without an end closes the connection."""
    with closing(connect(serve())) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000)
        assert b"" == read_all(connection)


def test_idle_connections_are_closed(serve: Callable[..., SimulatorServer]) -> None:
    """The server closes a kept-alive connection after the idle time."""
    with closing(connect(serve(idle=0.05))) as connection:
        since = time.monotonic()
        connection.sendall(REQUEST)
        assert read_all(connection).endswith(b"]}")
        assert 0.04 < time.monotonic() - since < 30


def test_connections_above_the_limit_wait(serve: Callable[..., SimulatorServer]) -> None:
    """A connection above the limit is served when an idle one is closed, and not before."""
    server = serve(connections=2, idle=0.3)
    since = time.monotonic()
    idle = [connect(server) for _ in range(2)]
    for holder in idle:
        holder.sendall(REQUEST)
        holder.recv(65_536)
    with closing(connect(server)) as late:
        late.sendall(REQUEST)
        assert late.recv(65_536).startswith(b"HTTP/1.1 200")
    assert time.monotonic() - since > 0.3
    assert (3, 2) == (server.opened, server.peak)
    for holder in idle:
        holder.close()


def test_a_waiting_connection_that_closes_does_not_count(serve: Callable[..., SimulatorServer]) -> None:
    """A waiting connection that closes does not count."""
    server = serve(connections=1, idle=0.2)
    with closing(connect(server)) as holder, closing(connect(server)) as patient:
        holder.sendall(REQUEST)
        connect(server).close()
        patient.sendall(REQUEST)
        assert patient.recv(65_536).startswith(b"HTTP/1.1 200")


def test_latency_holds_for_each_of_many(serve: Callable[..., SimulatorServer]) -> None:
    """Every answer is delayed by the latency, and concurrent ones are delayed concurrently."""
    server = serve(latency=0.5, connections=None)
    connections = [connect(server) for _ in range(20)]
    since = time.monotonic()
    for connection in connections:
        connection.sendall(REQUEST)
    for connection in connections:
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
        connection.close()
    assert 0.45 < time.monotonic() - since < 5.0  # one after the other they would take 10 s


@pytest.mark.parametrize(
    ("where", "test"),
    [
        ("before", lambda data: data == b""),
        ("headers", lambda data: data.startswith(b"HTTP/1.1 200") and b"\r\n\r\n" not in data),
        ("body", lambda data: b"\r\n\r\n{" in data and not data.endswith(b"]}")),
    ],
)
def test_cut_connections(serve: Callable[..., SimulatorServer], where: Any, test: Callable[[bytes], bool]) -> None:
    """The connection ends before the answer, in its headers or in its body."""
    server = serve()
    server.api.faults.add(Fault(kind="cut", where=where))
    with closing(connect(server)) as connection:
        connection.sendall(REQUEST)
        assert test(read_all(connection))


def test_a_dripping_answer_arrives_in_the_end(serve: Callable[..., SimulatorServer]) -> None:
    """Bytes arrive one by one, with pauses; then the connection serves the next request."""
    server = serve()
    server.api.faults.add(Fault(kind="drip", seconds=0.0001, times=1))
    with closing(connect(server)) as connection:
        connection.sendall(REQUEST)
        first = connection.recv(65_536)
        assert len(first) < 100
        connection.sendall(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert 2 == (first + read_all(connection)).count(b"]}")


def test_a_huge_answer_is_streamed(serve: Callable[..., SimulatorServer]) -> None:
    """Megabytes arrive completely, and a client that stops reading does not block the server."""
    server = serve()
    server.api.faults.add(Fault(kind="huge", size=3_000_000))
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as client:
        client.request("GET", PATH, headers={"Authorization": f"Bearer {KEY}"})
        assert 3_000_000 == len(client.getresponse().read())
    with closing(connect(server)) as lazy:
        lazy.sendall(REQUEST)
        lazy.recv(10)
    server.api.faults.clear()
    with closing(connect(server)) as other:
        other.sendall(REQUEST)
        assert other.recv(65_536).startswith(b"HTTP/1.1 200")


def test_an_interim_response_precedes_the_answer(serve: Callable[..., SimulatorServer]) -> None:
    """A client that takes the first status line for the answer finds the real one in the bytes that follow."""
    server = serve()
    server.api.faults.add(Fault(kind="interim"))
    with closing(connect(server)) as connection:
        connection.sendall(REQUEST.replace(b"HTTP/1.1\r\n", b"HTTP/1.0\r\n", 1))
        received = read_all(connection)
    assert received.startswith(b"HTTP/1.1 103 Early Hints\r\n")
    assert 1 == received.count(b"HTTP/1.1 200 OK\r\n")


def test_a_wrong_length_is_announced(serve: Callable[..., SimulatorServer]) -> None:
    """The announced length is the fault's; an unknown status has the phrase Unknown."""
    server = serve()
    server.api.faults.add(Fault(kind="length", size=99_999))
    server.api.faults.add(Fault(kind="status", status=599))
    with closing(connect(server)) as connection:
        connection.sendall(REQUEST)
        answer = connection.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 599 Unknown\r\n")
        assert b"Content-Length: 99999\r\n" in answer


def test_the_control_endpoints_over_http(serve: Callable[..., SimulatorServer]) -> None:
    """Faults can be controlled from another process; the control endpoints have no latency and no faults."""
    server = serve(latency=300.0)
    base = server.url.removesuffix("/v1")
    answer = requests.post(f"{base}/_simulator/faults", data=json.dumps({"kind": "delay", "seconds": 60}), timeout=60)
    assert [60.0] == [fault["seconds"] for fault in answer.json()]
    assert 1 == len(requests.get(f"{base}/_simulator/faults", timeout=60).json())


def test_a_port_in_use_is_an_error(serve: Callable[..., SimulatorServer]) -> None:
    """A second server on an address does not start; stopping it does nothing."""
    taken = serve()
    second = SimulatorServer(taken.api, port=taken.port)
    with pytest.raises(OSError, match="in use"):
        second.start()
    second.stop()


def test_stop_ends_everything(serve: Callable[..., SimulatorServer]) -> None:
    """Connections end, including slow answers, the port is free and no thread is left."""
    before = threading.active_count()
    server = serve(latency=300.0)
    with closing(connect(server)) as slow, closing(connect(server)) as dripping:
        slow.sendall(REQUEST)
        requests.get(server.url.replace("/v1", "/_simulator/faults"), timeout=60)
        server.api.faults.add(Fault(kind="drip", seconds=300.0))
        server.latency = 0.0
        dripping.sendall(REQUEST)
        dripping.recv(1)
        server.stop()
        assert b"" == read_all(slow)
    assert before == threading.active_count()
    with pytest.raises(ConnectionRefusedError):
        connect(server)


def test_a_server_is_a_context(serve: Callable[..., SimulatorServer]) -> None:
    """The server listens inside ``with`` and not after it."""
    with SimulatorServer(serve().api) as server:
        assert 200 == requests.get(f"{server.url.removesuffix('/v1')}/health", timeout=60).status_code
    with pytest.raises(ConnectionRefusedError):
        connect(server)


def test_the_url_of_ipv6(serve: Callable[..., SimulatorServer]) -> None:
    """An IPv6 address is in brackets."""
    server = serve(host="::1")
    assert f"http://[::1]:{server.port}/v1" == server.url
    assert 200 == requests.get(f"{server.url.removesuffix('/v1')}/health", timeout=60).status_code
