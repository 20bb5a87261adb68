"""TLS: which servers the client trusts."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from exporter.dify import ConnectFailed, TLSFailed
from exporter.dify.transport.environment import read_environment
from tests.dify.conftest import BATCH, DATASET, MakeClient, Peer, RecordingObserver, Upstream, always, http_answer, once

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.dify import Client

EMPTY = http_answer(200, {"data": []})


def fetch(client: Client) -> object:
    """Send one request."""
    return client.indexing_status(DATASET, BATCH).value


def test_ca_file_is_trusted_and_read_once(secure: Upstream, certificate: Path, connect: MakeClient) -> None:
    """A server with a private authority is reachable, and one connection serves all requests."""
    secure.play(always(EMPTY))
    client = connect(f"https://{secure.address}/v1", ca_file=certificate)
    assert [[], []] == [fetch(client), fetch(client)]
    assert 1 == secure.connections


def test_an_unknown_authority_is_a_tls_failure(
    secure: Upstream, connect: MakeClient, observer: RecordingObserver
) -> None:
    """A certificate of an unknown authority is rejected; the message names ca_file."""
    secure.play(always(EMPTY))
    with pytest.raises(TLSFailed, match=r"certificate verification failed: self-signed certificate.*ca_file"):
        fetch(connect(f"https://{secure.address}/v1"))
    assert [("main", "indexing_status", "tls")] == observer.requests
    assert [] == secure.requests


def test_a_certificate_for_another_name_is_a_tls_failure(
    secure: Upstream, certificate: Path, connect: MakeClient
) -> None:
    """The certificate must contain the host name of the URL."""
    secure.play(always(EMPTY))
    port = secure.address.split(":")[1]
    with pytest.raises(TLSFailed, match=r"certificate verification failed: Hostname mismatch"):
        fetch(connect(f"https://localhost:{port}/v1", ca_file=certificate))


def test_ca_file_wins_over_the_environment(
    secure: Upstream, certificate: Path, connect: MakeClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """REQUESTS_CA_BUNDLE applies without ca_file; ca_file takes precedence."""
    secure.play(always(EMPTY))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    assert [] == fetch(connect(f"https://{secure.address}/v1"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    assert [] == fetch(connect(f"https://{secure.address}/v1", ca_file=certificate))
    assert str(tmp_path / "missing.pem") == read_environment("https://127.0.0.1/", None)[1]


def test_authorities_may_be_a_directory_or_come_later(
    secure: Upstream, certificate: Path, connect: MakeClient, tmp_path: Path
) -> None:
    """A missing or invalid CA file is a TLSFailed until the file is valid; ca_file may be a directory."""
    secure.play(always(EMPTY))
    file = tmp_path / "ca.pem"
    client = connect(f"https://{secure.address}/v1", ca_file=file)
    with pytest.raises(TLSFailed, match=r"cannot read the certificate authorities in .*: No such file"):
        fetch(client)
    file.write_text("rubbish")
    with pytest.raises(TLSFailed, match="cannot read the certificate authorities"):
        fetch(client)
    shutil.copy(certificate, file)
    assert [] == fetch(client)
    with pytest.raises(TLSFailed, match="certificate verification failed"):
        fetch(connect(f"https://{secure.address}/v1", ca_file=tmp_path))


def test_a_replaced_authority_is_loaded_after_a_failure(
    secure: Upstream, certificate: Path, connect: MakeClient, tmp_path: Path
) -> None:
    """Authorities are loaded again after a TLS failure: a renewed file requires no restart."""
    secure.play(always(EMPTY))
    file = tmp_path / "ca.pem"
    shutil.copy(read_environment("https://127.0.0.1/", None)[1], file)
    client = connect(f"https://{secure.address}/v1", ca_file=file)
    with pytest.raises(TLSFailed):
        fetch(client)
    shutil.copy(certificate, file)
    assert [] == fetch(client)


def test_the_authority_of_a_proxy_is_replaced_too(
    secure: Upstream, certificate: Path, connect: MakeClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An https proxy is treated like a server: TLSFailed, and the authorities are loaded again."""
    secure.play(always(EMPTY))
    file = tmp_path / "ca.pem"
    shutil.copy(read_environment("https://dify.invalid/", None)[1], file)
    monkeypatch.setenv("http_proxy", f"https://{secure.address}")
    client = connect("http://dify.invalid/v1", ca_file=file)
    with pytest.raises(TLSFailed, match=r"through the proxy.*certificate verification failed: self-signed.*ca_file"):
        fetch(client)
    shutil.copy(certificate, file)
    assert [] == fetch(client)
    assert 1 == len(secure.requests)


def test_a_tunnel_through_a_proxy_that_is_not_trusted(
    secure: Upstream, certificate: Path, connect: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An untrusted https proxy is a TLSFailed for https servers too; a trusted one that refuses is a ConnectFailed."""
    secure.play(always(http_answer(403, {})))
    monkeypatch.setenv("https_proxy", f"https://{secure.address}")
    with pytest.raises(TLSFailed, match=r"through the proxy.*certificate verification failed: self-signed"):
        fetch(connect("https://dify.invalid/v1"))
    with pytest.raises(ConnectFailed, match="of the environment"):
        fetch(connect("https://dify.invalid/v1", ca_file=certificate))


def test_https_to_a_server_without_tls_is_a_tls_failure(upstream: Upstream, connect: MakeClient) -> None:
    """The message suggests that the server does not use https."""

    def script(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        peer.send_nothing()

    upstream.play(script)
    with pytest.raises(TLSFailed, match=rf"the port does not speak TLS.*set url to http://{upstream.address}/v1"):
        fetch(connect(f"https://{upstream.address}/v1"))


def test_a_connection_closed_during_the_handshake_is_connect_failed(upstream: Upstream, connect: MakeClient) -> None:
    """A handshake that ends without a certificate error is a ConnectFailed."""
    upstream.play(lambda _: None)
    with pytest.raises(ConnectFailed):
        fetch(connect(f"https://{upstream.address}/v1"))


def test_a_used_tls_connection_that_was_closed_is_replaced(
    secure: Upstream, certificate: Path, connect: MakeClient
) -> None:
    """The repeat on a new connection works over TLS, after an orderly close and after a reset."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(EMPTY)
        peer.request()

    def cut(peer: Peer) -> None:
        script(peer)
        peer.reset()

    secure.play(script, cut, always(EMPTY))
    client = connect(f"https://{secure.address}/v1", ca_file=certificate)
    assert [[], [], []] == [fetch(client) for _ in range(3)]
    assert 3 == secure.connections


def test_plain_http_to_a_port_with_tls_names_the_remedy(
    secure: Upstream, upstream: Upstream, connect: MakeClient
) -> None:
    """The connection is closed, with or without a TLS alert: the message names the other scheme."""
    secure.play(always(EMPTY))
    with pytest.raises(ConnectFailed, match=r"closed before an answer was received; does the port expect https\?"):
        fetch(connect(f"http://{secure.address}/v1"))
    upstream.play(once(b"\x15\x03\x01\x00\x02\x02\x46"))
    with pytest.raises(ConnectFailed, match=rf"the port speaks TLS; set url to https://{upstream.address}/v1"):
        fetch(connect())


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (403, "if dify.invalid can be reached without the proxy, add it to NO_PROXY"),
        (407, "write its user and password into the proxy variable"),
        (503, "NO_PROXY"),
    ],
)
def test_a_proxy_that_refuses_the_tunnel_is_named(
    status: int, remedy: str, upstream: Upstream, connect: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy may answer CONNECT with a status of its own."""
    upstream.play(always(http_answer(status, "no", {"Connection": "close"})))
    monkeypatch.setenv("https_proxy", f"http://me:hidden@{upstream.address}")
    with pytest.raises(ConnectFailed) as caught:
        fetch(connect("https://dify.invalid/v1"))
    said = str(caught.value)
    assert f"dify.invalid through the proxy {upstream.address} of the environment" in said
    assert f"the proxy answered {status} to CONNECT" in said
    assert remedy in said
    assert "hidden" not in said
