"""Authentication: who gets access, at what cost, and the effect of guessing."""

from __future__ import annotations

import asyncio
import base64
import http.client
from contextlib import closing
from typing import TYPE_CHECKING, Any

import bcrypt
import pytest
from starlette.applications import Starlette
from starlette.responses import Response

from exporter.web.auth import HealthRoute, WebConfigMiddleware
from exporter.web.passwords import MAX_CACHED, PasswordResult, PasswordVerifier, basic_credentials
from tests.web.fake_bcrypt import CHEAP, USERS, FakeBcrypt, run

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

    from tests.web.conftest import LoadWebConfig, StartApp
    from tests.web.fake_bcrypt import Verify


def test_cached_password_costs_one_bcrypt() -> None:
    """A pair is verified once, correct or wrong: a client with an outdated password costs nothing."""
    check = FakeBcrypt()

    async def main(verify: Verify) -> None:
        assert [PasswordResult.CORRECT] * 3 == [await verify(b"alice", b"alice") for _ in range(3)]
        assert [PasswordResult.WRONG] * 2 == [await verify(b"alice", b"bob") for _ in range(2)]

    run(main, check)

    assert [b"alice", b"bob"] == [password for password, _ in check.calls]


def test_unknown_name_costs_one_bcrypt() -> None:
    """An unknown name is verified against a hash of the highest cost, and is always rejected."""
    check = FakeBcrypt()

    async def main(verify: Verify) -> None:
        assert PasswordResult.WRONG is await verify(b"mallory", b"bob")
        assert PasswordResult.WRONG is await verify(b"", b"bob")

    run(main, check)

    assert [(b"bob", USERS[b"bob"])] * 2 == check.calls


def test_changed_users() -> None:
    """A user who was removed or got another password is not accepted with the old password."""
    check = FakeBcrypt()

    async def main(verify: Verify) -> None:
        assert PasswordResult.CORRECT is await verify(b"alice", b"alice")
        assert PasswordResult.WRONG is await verify(b"alice", b"alice", users={b"bob": USERS[b"bob"]})
        assert PasswordResult.WRONG is await verify(b"alice", b"alice", users={b"alice": CHEAP + b"other"})
        assert PasswordResult.CORRECT is await verify(b"alice", b"alice")
        assert PasswordResult.WRONG is await verify(b"carol", b"bob")
        assert PasswordResult.CORRECT is await verify(b"carol", b"bob", users={b"carol": USERS[b"bob"]})

    run(main, check)

    assert 5 == len(check.calls)


def test_two_at_a_time() -> None:
    """Concurrent requests run two verifications at a time, and identical pairs of a client share one."""
    check = FakeBcrypt(delay=0.05)

    async def main(verify: Verify) -> None:
        results = [verify(b"alice", password, client) for password in (b"alice", b"x") for client in "abcdefgh"]
        assert [PasswordResult.CORRECT] * 8 + [PasswordResult.WRONG] * 8 == await asyncio.gather(*results)

    run(main, check)

    assert 2 == check.max_concurrent
    assert {b"alice", b"x"} == {password for password, _ in check.calls}
    assert 4 >= len(check.calls)


def test_cache_is_bounded() -> None:
    """The caches are bounded, keep the most recently used pairs, and contain no plain text."""
    verifier = PasswordVerifier(FakeBcrypt())
    users = {b"user%d" % number: CHEAP + b"password%d" % number for number in range(MAX_CACHED + 10)}

    async def main() -> None:
        for number in range(MAX_CACHED + 10):
            assert PasswordResult.CORRECT is await verifier.verify(
                users, (b"user%d" % number, b"password%d" % number), "x"
            )

    asyncio.run(main())
    verifier.close()

    assert MAX_CACHED == len(verifier._cached[True])
    assert b"password" not in b"".join(verifier._cached[True])


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
