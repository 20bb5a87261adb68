"""``python -m exporter.healthcheck`` against the real server, with and without a web config file."""

from __future__ import annotations

import errno
import logging
import socket
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import bcrypt
import pytest
from starlette.responses import PlainTextResponse

from exporter import healthcheck
from exporter.web import ExporterStatus, create_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.web.authority import Authority
    from tests.web.conftest import FakeExposition, LoadWebConfig, StartApp, StartServer

HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
USERS = f"basic_auth_users: {{alice: {HASH}}}\n"
TLS = "tls_server_config: {cert_file: server.pem, key_file: server.key"
MUTUAL = TLS + ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem"
OLD_CIPHER = "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA]"
STUCK = "the polling loop has been stuck for 61 s"


@pytest.fixture(autouse=True)
def _authorities(web_file: Path, authority: Authority) -> None:
    """ca.pem, next to the web config file, is the client authority."""
    (web_file.parent / "ca.pem").write_bytes(authority.certificate.read_bytes())


def check(port: int, *more: str) -> str | None:
    """The message of the health check."""
    return healthcheck.main([f"--port={port}", *more])


@contextmanager
def serving(answer: Callable[[socket.socket], object], host: str = "127.0.0.1") -> Iterator[int]:
    """The port of a server that calls ``answer`` for each connection, until it is closed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listening:

        def start_server() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    answer(connection)

        thread = threading.Thread(target=start_server)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(60)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    "web_config",
    [
        pytest.param(None, id="none"),
        pytest.param("{}", id="empty"),
        pytest.param(USERS, id="users"),
        pytest.param(TLS + "}", id="TLS"),
        pytest.param(TLS + "}\n" + USERS, id="TLS and users"),
        pytest.param(TLS + ", min_version: TLS13}", id="TLS 1.3"),
        pytest.param(TLS + ", max_version: TLS12}", id="TLS 1.2"),
        pytest.param(TLS + f", max_version: TLS12, {OLD_CIPHER}}}", id="old cipher"),
    ],
)
def test_reports_the_problem(
    start_app: StartApp, load_web_config: LoadWebConfig, caplog: pytest.LogCaptureFixture, web_config: str | None
) -> None:
    """With any TLS and password settings, 200 is healthy and the text of a 503 is reported; the server logs nothing."""
    caplog.set_level(logging.INFO)
    problem: list[str] = []
    settings = {} if web_config is None else {"web_config": load_web_config(web_config)}
    port = start_app(server=settings, unhealthy=lambda: problem[0] if problem else None).server.port

    well = check(port)
    problem.append(STUCK)
    stuck = check(port)

    assert (None, f"503: {STUCK}") == (well, stuck)
    assert [] == caplog.records


@pytest.mark.parametrize("more", ["", ", max_version: TLS12", ", client_allowed_sans: [reader]"])
def test_required_client_certificate(
    start_app: StartApp, load_web_config: LoadWebConfig, caplog: pytest.LogCaptureFixture, more: str
) -> None:
    """A server that rejects clients without a certificate is healthy and does not log the check."""
    caplog.set_level(logging.INFO)
    port = start_app(server={"web_config": load_web_config(MUTUAL + more + "}")}, unhealthy=lambda: STUCK).server.port

    assert None is check(port)
    assert [] == caplog.records


def test_readiness(start_app: StartApp, load_web_config: LoadWebConfig) -> None:
    """Another page can be checked, on the machine itself also without a password."""
    port = start_app(server={"web_config": load_web_config(USERS)}, unready=lambda: "not ready: 1 of 3").server.port

    assert "503: not ready: 1 of 3" == check(port, "--path=/-/ready")


@pytest.mark.parametrize(
    ("status", "message"), [(401, None), (404, "404: text"), (500, "500: text"), (302, "302: text")]
)
def test_statuses(start_server: StartServer, status: int, message: str | None) -> None:
    """A server that requires a password is healthy; other statuses are reported with their text in one safe line."""
    port = start_server(PlainTextResponse(" text\x1b\n\n", status)).port

    assert message == check(port)


def test_plain_is_one_request() -> None:
    """Without TLS the check makes one request on one connection, whatever the result."""
    seen: list[bytes] = []

    def refuse(connection: socket.socket) -> None:
        seen.append(connection.recv(4096))
        connection.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy")

    with serving(refuse) as port:
        assert "503: busy" == check(port)
    (request,) = seen
    assert request.startswith(b"GET /-/healthy HTTP/1.1\r\n")
    assert b"authorization" not in request.lower()


def test_nothing_listens() -> None:
    """A refused connection is reported as such."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]

    assert f"no answer on port {port}: Connection refused" == check(port)


@pytest.mark.parametrize(
    ("ipv6", "message"),
    [(errno.EADDRNOTAVAIL, "Connection refused"), (errno.ECONNREFUSED, "Connection refused"), (errno.EPERM, "not so")],
)
def test_without_ipv6(monkeypatch: pytest.MonkeyPatch, ipv6: int, message: str) -> None:
    """Missing IPv6 does not hide that nothing listens on IPv4; other failures are reported."""

    def refuse(host: str, _port: int, _path: str) -> tuple[int, str]:
        if host == "127.0.0.1":
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        raise OSError(ipv6, "not so")

    monkeypatch.setattr(healthcheck, "_ask_host", refuse)

    assert f"no answer on port 1: {message}" == check(1)


@pytest.mark.parametrize("sent", [b"", b"SSH-2.0-x\r\n"])
def test_something_else_listens(sent: bytes) -> None:
    """A server that speaks neither HTTP nor TLS is not the exporter."""

    def answer(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(sent)

    with serving(answer) as port:
        message = check(port)

    assert message is not None
    assert message.startswith(f"no answer on port {port}: ")
    assert "\n" not in message


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"])
def test_total_timeout(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    """The timeout covers the whole check: an answer that arrives byte by byte is late as well."""
    monkeypatch.setattr(healthcheck, "TIMEOUT", 0.3)
    over = threading.Event()

    def answer_slowly(connection: socket.socket) -> None:
        try:
            connection.sendall(sent)
            while not over.wait(0.05):
                connection.sendall(b"x" if sent else b"")
        except OSError:
            return

    with serving(answer_slowly) as port:
        message = check(port)
        over.set()

    assert f"no answer on port {port} within 0.3 s" == message


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="the machine has no IPv6")
def test_ipv6(start_server: StartServer, exposition: FakeExposition) -> None:
    """An exporter that listens only on IPv6 is found."""
    app = create_app(exposition.page, ExporterStatus(), telemetry_path="/metrics")
    server = start_server(app, "[::1]:0")

    assert None is check(server.port)


@pytest.mark.parametrize(("problem", "code", "message"), [(None, 0, b""), (STUCK, 1, f"503: {STUCK}\n".encode())])
def test_command(start_app: StartApp, problem: str | None, code: int, message: bytes) -> None:
    """The command exits with 0, or with 1 and one line; it imports nothing else of the exporter."""
    port = start_app(unhealthy=lambda: problem).server.port
    command = [sys.executable, "-X", "importtime", "-m", "exporter.healthcheck", f"--port={port}"]

    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    lines = done.stderr.splitlines(keepends=True)
    imports = [line for line in lines if line.startswith(b"import time:")]
    imported = {line.rpartition(b"|")[2].strip().decode() for line in imports}

    assert (code, message) == (done.returncode, b"".join(line for line in lines if line not in imports))
    assert {"exporter"} == {name for name in imported if name.partition(".")[0] == "exporter"}
    assert not imported & {"uvicorn", "starlette", "requests", "msgspec", "click"}


@pytest.mark.parametrize(
    ("addresses", "port"),
    [(None, 9439), ("", 9439), (":1", 1), ("0.0.0.0:2", 2), ("[::]:3 127.0.0.1:4", 3), ("nonsense", 9439)],
)
def test_port_of_the_environment(monkeypatch: pytest.MonkeyPatch, addresses: str | None, port: int) -> None:
    """In a container that listens on another port by its environment, the check needs no option."""
    monkeypatch.delenv("DIFY_EXPORTER_WEB_LISTEN_ADDRESS", raising=False)
    if addresses is not None:
        monkeypatch.setenv("DIFY_EXPORTER_WEB_LISTEN_ADDRESS", addresses)
    asked: list[int] = []

    def ask(_host: str, port: int, _path: str) -> tuple[int, str]:
        asked.append(port)
        return 200, ""

    monkeypatch.setattr(healthcheck, "_ask_host", ask)

    assert None is healthcheck.main([])
    assert [port] == asked
