"""POST /-/reload: authorization and answers."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from exporter.web import ExporterStatus, create_app

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.web.conftest import FakeExposition, StartApp


def test_successful_reload(start_app: StartApp) -> None:
    """A successful reload is 200."""
    reloads: list[str] = []
    request = start_app(reload=lambda: reloads.append(threading.current_thread().name)).request

    answer = request("/-/reload", method="POST")

    assert (200, b"Configuration reloaded.\n") == (answer.status, answer.body)
    assert 1 == len(reloads)
    assert ["web"] != reloads


def test_sections_that_require_a_restart(start_app: StartApp) -> None:
    """Changed sections that require a restart are named; the reload still counts as a success."""
    request = start_app(reload=lambda: None, needs_restart=lambda: ["limits", "labels"]).request

    answer = request("/-/reload", method="POST")

    expected = b"Configuration reloaded. Changes in limits, labels require a restart.\n"
    assert (200, expected) == (answer.status, answer.body)


def test_failed_reload(start_app: StartApp) -> None:
    """A failed reload is 500 with the problems."""
    answer = start_app(reload=lambda: "config.yaml:1: unknown key").request("/-/reload", method="POST")

    assert (500, b"config.yaml:1: unknown key\n") == (answer.status, answer.body)


def test_no_file_to_reload(start_app: StartApp) -> None:
    """Without a configuration file there is nothing to reload: the request is at fault, and the answer says why."""
    answer = start_app().request("/-/reload", method="POST")

    assert 409 == answer.status
    assert b"no configuration file to reload" in answer.body
    assert b"--config.file" in answer.body


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_wrong_method(start_app: StartApp, method: str) -> None:
    """Methods that a crawler or a prefetch may use do not reload."""
    reloads: list[None] = []
    answer = start_app(reload=lambda: reloads.append(None)).request("/-/reload", method=method)

    assert (405, "POST", []) == (answer.status, answer.headers["allow"], reloads)


def _post(
    exposition: FakeExposition, client: tuple[str, int] | None, headers: Mapping[str, str] | None = None, **state: bool
) -> tuple[int, bytes, bool]:
    """Status, body and whether the configuration was reloaded, for a client at a given address."""
    done: list[None] = []
    status = ExporterStatus(reload=lambda: done.append(None))
    app = create_app(exposition.page, status, telemetry_path="/metrics")
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/-/reload",
        "headers": [(name.encode(), text.encode()) for name, text in (headers or {}).items()],
        "client": client,
        "state": state,
    }
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], sent[1]["body"], bool(done)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
def test_local_client(exposition: FakeExposition, host: str) -> None:
    """Clients on the machine may reload."""
    assert (200, True) == _post(exposition, (host, 1))[::2]


@pytest.mark.parametrize("client", [("10.0.0.1", 1), ("::ffff:10.0.0.1", 1), ("fe80::1%eth0", 1), ("", 1), None])
def test_remote_client(exposition: FakeExposition, client: tuple[str, int] | None) -> None:
    """Clients that are not known to be local may not reload and get an answer that says how to."""
    status, body, done = _post(exposition, client)

    assert (403, False) == (status, done)
    assert b"SIGHUP" in body
    assert b"basic_auth_users" in body


@pytest.mark.parametrize("header", ["forwarded", "x-forwarded-for", "x-real-ip"])
def test_remote_client_behind_a_proxy(exposition: FakeExposition, header: str) -> None:
    """A proxy on the machine does not make its clients local."""
    assert (403, False) == _post(exposition, ("127.0.0.1", 1), {header: "127.0.0.1"})[::2]


def test_authenticated_remote_client(exposition: FakeExposition) -> None:
    """Authenticated clients may reload from anywhere."""
    assert (200, True) == _post(exposition, ("10.0.0.1", 1), {"x-forwarded-for": "x"}, authenticated=True)[::2]


def test_web_page(exposition: FakeExposition) -> None:
    """No web page in a browser on the machine may reload, with or without the password that the browser knows."""
    assert (403, False) == _post(exposition, ("127.0.0.1", 1), {"origin": "https://evil.example"}, authenticated=True)[
        ::2
    ]


def test_one_at_a_time(start_app: StartApp, exposition: FakeExposition) -> None:
    """Reloads wait for each other without occupying threads, and scrapes do not wait for them."""
    inside: list[int] = []
    most: list[int] = []
    gate = threading.Event()

    def reload() -> None:
        inside.append(1)
        most.append(len(inside))
        assert gate.wait(60)
        inside.pop()

    request = start_app(reload=reload).request
    posts = [threading.Thread(target=request, args=("/-/reload",), kwargs={"method": "POST"}) for _ in range(50)]
    for each in posts:
        each.start()
    while not most:
        threading.Event().wait(0.01)
    scraped = request("/metrics").body
    gate.set()
    for each in posts:
        each.join(60)

    assert exposition.text == scraped
    assert [1] * 50 == most
