"""What the client sends, stores and shows."""

from __future__ import annotations

import hashlib
import logging
import traceback
from typing import TYPE_CHECKING

import pytest

from exporter.clock import ManualClock
from exporter.config import Secret
from exporter.dify import ConnectFailed, DifyError, Unauthorized
from tests.dify.conftest import (
    BATCH,
    DATASET,
    DOCUMENT,
    KEY,
    MakeClient,
    Peer,
    RecordingObserver,
    Upstream,
    always,
    http_answer,
    once,
)

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.dify import Client

EMPTY = http_answer(200, {"data": []})


def fetch(client: Client) -> None:
    """Send one request."""
    client.indexing_status(DATASET, BATCH)


def test_a_request_has_the_official_path_and_few_headers(upstream: Upstream, connect: MakeClient) -> None:
    """Path, query, key and host are those of the API, and there are no other headers than these."""
    upstream.play(always(http_answer(200, {"id": "a", "data": []})))
    client = connect()
    client.indexing_status(DATASET, BATCH)
    client.document(DATASET, DOCUMENT)
    client.datasets(2)
    client.datasets(1, private=False)
    first, second, third, fourth = (head.split("\r\n") for head in upstream.requests)
    assert f"GET /v1/datasets/{DATASET}/documents/{BATCH}/indexing-status HTTP/1.1" == first[0]
    assert f"GET /v1/datasets/{DATASET}/documents/{DOCUMENT}?metadata=without HTTP/1.1" == second[0]
    assert "GET /v1/datasets?page=2&limit=100&include_all=true HTTP/1.1" == third[0]
    assert "GET /v1/datasets?page=1&limit=100 HTTP/1.1" == fourth[0]
    expected = {
        f"Host: {upstream.address}",
        "Accept: application/json",
        "Accept-Encoding: gzip",
        "User-Agent: dify-exporter/test",
        f"Authorization: Bearer {KEY}",
        "",
    }
    assert expected == set(first[1:])


def test_ids_are_quoted_in_the_path(upstream: Upstream, connect: MakeClient) -> None:
    """Slashes, question marks and spaces in an ID are quoted."""
    upstream.play(always(EMPTY))
    connect(f"http://{upstream.address}/v1/").indexing_status("a/../b", "c?d e#é")
    line = upstream.requests[0].split("\r\n")[0]
    assert "GET /v1/datasets/a%2F..%2Fb/documents/c%3Fd%20e%23%C3%A9/indexing-status HTTP/1.1" == line


def test_an_answer_that_is_known_is_not_decoded(upstream: Upstream, connect: MakeClient) -> None:
    """The digest is that of the body; identical bytes return None, others are decoded."""
    body = b'{"data": [ ]}'
    upstream.play(always(http_answer(200, body)))
    client = connect()
    first = client.indexing_status(DATASET, BATCH)
    assert ([], hashlib.blake2b(body, digest_size=16).digest()) == (first.value, first.digest)
    again = client.indexing_status(DATASET, BATCH, known=first.digest)
    assert (None, first.digest) == (again.value, again.digest)
    assert [] == client.indexing_status(DATASET, BATCH, known=b"other").value


def test_the_version_is_the_last_one_seen(upstream: Upstream, connect: MakeClient) -> None:
    """Error answers contain the version too; an answer with an invalid version does not change it."""
    client = connect()
    assert "" == client.version
    for version, expected in [("1.12.1", "1.12.1"), ("1.13.0-rc.1", "1.13.0-rc.1"), ("a b\x80", "1.13.0-rc.1")]:
        upstream.play(once(http_answer(401, {}, {"X-Version": version, "Connection": "close"})))
        with pytest.raises(Unauthorized):
            fetch(client)
        assert expected == client.version


def test_cookies_are_never_stored(upstream: Upstream, connect: MakeClient) -> None:
    """The cookie in which the server returns the key is neither stored nor sent."""
    upstream.play(always(http_answer(200, {"data": []}, {"Set-Cookie": f"x-token={KEY}; HttpOnly; Path=/"})))
    client = connect()
    fetch(client)
    fetch(client)
    assert "cookie" not in "".join(upstream.requests).lower()


def test_netrc_does_not_replace_the_key(
    upstream: Upstream, connect: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default, requests would send the password of .netrc instead of the key."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    upstream.play(always(EMPTY))
    fetch(connect())
    assert f"Authorization: Bearer {KEY}\r\n" in upstream.requests[0]


def test_user_and_password_of_the_url_are_not_shown(upstream: Upstream, connect: MakeClient) -> None:
    """Errors name only host and port of a URL with a password, and the request is sent with the key."""
    upstream.play(always(EMPTY))
    fetch(connect(f"http://me:hidden@{upstream.address}/v1"))
    assert f"Authorization: Bearer {KEY}\r\n" in upstream.requests[0]
    upstream.play(Peer.reset)
    with pytest.raises(ConnectFailed) as caught:
        fetch(connect(f"http://me:hidden@{upstream.address}/v1"))
    assert str(caught.value).startswith(f"{upstream.address}: ")
    assert "hidden" not in str(caught.value)


def test_the_proxy_of_the_environment_is_used(
    upstream: Upstream, connect: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """http_proxy and no_proxy are respected; both are read when the client is created."""
    upstream.play(always(EMPTY))
    monkeypatch.setenv("http_proxy", f"http://{upstream.address}")
    client = connect("http://dify.invalid:5001/v1")
    monkeypatch.delenv("http_proxy")
    fetch(client)
    assert upstream.requests[0].startswith(f"GET http://dify.invalid:5001/v1/datasets/{DATASET}/")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    fetch(connect())
    assert upstream.requests[1].startswith("GET /v1/")


def test_a_proxy_that_cannot_be_reached_is_named_without_its_password(
    connect: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error mentions the proxy without its password."""
    for variable, scheme in (("http_proxy", "http"), ("https_proxy", "https")):
        monkeypatch.setenv(variable, "http://me:hidden@127.0.0.1:1")
        with pytest.raises(
            ConnectFailed, match=r"through the proxy 127\.0\.0\.1:1 of the environment: Connection refused"
        ) as caught:
            fetch(connect(f"{scheme}://dify.invalid/v1"))
        assert "hidden" not in str(caught.value)


def test_a_proxy_of_a_kind_that_is_not_supported_is_an_error(
    connect: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SOCKS (which needs a library that is not installed) and invalid proxy URLs are ConnectFailed."""
    for proxy in ("socks5://127.0.0.1:1", "http://", "https://127.0.0.1:1"):
        monkeypatch.setenv("http_proxy", proxy)
        with pytest.raises(ConnectFailed):
            fetch(connect("http://dify.invalid/v1"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("dify.example.org/v1", "invalid url"),
        ("ftp://dify.example.org/v1", "invalid url"),
        ("http:///v1", "invalid url"),
        ("http://dify.invalid/v1", "host name could not be resolved"),
        (f"http://{'x' * 70}.invalid/v1", "dify|x"),
        ("http://127.0.0.1:1/v1", "127.0.0.1:1: Connection refused"),
    ],
)
def test_an_unreachable_url_is_connect_failed(
    url: str, said: str, connect: MakeClient, observer: RecordingObserver
) -> None:
    """Invalid URL, unknown host and closed port are the same error with different messages."""
    with pytest.raises(ConnectFailed, match=said):
        fetch(connect(url))
    assert [("main", "indexing_status", "connect")] == observer.requests


def test_a_bad_key_sends_nothing(upstream: Upstream, connect: MakeClient, observer: RecordingObserver) -> None:
    """A key that is not a valid header value is rejected before it reaches the HTTP library."""
    upstream.play(always(EMPTY))
    bad = Secret(f"{KEY}\n{KEY}")
    with pytest.raises(Unauthorized) as caught:
        fetch(connect(api_key=bad))
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert ([], []) == (upstream.requests, observer.requests)


def test_a_new_key_in_the_file_is_sent(upstream: Upstream, connect: MakeClient, tmp_path: Path) -> None:
    """Each request uses the current key."""
    upstream.play(always(EMPTY))
    file, clock = tmp_path / "key", ManualClock()
    file.write_text("first\n")
    client = connect(api_key=None, api_key_file=file, clock=clock)
    fetch(client)
    file.write_text("second\n")
    clock.advance(1)
    fetch(client)
    assert [True, True] == [key in head for key, head in zip(("first", "second"), upstream.requests, strict=True)]


def test_the_key_is_in_no_traceback_and_no_log(
    upstream: Upstream, connect: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Errors and debug logs do not contain the key; errors do not reference library exceptions with the request."""
    caplog.set_level(logging.DEBUG)
    client = connect(timeout=0.2)
    scripts = [Peer.reset, Peer.send_nothing, once(b"rubbish\r\n\r\n"), once(http_answer(401, {"message": KEY}))]
    scripts.append(once(http_answer(200, b"<html>", {"Connection": "close"})))
    for script in scripts:
        upstream.play(script)
        with pytest.raises(DifyError) as caught:
            fetch(client)
        assert KEY not in "".join(traceback.format_exception(caught.value))
        assert (None, None) == (caught.value.__cause__, caught.value.__context__)
    assert KEY not in caplog.text
    assert KEY not in repr(client)
