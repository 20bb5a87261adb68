"""TLS over real sockets: access control, and certificates that change while the server runs."""

from __future__ import annotations

import http.client
import logging
import socket
import ssl
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from starlette.responses import JSONResponse

from exporter.web import WebConfigFile
from exporter.web.tls import alternative_names
from exporter.yamlconf import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

    from exporter.web import WebServer
    from tests.web.authority import Authority, Certificate
    from tests.web.conftest import LoadWebConfig, StartServer

TLS = "tls_server_config: {cert_file: server.pem, key_file: server.key"
VERIFIED = TLS + ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem"


async def whoami(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the scheme and whether the client is authenticated."""
    answer = [scope["scheme"], scope["state"].get("authenticated", False)]
    await JSONResponse(answer)(scope, receive, send)


class Tls:
    """A client that trusts an authority and may have its own certificate."""

    def __init__(self, authority: Authority, own: Certificate | None = None, **settings: Any) -> None:
        """``settings`` are attributes of the context; ``ciphers`` and ``curve`` are set by its methods."""
        self.context = ssl.create_default_context(cafile=authority.certificate)
        if own is not None:
            self.context.load_cert_chain(own.certificate, own.key)
        if ciphers := settings.pop("ciphers", None):
            self.context.set_ciphers(ciphers)
        if curve := settings.pop("curve", None):
            self.context.set_ecdh_curve(curve)
        for name, value in settings.items():
            setattr(self.context, name, value)

    def get(self, server: WebServer) -> bytes:
        """The answer; OSError when there is none."""
        with closing(
            http.client.HTTPSConnection("localhost", server.port, timeout=60, context=self.context)
        ) as connection:
            connection.request("GET", "/")
            return connection.getresponse().read()

    def handshake(self, server: WebServer) -> ssl.SSLSocket:
        """A connection, for inspection; closed at the end."""
        plain = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        return self.context.wrap_socket(plain, server_hostname="localhost")


@pytest.fixture
def folder(web_file: Path, authority: Authority) -> Path:
    """The folder of the files; ca.pem is the client authority."""
    (web_file.parent / "ca.pem").write_bytes(authority.certificate.read_bytes())
    return web_file.parent


@pytest.mark.usefixtures("folder")
def test_https(start_server: StartServer, load_web_config: LoadWebConfig, authority: Authority) -> None:
    """HTTPS uses the certificate, TLS 1.3 and HTTP/1.1; a client without a certificate is unauthenticated."""
    server = start_server(whoami, web_config=load_web_config(TLS + "}"))
    client = Tls(authority)
    client.context.set_alpn_protocols(["h2", "http/1.1"])

    assert b'["https",false]' == client.get(server)
    with client.handshake(server) as connection:
        assert ("TLSv1.3", "http/1.1") == (connection.version(), connection.selected_alpn_protocol())


def test_plain_client(
    start_server: StartServer, load_web_config: LoadWebConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that sends plain HTTP or garbage gets no answer and is not logged."""
    caplog.set_level(logging.INFO)
    server = start_server(whoami, web_config=load_web_config(TLS + "}"))

    for sent in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\xff\xff\xff"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            assert not b"".join(iter(lambda: client.recv(4096), b"")).startswith(b"HTTP")
    assert [] == [record for record in caplog.records if "web config" not in record.getMessage()]


@pytest.fixture
def system_authority(monkeypatch: pytest.MonkeyPatch, authority: Authority) -> Authority:
    """The only authority that the system trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    return authority


@pytest.mark.parametrize("policy", ["RequireAndVerifyClientCert", "VerifyClientCertIfGiven"])
def test_client_certificates_of_the_systems_authorities(
    start_server: StartServer,
    load_web_config: LoadWebConfig,
    system_authority: Authority,
    other_authority: Authority,
    policy: str,
) -> None:
    """Without client_ca_file the authorities of the system count, as in Go."""
    server = start_server(whoami, web_config=load_web_config(f"{TLS}, client_auth_type: {policy}}}"))

    assert b'["https",true]' == Tls(system_authority, system_authority.sign("prometheus")).get(server)
    with pytest.raises(OSError, match=r".+"):
        Tls(system_authority, other_authority.sign("prometheus")).get(server)
    if policy == "VerifyClientCertIfGiven":
        assert b'["https",false]' == Tls(system_authority).get(server)


def test_system_without_authorities(load_web_config: LoadWebConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system trusts nobody, no client could connect: the authority must be named."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    monkeypatch.setenv("SSL_CERT_DIR", "/nowhere")

    with pytest.raises(ConfigError, match="client_ca_file is missing, and this system has no authorities of its own"):
        load_web_config(f"{TLS}, client_auth_type: RequireAndVerifyClientCert}}")


@pytest.mark.parametrize(
    ("more", "client", "served"),
    [
        ("", {"maximum_version": ssl.TLSVersion.TLSv1_2}, True),
        (", min_version: TLS13", {"maximum_version": ssl.TLSVersion.TLSv1_2}, False),
        (", max_version: TLS12", {"minimum_version": ssl.TLSVersion.TLSv1_3}, False),
        (
            ", max_version: TLS12, cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]",
            {"ciphers": "ECDHE-ECDSA-AES128-GCM-SHA256"},
            False,
        ),
        (
            ", max_version: TLS12, cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]",
            {"ciphers": "ECDHE-ECDSA-AES256-GCM-SHA384"},
            True,
        ),
        (", curve_preferences: [CurveP384]", {"curve": "prime256v1"}, False),
        (", curve_preferences: [CurveP384]", {"curve": "secp384r1"}, True),
        (", curve_preferences: [X25519]", {"curve": "X25519"}, True),
    ],
)
def test_versions_cipher_suites_and_curves(
    start_server: StartServer,
    load_web_config: LoadWebConfig,
    authority: Authority,
    *,
    more: str,
    client: dict[str, Any],
    served: bool,
) -> None:
    """Versions, cipher suites and curves follow the file."""
    server = start_server(whoami, web_config=load_web_config(f"{TLS}{more}}}"))

    if served:
        assert b'["https",false]' == Tls(authority, **client).get(server)
    else:
        with pytest.raises(ssl.SSLError):
            Tls(authority, **client).get(server)


@pytest.mark.parametrize(("prefer", "chosen"), [("true", "AES256"), ("false", "AES128")])
def test_order_of_cipher_suites(
    start_server: StartServer, load_web_config: LoadWebConfig, authority: Authority, prefer: str, chosen: str
) -> None:
    """The server's or the client's order of cipher suites takes precedence, as configured."""
    suites = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
    more = f", max_version: TLS12, cipher_suites: [{suites}], prefer_server_cipher_suites: {prefer}"
    server = start_server(whoami, web_config=load_web_config(f"{TLS}{more}}}"))
    client = Tls(authority, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384")

    with client.handshake(server) as connection:
        assert chosen in str(connection.cipher())


@pytest.mark.usefixtures("folder")
def test_client_certificates(
    start_server: StartServer, load_web_config: LoadWebConfig, authority: Authority, other_authority: Authority
) -> None:
    """Only clients with a certificate of the authority get an answer and count as authenticated."""
    server = start_server(whoami, web_config=load_web_config(VERIFIED + "}"))

    assert b'["https",true]' == Tls(authority, authority.sign("prometheus")).get(server)
    for client in (Tls(authority), Tls(authority, other_authority.sign("prometheus"))):
        with pytest.raises(OSError, match=r"."):
            client.get(server)


@pytest.mark.usefixtures("folder")
def test_optional_client_certificates(
    start_server: StartServer, load_web_config: LoadWebConfig, authority: Authority, other_authority: Authority
) -> None:
    """A client certificate must be valid and authenticates the client; a client without one is anonymous."""
    server = start_server(
        whoami,
        web_config=load_web_config(VERIFIED.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven") + "}"),
    )

    assert b'["https",false]' == Tls(authority).get(server)
    assert b'["https",true]' == Tls(authority, authority.sign("prometheus")).get(server)
    with pytest.raises(OSError, match=r"."):
        Tls(authority, other_authority.sign("prometheus")).get(server)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("names", "served"),
    [
        (("monitor",), True),
        (("x", "IP:10.0.0.7"), True),
        (("x", "IP:::1"), True),
        (("x", "URI:spiffe://x/prometheus"), True),
        (("x", "email:a@x.example"), True),
        (("x", "DNS:monitor.example"), False),
        (("monitoring", "IP:10.0.0.8"), False),
    ],
)
def test_allowed_names(
    start_server: StartServer,
    load_web_config: LoadWebConfig,
    authority: Authority,
    *,
    names: tuple[str, ...],
    served: bool,
) -> None:
    """Among the authority's clients, only those with an allowed name get an answer."""
    allowed = '[monitor, 10.0.0.7, "::1", "spiffe://x/prometheus", a@x.example]'
    server = start_server(whoami, web_config=load_web_config(f"{VERIFIED}, client_allowed_sans: {allowed}}}"))
    client = Tls(authority, authority.sign(*names))

    if served:
        assert b'["https",true]' == client.get(server)
    else:
        with pytest.raises((OSError, http.client.HTTPException)):
            client.get(server)


def test_unusual_certificates() -> None:
    """Certificates without names, or with an invalid address, are handled."""
    assert frozenset() == alternative_names({})
    assert {"<invalid>", "x"} == alternative_names({"subjectAltName": (("IP Address", "<invalid>"), ("DNS", "x"))})


def test_rotation(
    start_server: StartServer,
    load_web_config: LoadWebConfig,
    folder: Path,
    authority: Authority,
    other_authority: Authority,
) -> None:
    """New connections use the new certificate, open ones continue; a temporary mismatch with the key is harmless."""
    web_config = load_web_config(TLS + "}")
    server = start_server(whoami, web_config=web_config)
    new = other_authority.sign("localhost")
    with closing(
        http.client.HTTPSConnection("localhost", server.port, timeout=60, context=Tls(authority).context)
    ) as old:
        old.request("GET", "/")
        old.getresponse().read()

        (folder / "server.pem").write_bytes(new.certificate.read_bytes())
        web_config.reload_if_changed()
        web_config.reload_if_changed()
        assert "does not match the certificate" in str(web_config.problem)
        assert b'["https",false]' == Tls(authority).get(server)

        (folder / "server.key").write_bytes(new.key.read_bytes())
        web_config.reload_if_changed()
        web_config.reload_if_changed()
        assert None is web_config.problem
        assert b'["https",false]' == Tls(other_authority).get(server)
        with pytest.raises(ssl.SSLCertVerificationError):
            Tls(authority).get(server)
        old.request("GET", "/")
        assert b'["https",false]' == old.getresponse().read()


def test_rotation_of_client_authorities(
    start_server: StartServer,
    load_web_config: LoadWebConfig,
    folder: Path,
    authority: Authority,
    other_authority: Authority,
) -> None:
    """A new client authority applies without a restart, also to resumed sessions."""
    web_config = load_web_config(VERIFIED + "}")
    server = start_server(whoami, web_config=web_config)
    client = Tls(authority, authority.sign("prometheus"), maximum_version=ssl.TLSVersion.TLSv1_2)
    with client.handshake(server) as connection:
        session = connection.session

    (folder / "ca.pem").write_bytes(other_authority.certificate.read_bytes())
    web_config.reload_if_changed()
    web_config.reload_if_changed()

    assert b'["https",true]' == Tls(authority, other_authority.sign("prometheus")).get(server)
    with pytest.raises(OSError, match=r"."):
        client.get(server)
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    with plain, pytest.raises(OSError, match=r"."):
        client.context.wrap_socket(plain, server_hostname="localhost", session=session)


def test_files_must_be_stable(load_web_config: LoadWebConfig, web_file: Path) -> None:
    """A file is read only once it is unchanged since the previous look: not while it is being written."""
    web_config = load_web_config("http_server_config: {headers: {X-Frame-Options: deny}}")

    web_file.write_text("http_server_config: {headers: {}}")
    web_config.reload_if_changed()
    web_file.write_text("http_server_config: {headers: {X-Frame-Options: sameorigin}}")
    web_config.reload_if_changed()
    assert ((b"x-frame-options", b"deny"),) == web_config.settings.headers
    web_config.reload_if_changed()
    assert ((b"x-frame-options", b"sameorigin"),) == web_config.settings.headers


def test_invalid_file_is_logged_once(
    load_web_config: LoadWebConfig, web_file: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """A problem is logged when it appears, not at each look; the file is tried until it is valid."""
    web_config = load_web_config("{}")
    web_file.unlink()
    for _ in range(5):
        web_config.reload_if_changed()
    assert "does not exist" in str(web_config.problem)
    web_file.write_text("{a: 1}")
    for _ in range(5):
        web_config.reload_if_changed()
    assert "unknown key" in str(web_config.problem)
    web_file.write_text("{}")
    web_config.reload_if_changed()
    web_config.reload_if_changed()

    assert None is web_config.problem
    written = caplog.text + capsys.readouterr().out
    assert (1, 1) == (written.count("does not exist"), written.count("unknown key"))


def test_tls_cannot_be_turned_on_or_off(load_web_config: LoadWebConfig, web_file: Path) -> None:
    """A file that turns TLS on or off changes nothing: passwords must not suddenly be sent in plain text."""
    web_config = load_web_config(TLS + "}")
    web_file.write_text("http_server_config: {headers: {X-Frame-Options: deny}}")
    web_config.reload_if_changed()
    web_config.reload_if_changed()

    assert "adding or removing it requires a restart" in str(web_config.problem)
    assert () == web_config.settings.headers
    assert None is not web_config.settings.tls


def test_symlink_swap(web_file: Path) -> None:
    """Files behind a symbolic link that is switched, as in Kubernetes, are noticed."""
    folder = web_file.parent
    for name, value in (("one", "deny"), ("two", "sameorigin")):
        (folder / name).mkdir()
        (folder / name / "web.yml").write_text(f"http_server_config: {{headers: {{X-Frame-Options: {value}}}}}")
    (folder / "data").symlink_to("one")
    web_file.symlink_to("data/web.yml")
    web_config = WebConfigFile(web_file)

    (folder / "fresh").symlink_to("two")
    (folder / "fresh").rename(folder / "data")
    web_config.reload_if_changed()
    web_config.reload_if_changed()

    assert ((b"x-frame-options", b"sameorigin"),) == web_config.settings.headers
