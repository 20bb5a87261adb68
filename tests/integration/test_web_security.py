"""The web config file with a real Prometheus, and slow clients against the real process."""

from __future__ import annotations

import re
import resource
import socket
import ssl
import statistics
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import bcrypt
import pytest
import yaml

from tests.integration.harness import DEADLINE, Database, Program, exporter, free_port, get, skip_unless_ci, tool, until
from tests.web.authority import Authority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.conftest import Configure, Start

ANY_PORT = ("--web.listen-address", "127.0.0.1:0")
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


def _hash(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(8)).decode()


def _write(path: Path, **users: str) -> None:
    """Write a web config file with client certificates and these users; one rename makes it visible."""
    tls = {
        "cert_file": "server.pem",
        "key_file": "server.key",
        "client_auth_type": "RequireAndVerifyClientCert",
        "client_ca_file": "ca.pem",
    }
    fresh = path.with_suffix(".fresh")
    hashes = {name: _hash(password) for name, password in users.items()}
    fresh.write_text(yaml.safe_dump({"tls_server_config": tls, "basic_auth_users": hashes}))
    fresh.rename(path)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Signs the certificates of the server and of Prometheus."""
    folder = tmp_path / "authority"
    folder.mkdir()
    return Authority(folder, "authority")


@pytest.fixture
def scrape(tmp_path: Path, authority: Authority) -> Iterator[Callable[[int], Database]]:
    """Starts a Prometheus that scrapes a port every second with each of two passwords; stops it at the end."""
    (tmp_path / "ca.pem").write_bytes(authority.certificate.read_bytes())
    authority.sign("localhost").copy(tmp_path, "server")
    authority.sign("prometheus").copy(tmp_path, "prometheus")
    with ExitStack() as running:

        def start(port: int) -> Database:
            database = _scrape(tmp_path, port)
            running.callback(database.program.close)
            return database

        yield start


def _scrape(folder: Path, port: int) -> Database:
    jobs = [
        {
            "job_name": password,
            "scheme": "https",
            "basic_auth": {"username": "prometheus", "password": password},
            "tls_config": {"ca_file": "ca.pem", "cert_file": "prometheus.pem", "key_file": "prometheus.key"},
            "static_configs": [{"targets": [f"localhost:{port}"]}],
        }
        for password in ("first", "second")
    ]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))
    web_port = free_port()
    program = Program(
        folder / "prometheus",
        tool("prometheus"),
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{web_port}",
        "--log.level=warn",
    )
    return Database("prometheus", web_port, program)


def _up(database: Database) -> tuple[float | None, float | None]:
    values = {dict(labels)["job"]: value for labels, value in database.query("up").items()}
    return values.get("first"), values.get("second")


@pytest.mark.needs("prometheus", "openssl")
def test_prometheus_scrapes_with_password_and_certificate(
    start: Start, configure: Configure, tmp_path: Path, authority: Authority, scrape: Callable[[int], Database]
) -> None:
    """Prometheus scrapes with password and certificate, not with a wrong password; both change without a restart."""
    web = tmp_path / "web.yml"
    _write(web, prometheus="first")
    program = start("run", "--config.file", configure(), "--web.config.file", str(web), *ANY_PORT)
    port = program.port()
    database = scrape(port)
    until(lambda: (1, 0) == _up(database), why=lambda: f"{_up(database)} {program.log}")
    before = ssl.get_server_certificate(("127.0.0.1", port))

    authority.sign("localhost").copy(tmp_path, "server")
    _write(web, prometheus="second")

    until(lambda: (0, 1) == _up(database), why=lambda: f"{_up(database)} {program.log}")
    assert before != ssl.get_server_certificate(("127.0.0.1", port))
    program.await_log('msg="web config reloaded"')
    assert not re.search(r"\b401\b", program.log)
    assert 0 == program.stop()


def test_invalid_file_is_rejected_at_startup(tmp_path: Path, configure: Configure) -> None:
    """``run`` and ``check`` report each problem in one line with its line number, exit code 1."""
    web = tmp_path / "web.yml"
    web.write_text("basic_auth_users:\n  alice: canary-password\nrate: 1\n")

    for command in (("run", *ANY_PORT), ("check", "--offline")):
        done = exporter(*command, "--config.file", configure(), DIFY_EXPORTER_WEB_CONFIG_FILE=str(web))
        assert 1 == done.code
        assert "web.yml:2: basic_auth_users.alice: is not a bcrypt hash" in done.err
        assert "web.yml:3: unknown key 'rate'" in done.err
        assert "canary" not in done.err + done.out


def test_check_shows_warnings_of_both_files(tmp_path: Path, configure: Configure) -> None:
    """``check`` shows the warnings of both files and reports both as valid."""
    web = tmp_path / "web.yml"
    web.write_text("http_server_config: {http2: true}")
    done = exporter("check", "--offline", "--config.file", configure(), "--web.config.file", str(web))

    assert 0 == done.code
    assert f"warning: {web}:1: http_server_config.http2: has no effect" in done.out
    assert f"{web}: web configuration is valid" in done.out


def _descriptors(program: Program) -> int:
    return len(list(Path(f"/proc/{program.process.pid}/fd").iterdir()))


def _memory(program: Program) -> int:
    """Resident memory in bytes."""
    pages = int(Path(f"/proc/{program.process.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_slow_clients(start: Start, configure: Configure) -> None:
    """600 clients that never finish a request or never read use bounded memory and descriptors and delay no scrape."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < 1024:
        skip_unless_ci("1024 file descriptors are not allowed")
    program = start("run", "--config.file", configure(), *ANY_PORT)
    port = program.port()
    program.await_log('msg="first cycle done"')
    page = len(get(port, "/metrics").body)
    descriptors, memory = _descriptors(program), _memory(program)
    seconds: list[float] = []
    with ExitStack() as clients:
        for number in range(600):
            client = clients.enter_context(socket.create_connection(("127.0.0.1", port), timeout=DEADLINE))
            client.sendall(REQUEST * 20 if number % 2 else REQUEST[:-2])
            if number % 20 == 0:
                started = time.monotonic()
                assert 200 == get(port, "/metrics").status
                seconds.append(time.monotonic() - started)
        assert statistics.median(seconds) < 1
        assert max(seconds) < 5  # on a busy machine too; a scrape that waited for a slow client would take 10 s
        assert page > 10_000
        assert _descriptors(program) - descriptors < 560
        assert _memory(program) - memory < 150e6
        until(lambda: _descriptors(program) - descriptors < 350)  # without a request: disconnected
        assert 200 == get(port, "/metrics").status
    until(lambda: _descriptors(program) - descriptors < 10)
    assert "level=error" not in program.log
    assert "level=warning" not in program.log
