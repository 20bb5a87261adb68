"""A loopback server that sends exactly the bytes a test specifies, and a client for it."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from exporter.clock import SystemClock
from exporter.config import Secret, ServerConfig
from exporter.dify import Client
from tests.integration.harness import tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = "dataset-K3yThatMustNotShow"
DATASET = "501756ed-cffa-44bb-b992-713f60113872"
BATCH = "20261121173517669864"
DOCUMENT = "c23d659c-2dd9-43a9-9ba1-c2344a7f1127"


def http_answer(status: int = 200, body: bytes | str | object = b"", headers: dict[str, str] | None = None) -> bytes:
    """An answer as bytes. A body that is neither bytes nor text is encoded as JSON.

    Has a Content-Length unless ``headers`` override it.
    """
    if not isinstance(body, bytes | str):
        body = json.dumps(body)
    content = body if isinstance(body, bytes) else body.encode()
    given = {name.lower(): value for name, value in (headers or {}).items()}
    lines = {"content-type": "application/json", "x-version": "1.12.1"}
    if "transfer-encoding" not in given:
        lines["content-length"] = str(len(content))
    lines |= given
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Odd"
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} {phrase}\r\n{head}\r\n".encode("latin-1") + content


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket, requests: list[str], ending: threading.Event) -> None:
        self._sock = sock
        self._requests = requests
        self.ending = ending

    def request(self) -> str | None:
        """The head of the next request, None if the client has closed the connection."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self._sock.recv(1)
            if not byte:
                return None
            head += byte
        self._requests.append(head.decode("latin-1"))
        return self._requests[-1]

    def send(self, data: bytes) -> None:
        """Send at once."""
        self._sock.sendall(data)

    def send_slowly(self, data: bytes, pause: float = 0.02) -> None:
        """Send ``data`` byte by byte until the client closes the connection or the test ends."""
        for byte in data:
            if self.ending.wait(pause):
                return
            self._sock.sendall(bytes([byte]))

    def send_nothing(self) -> None:
        """Send nothing until the test ends."""
        self.ending.wait(120)

    def reset(self) -> None:
        """Reset the connection (TCP RST)."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._sock.close()


def always(data: bytes) -> Callable[[Peer], None]:
    """A script that answers each request with ``data``."""

    def script(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(data)

    return script


def once(data: bytes) -> Callable[[Peer], None]:
    """A script that answers one request with ``data`` and closes the connection."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(data)

    return script


class Upstream:
    """A listening socket. The n-th connection runs the n-th script, later connections run the last one."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._scripts: list[Callable[[Peer], None]] = []
        self._ending = threading.Event()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self.requests: list[str] = []
        self.connections = 0
        self.closed = threading.Semaphore(0)
        self._threads[0].start()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def play(self, *scripts: Callable[[Peer], None]) -> None:
        """Set the scripts of future connections."""
        self._scripts = list(scripts)

    def stop(self) -> None:
        """Close everything and wait for the threads."""
        self._ending.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(60)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            script = self._scripts[min(self.connections, len(self._scripts) - 1)]
            self.connections += 1
            self._open.append(sock)
            thread = threading.Thread(target=self._follow, args=(sock, script))
            self._threads.append(thread)
            thread.start()

    def _follow(self, sock: socket.socket, script: Callable[[Peer], None]) -> None:
        with contextlib.suppress(OSError), contextlib.closing(sock):
            secured = self._context.wrap_socket(sock, server_side=True) if self._context else sock
            with contextlib.closing(secured):
                self._open.append(secured)
                script(Peer(secured, self.requests, self._ending))
        self.closed.release()


@dataclass
class RecordingObserver:
    """A request observer that records all calls."""

    requests: list[tuple[str, str, str]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def requested(self, server: str, endpoint: str, code: str, seconds: float) -> None:
        """Record the call."""
        self.requests.append((server, endpoint, code))
        self.seconds.append(seconds)

    def throttled(self, server: str, seconds: float) -> None:
        """Record the call."""
        assert server == "main"
        self.waited.append(seconds)

    def unknown_value(self, server: str, field: str) -> None:
        """Record the call."""
        assert server == "main"
        self.unknown.append(field)


class MakeClient(Protocol):
    """The function that the fixture ``connect`` returns."""

    def __call__(self, url: str | None = None, /, **settings: Any) -> Client:
        """A client for ``url``, by default that of the upstream."""
        ...


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Isolate tests from proxies, CA bundles and .netrc of the machine."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A server without TLS."""
    server = Upstream()
    yield server
    server.stop()


@pytest.fixture
def observer() -> RecordingObserver:
    """The observer of the clients that ``connect`` creates."""
    return RecordingObserver()


@pytest.fixture
def connect(request: pytest.FixtureRequest, observer: RecordingObserver) -> Iterator[MakeClient]:
    """Create clients; their connections are closed after the test."""
    clients: list[Client] = []

    def make(url: str | None = None, /, **settings: Any) -> Client:
        target = url or f"http://{request.getfixturevalue('upstream').address}/v1"
        own: dict[str, Any] = {"clock": SystemClock()}
        own |= {name: settings.pop(name) for name in ("clock", "stop") if name in settings}
        options: dict[str, Any] = {"api_key": Secret(KEY), "timeout": 60.0, "requests_per_second": 1e6} | settings
        server = ServerConfig(name="main", url=target, **options)
        client = Client(server, observer=observer, user_agent="dify-exporter/test", **own)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close_connections()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Self-signed certificate for 127.0.0.1 and its key, in one file."""
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    options = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = [tool("openssl"), "req", "-x509", *options, *names, "-keyout", str(file)]
    certificate = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    file.write_text(file.read_text() + certificate)
    return file


@pytest.fixture
def secure(certificate: Path) -> Iterator[Upstream]:
    """A server with TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = Upstream(context)
    yield server
    server.stop()
