"""An exposition with known content, and the real server on a free port."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from exporter.metrics import Page
from exporter.metrics.gzip import Deflater, join
from exporter.web import ExporterStatus, WebConfigFile, WebServer, create_app
from tests.web.authority import Authority, Certificate

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import ASGIApp

    from exporter.metrics import Format

TEXT = b"".join(b'dify_up{server="main-%d"} 1\n' % number for number in range(40_000))
PIECE = 50_000
"""Bytes of text in each piece of a page."""


def make_page(text: bytes) -> Page:
    """A page with ``text``."""
    deflater = Deflater()
    return Page(*filter(None, [join(deflater.piece(text[at : at + PIECE]) for at in range(0, len(text), PIECE))]))


@dataclass
class FakeExposition:
    """Returns pages as an exposition does, and records the requested formats.

    ``gate``: a page is made only while it is open. ``delay``: seconds that making a page takes.
    """

    text: bytes = TEXT
    formats: list[Format] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)
    max_concurrent: int = 0
    delay: float = 0.0
    error: Exception | None = None
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    _inside: int = 0

    def __post_init__(self) -> None:
        """Open the gate."""
        self.gate.set()

    def page(self, fmt: Format, /) -> Page:
        """Return a page of ``text``."""
        self._inside += 1
        self.max_concurrent = max(self.max_concurrent, self._inside)
        try:
            self.formats.append(fmt)
            self.threads.add(threading.current_thread().name)
            self.entered.set()
            assert self.gate.wait(60)
            threading.Event().wait(self.delay)
            if self.error:
                raise self.error
            return make_page(self.text)
        finally:
            self._inside -= 1


@dataclass(frozen=True)
class Answer:
    """An answer as received; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Client:
    """Sends requests to a server over loopback."""

    server: WebServer

    def request(self, path: str, *, method: str = "GET", **headers: str) -> Answer:
        """Send one request on its own connection; ``accept_encoding`` is Accept-Encoding."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)) as connection:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            response = connection.getresponse()
            received = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, received, response.read())


StartServer = Callable[..., WebServer]
LoadWebConfig = Callable[..., WebConfigFile]
StartApp = Callable[..., Client]


@pytest.fixture
def exposition() -> Iterator[FakeExposition]:
    """An exposition with one page. Its gate is opened at the end, so that nothing waits for it."""
    exposition = FakeExposition()
    yield exposition
    exposition.gate.set()


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Starts an app, by default on a free loopback port, with server settings; stops it at the end."""
    servers: list[WebServer] = []

    def start(app: ASGIApp, address: str = "127.0.0.1:0", **settings: Any) -> WebServer:
        server = WebServer(app, address, **settings)
        server.start()
        servers.append(server)
        return server

    yield start
    stopped = [server.stop() for server in servers]
    assert all(stopped)


@pytest.fixture
def start_app(exposition: FakeExposition, start_server: StartServer) -> StartApp:
    """Starts the exporter's app on a free port, with ``exposition`` unless ``page`` is another one's method.

    ``server``: settings of the server. ``status``: fields of the status.
    """

    def start(
        page: Callable[[Format], Page] = exposition.page,
        *,
        telemetry_path: str = "/metrics",
        server: dict[str, Any] | None = None,
        **status: Any,
    ) -> Client:
        app = create_app(page, ExporterStatus(**status), telemetry_path=telemetry_path)
        return Client(start_server(app, **(server or {})))

    return start


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that signs server and client certificates."""
    return Authority(tmp_path_factory.mktemp("authority"), "good")


@pytest.fixture(scope="session")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("other-authority"), "other")


@pytest.fixture(scope="session")
def localhost(authority: Authority) -> Certificate:
    """A certificate for localhost."""
    return authority.sign("localhost")


@pytest.fixture
def web_file(tmp_path: Path, localhost: Certificate) -> Path:
    """The path of the web config file; server.pem and server.key, for localhost, are next to it."""
    localhost.copy(tmp_path, "server")
    return tmp_path / "web.yml"


@pytest.fixture
def load_web_config(web_file: Path) -> LoadWebConfig:
    """Writes a web config file and loads it."""

    def read(text: str) -> WebConfigFile:
        web_file.write_text(text, encoding="utf-8")
        return WebConfigFile(web_file)

    return read
