"""Authentication: who gets access, at what cost, and the effect of guessing."""

from __future__ import annotations

import asyncio
import base64
import http.client
import threading
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import bcrypt
import pytest
from starlette.applications import Starlette
from starlette.responses import Response

from exporter.web.auth import HealthRoute, WebConfigMiddleware
from exporter.web.passwords import (
    MAX_CACHED,
    MAX_WAITING,
    MAX_WAITING_PER_ADDRESS,
    PasswordResult,
    PasswordVerifier,
    basic_credentials,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from pathlib import Path

    from starlette.requests import Request

    from tests.web.conftest import LoadWebConfig, StartApp

CHEAP = b"$2b$04$"
USERS = {b"alice": CHEAP + b"alice", b"bob": b"$2b$10$bob"}


@dataclass
class FakeBcrypt:
    """Accepts the end of the hash as password, and records the calls.

    ``gate``: verification runs while it is open. ``delay``: seconds that it takes.
    """

    calls: list[tuple[bytes, bytes]] = field(default_factory=list)
    delay: float = 0.0
    max_concurrent: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    _inside: int = 0

    def __post_init__(self) -> None:
        """Open the gate."""
        self.gate.set()

    def __call__(self, password: bytes, hashed: bytes) -> bool:
        """Verify a password."""
        self._inside += 1
        self.max_concurrent = max(self.max_concurrent, self._inside)
        self.calls.append((password, hashed))
        assert self.gate.wait(60)
        threading.Event().wait(self.delay)
        self._inside -= 1
        return hashed[7:] == password


def run(
    main: Callable[[Callable[..., Awaitable[PasswordResult]]], Coroutine[Any, Any, None]], check: FakeBcrypt
) -> None:
    """Run ``main`` with a function that authenticates a name and a password, optionally from an address."""
    verifier = PasswordVerifier(check)

    async def verify(name: bytes, password: bytes, client: str = "10.0.0.1", users: Any = USERS) -> PasswordResult:
        return await verifier.verify(users, (name, password), client)

    try:
        asyncio.run(main(verify))
    finally:
        check.gate.set()
        verifier.close()


def test_cached_password_costs_one_bcrypt() -> None:
    """A correct pair is accepted again without bcrypt; a wrong pair is verified each time."""
    check = FakeBcrypt()

    async def main(verify: Callable[..., Awaitable[PasswordResult]]) -> None:
        assert [PasswordResult.CORRECT] * 3 == [await verify(b"alice", b"alice") for _ in range(3)]
        assert [PasswordResult.WRONG] * 2 == [await verify(b"alice", b"bob") for _ in range(2)]

    run(main, check)

    assert [b"alice", b"bob", b"bob"] == [password for password, _ in check.calls]


def test_unknown_name_costs_one_bcrypt() -> None:
    """An unknown name is verified against a hash of the highest cost, and is always rejected."""
    check = FakeBcrypt()

    async def main(verify: Callable[..., Awaitable[PasswordResult]]) -> None:
        assert PasswordResult.WRONG is await verify(b"mallory", b"bob")
        assert PasswordResult.WRONG is await verify(b"mallory", b"bob")
        assert PasswordResult.WRONG is await verify(b"", b"bob")

    run(main, check)

    assert [(b"bob", USERS[b"bob"])] * 3 == check.calls


def test_changed_users() -> None:
    """A user who was removed or got another password is not accepted with the old password."""
    check = FakeBcrypt()

    async def main(verify: Callable[..., Awaitable[PasswordResult]]) -> None:
        assert PasswordResult.CORRECT is await verify(b"alice", b"alice")
        assert PasswordResult.WRONG is await verify(b"alice", b"alice", users={b"bob": USERS[b"bob"]})
        assert PasswordResult.WRONG is await verify(b"alice", b"alice", users={b"alice": CHEAP + b"other"})
        assert PasswordResult.CORRECT is await verify(b"alice", b"alice")

    run(main, check)

    assert 3 == len(check.calls)


def test_one_at_a_time() -> None:
    """Concurrent requests run one bcrypt at a time, and identical pairs share one."""
    check = FakeBcrypt(delay=0.05)

    async def main(verify: Callable[..., Awaitable[PasswordResult]]) -> None:
        results = [verify(b"alice", password, client) for password in (b"alice", b"x") for client in "abcdefgh"]
        assert [PasswordResult.CORRECT] * 8 + [PasswordResult.WRONG] * 8 == await asyncio.gather(*results)

    run(main, check)

    assert 1 == check.max_concurrent
    assert 2 == len(check.calls)


def test_many_guesses_from_one_address() -> None:
    """Guesses from one address fill only its share: cached users are accepted at once, new clients are verified."""
    check = FakeBcrypt()

    async def main(verify: Callable[..., Awaitable[PasswordResult]]) -> None:
        assert PasswordResult.CORRECT is await verify(b"alice", b"alice")
        check.gate.clear()
        guesses = [asyncio.create_task(_run(verify(b"alice", b"guess %d" % number))) for number in range(100)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert 100 - MAX_WAITING_PER_ADDRESS == sum(guess.done() for guess in guesses)

        assert PasswordResult.CORRECT is await verify(b"alice", b"alice")
        newcomer = asyncio.create_task(_run(verify(b"bob", b"bob", "10.0.0.2")))
        await asyncio.sleep(0)
        check.gate.set()

        assert PasswordResult.CORRECT is await newcomer
        results = await asyncio.gather(*guesses)
        assert (MAX_WAITING_PER_ADDRESS, 96) == (
            results.count(PasswordResult.WRONG),
            results.count(PasswordResult.BUSY),
        )
        assert PasswordResult.WRONG is await verify(b"alice", b"one more")

    run(main, check)


async def _run(result: Awaitable[PasswordResult]) -> PasswordResult:
    return await result


def test_many_guesses_from_many_addresses() -> None:
    """The number of waiting passwords is bounded over all addresses."""
    check = FakeBcrypt()

    async def main(verify: Callable[..., Awaitable[PasswordResult]]) -> None:
        check.gate.clear()
        guesses = [asyncio.create_task(_run(verify(b"alice", b"%d" % number, str(number)))) for number in range(100)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        check.gate.set()
        assert MAX_WAITING == (await asyncio.gather(*guesses)).count(PasswordResult.WRONG)

    run(main, check)


def test_cache_is_bounded() -> None:
    """The cache of correct pairs is bounded, keeps the most recently used ones, and contains no plain text."""
    verifier = PasswordVerifier(FakeBcrypt())
    users = {b"user%d" % number: CHEAP + b"password%d" % number for number in range(MAX_CACHED + 10)}

    async def main() -> None:
        for number in range(MAX_CACHED + 10):
            assert PasswordResult.CORRECT is await verifier.verify(
                users, (b"user%d" % number, b"password%d" % number), "x"
            )

    asyncio.run(main())
    verifier.close()

    assert MAX_CACHED == len(verifier._cached)
    assert b"password" not in b"".join(verifier._cached)


def test_client_that_disconnects_during_verification() -> None:
    """A client that disconnects during verification leaves nothing behind."""
    check = FakeBcrypt()

    async def main(verify: Callable[..., Awaitable[PasswordResult]]) -> None:
        check.gate.clear()
        tasks = [
            asyncio.create_task(_run(verify(b"alice", b"%d" % number))) for number in range(MAX_WAITING_PER_ADDRESS)
        ]
        await asyncio.sleep(0)
        for each in tasks:
            each.cancel()
        check.gate.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert PasswordResult.WRONG is await verify(b"alice", b"last", "10.0.0.2")  # after the abandoned ones
        assert PasswordResult.CORRECT is await verify(b"alice", b"alice")

    run(main, check)


@pytest.mark.parametrize("prefix", [b"$2a$", b"$2b$", b"$2y$"])
def test_real_bcrypt(prefix: bytes) -> None:
    """Hashes of all common tools work; bytes of a password beyond 72 are ignored, as in htpasswd."""
    password = b"x" * 72
    hashed = prefix + bcrypt.hashpw(password, bcrypt.gensalt(4))[4:]
    verifier = PasswordVerifier()

    async def verify(sent: bytes) -> PasswordResult:
        return await verifier.verify({b"alice": hashed}, (b"alice", sent), "x")

    results = [asyncio.run(verify(sent)) for sent in (password, password + b"y", b"x" * 71, b"", b"a\0b")]
    verifier.close()

    assert [PasswordResult.CORRECT] * 2 + [PasswordResult.WRONG] * 3 == results


def test_password_that_bcrypt_rejects(monkeypatch: pytest.MonkeyPatch) -> None:
    """A password that bcrypt rejects is wrong, not an error."""

    def refuse(_password: bytes, _hashed: bytes) -> bool:
        raise ValueError("no")

    monkeypatch.setattr(bcrypt, "checkpw", refuse)
    verifier = PasswordVerifier()
    result = asyncio.run(verifier.verify(USERS, (b"alice", b"alice"), "x"))
    verifier.close()

    assert PasswordResult.WRONG is result


def _basic(text: bytes) -> bytes:
    return b"Basic " + base64.b64encode(text)


@pytest.mark.parametrize(
    ("headers", "credentials"),
    [
        ([_basic(b"alice:secret")], (b"alice", b"secret")),
        ([_basic(b"alice:a:b:")], (b"alice", b"a:b:")),
        ([_basic(b"alice:")], (b"alice", b"")),
        ([_basic(":ü".encode())], (b"", "ü".encode())),
        ([_basic(b"alice:secret").replace(b"Basic ", b"bAsIc   ")], (b"alice", b"secret")),
        ([], None),
        ([b""], None),
        ([b"Basic"], None),
        ([b"Basic !!!"], None),
        ([b"Basic YTpi\xff"], None),
        ([_basic(b"alice")], None),
        ([b"Bearer YTpi"], None),
        ([_basic(b"a:b"), _basic(b"a:b")], None),
    ],
)
def test_credentials(headers: list[bytes], credentials: tuple[bytes, bytes] | None) -> None:
    """Name and password come from exactly one well-formed header, separated by the first colon."""
    assert credentials == basic_credentials(headers)


HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
RIGHT = {"authorization": _basic(b"alice:secret").decode()}


def test_every_path_requires_a_password(start_app: StartApp, load_web_config: LoadWebConfig) -> None:
    """Remote clients need a password for every path, health and unknown paths included; with it they get all."""
    request = start_app(server={"web_config": load_web_config(f"basic_auth_users: {{alice: {HASH}}}")}).request
    remote = {"x_forwarded_for": "10.0.0.1"}

    for path, status in (("/", 200), ("/metrics", 200), ("/-/healthy", 200), ("/-/ready", 200), ("/none", 404)):
        refused = [
            request(path, **remote),
            request(path, authorization="Basic eDp5"),
            request(path, method="HEAD", **remote),
        ]
        assert [401] * 3 == [answer.status for answer in refused]
        assert 'Basic realm="dify-exporter", charset="UTF-8"' == refused[0].headers["www-authenticate"]
        assert b"Unauthorized\n" == refused[0].body
        assert status == request(path, **RIGHT).status
    assert 401 == request("/-/reload", method="POST").status


def test_health_checks_need_no_password(start_app: StartApp, load_web_config: LoadWebConfig) -> None:
    """Without a password the machine itself may read health and readiness only; a wrong password is rejected."""
    web_config = load_web_config(f"basic_auth_users: {{alice: {HASH}}}")
    request = start_app(server={"web_config": web_config}, unhealthy=lambda: "stuck").request

    assert [503, 200] == [request(path).status for path in ("/-/healthy", "/-/ready")]
    assert [401] * 2 == [request(path, authorization="Basic eDp5").status for path in ("/-/healthy", "/-/ready")]
    assert [401] * 6 == [
        request(path).status for path in ("/", "/metrics", "/-/reload", "/none", "/-/healthy/", "//-/ready")
    ]


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1", 200), ("::ffff:127.0.0.1", 200), ("10.0.0.1", 401)])
def test_health_checks_without_password_are_local(load_web_config: LoadWebConfig, host: str, status: int) -> None:
    """A client counts as local by its address."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def health(_request: Request) -> Response:
        return Response()

    verifier = PasswordVerifier()
    app = Starlette(routes=[HealthRoute("/-/healthy", health)])
    middleware = WebConfigMiddleware(app, load_web_config(f"basic_auth_users: {{alice: {HASH}}}"), verifier)
    scope = {"type": "http", "method": "GET", "path": "/-/healthy", "headers": [], "client": (host, 1)}
    asyncio.run(middleware(scope, receive, send))
    verifier.close()

    assert status == sent[0]["status"]


def test_too_many_waiting_passwords(start_app: StartApp, load_web_config: LoadWebConfig) -> None:
    """When too many passwords wait, the answer is an immediate 429 with Retry-After."""
    client = start_app(server={"web_config": load_web_config(f"basic_auth_users: {{alice: {HASH}}}")})
    check = FakeBcrypt()
    check.gate.clear()
    client.server._verifier._check = check
    answers: list[int] = []

    def guess(number: int) -> None:
        wrong = _basic(b"alice:%d" % number).decode()
        answers.append(client.request("/", authorization=wrong).status)

    guesses = [threading.Thread(target=guess, args=(number,)) for number in range(MAX_WAITING_PER_ADDRESS + 1)]
    for each in guesses:
        each.start()
    while 429 not in answers:
        threading.Event().wait(0.01)
    busy = client.request("/", **RIGHT)
    check.gate.set()
    for each in guesses:
        each.join(60)

    assert (429, "1") == (busy.status, busy.headers["retry-after"])
    assert [401] * MAX_WAITING_PER_ADDRESS + [429] == sorted(answers)


def test_headers(start_app: StartApp, load_web_config: LoadWebConfig) -> None:
    """Configured headers are on every answer, once, replacing the exporter's own."""
    web_config = load_web_config(
        "http_server_config: {headers: {X-Frame-Options: deny, Content-Security-Policy: \"default-src 'self'\"}}"
    )
    port = start_app(server={"web_config": web_config}).server.port

    for path in ("/", "/metrics", "/none"):
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request("GET", path)
            headers = connection.getresponse().headers
        assert ["deny"] == headers.get_all("x-frame-options")
        assert ["default-src 'self'"] == headers.get_all("content-security-policy")


def test_users_change_while_serving(start_app: StartApp, load_web_config: LoadWebConfig, web_file: Path) -> None:
    """New users apply without a restart, also to open connections; an invalid file keeps the previous users."""
    web_config = load_web_config(f"basic_auth_users: {{alice: {HASH}}}")
    request = start_app(server={"web_config": web_config}).request
    bob = {"authorization": _basic(b"bob:secret").decode()}
    assert (200, 401) == (request("/", **RIGHT).status, request("/", **bob).status)

    web_file.write_text("basic_auth_users: {bob: not a hash}")
    web_config.reload_if_changed()
    web_config.reload_if_changed()
    assert (200, 401) == (request("/", **RIGHT).status, request("/", **bob).status)

    web_file.write_text(f"basic_auth_users: {{bob: {HASH}}}")
    web_config.reload_if_changed()
    web_config.reload_if_changed()
    assert (401, 200) == (request("/", **RIGHT).status, request("/", **bob).status)
