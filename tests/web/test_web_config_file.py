"""The web config file: accepted and refused content, and the messages."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.web import WebConfigFile
from exporter.yamlconf import ConfigError
from tests.web.authority import encrypted

if TYPE_CHECKING:
    from pathlib import Path

    from tests.web.authority import Authority
    from tests.web.conftest import LoadWebConfig

HASH = "$2y$04$0EmpVwoRsYiHhFf9CnFd9e5i0UiR3eJqcLtBPxBqYpXYAHlc2Hk0O"
NOT_VERIFIED = "an unverified certificate proves nothing"
TRUSTING = "accepts every client with a certificate of an authority that this system trusts"
SLOW = "the first scrapes after a restart time out"
CERTIFIED = "cert_file: server.pem, key_file: server.key"


@pytest.fixture(scope="session")
def faulty(tmp_path_factory: pytest.TempPathFactory, other_authority: Authority) -> Path:
    """A folder with unusable certificates and keys."""
    folder = tmp_path_factory.mktemp("faulty")
    other_authority.sign("localhost").copy(folder, "other")
    encrypted(folder / "other.key", folder / "encrypted.key")
    (folder / "noise.key").write_text("-----BEGIN PRIVATE KEY-----\nnoise\n-----END PRIVATE KEY-----\n")
    (folder / "noise.pem").write_text("-----BEGIN CERTIFICATE-----\nnoise\n-----END CERTIFICATE-----\n")
    return folder


def refused(load_web_config: LoadWebConfig, text: str) -> str:
    """The error message without the file name."""
    with pytest.raises(ConfigError) as caught:
        load_web_config(text)
    return "\n".join(str(problem).partition("web.yml")[2] for problem in caught.value.problems)


def test_every_key(load_web_config: LoadWebConfig, web_file: Path, authority: Authority) -> None:
    """A file with every supported key is accepted, and relative paths start at its folder."""
    (web_file.parent / "ca.pem").write_bytes(authority.certificate.read_bytes())

    found = load_web_config(f"""
tls_server_config:
  cert_file: server.pem
  key_file: {web_file.parent}/server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.pem
  client_allowed_sans: [prometheus, 10.0.0.7]
  min_version: TLS12
  max_version: TLS13
  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]
  prefer_server_cipher_suites: false
  curve_preferences: [CurveP384]
http_server_config:
  http2: false
  headers:
    Content-Security-Policy: default-src 'self'
    X-Frame-Options: deny
    X-Content-Type-Options: nosniff
    X-XSS-Protection: ""
    Strict-Transport-Security: max-age=31536000
basic_auth_users:
  alice: {HASH}
  1234: {HASH.replace("y", "a")}
""")

    assert {b"alice", b"1234"} == set(found.settings.users)
    assert (b"x-frame-options", b"deny") in found.settings.headers
    assert 4 == len(found.settings.headers)
    assert frozenset({"prometheus", "10.0.0.7"}) == found.settings.allowed_sans
    assert () == found.warnings


@pytest.mark.parametrize(
    "text", ["", "\n# nothing yet\n", "{}", "tls_server_config:", "tls_server_config: {}", "basic_auth_users:\n"]
)
def test_no_settings(load_web_config: LoadWebConfig, text: str) -> None:
    """A file without settings means plain HTTP for everyone."""
    found = load_web_config(text)

    assert None is found.server_context()
    assert {} == found.settings.users


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            f"tls_server_config: {{{CERTIFIED}, client_auth_type: RequestClientCert}}",
            f":1: tls_server_config.client_auth_type: is treated as NoClientCert: {NOT_VERIFIED}",
        ),
        (
            f"tls_server_config: {{{CERTIFIED}, min_version: TLS10}}",
            ":1: tls_server_config.min_version: is treated as TLS12: older versions are not supported",
        ),
        (
            "http_server_config: {http2: true}",
            ":1: http_server_config.http2: has no effect: only HTTP/1.1 is served, which every HTTP/2 client supports",
        ),
        (
            f"basic_auth_users: {{alice: {HASH}}}",
            ":1: basic_auth_users: without tls_server_config, passwords are sent unencrypted",
        ),
        (
            f"tls_server_config: {{{CERTIFIED}}}\nbasic_auth_users: {{alice: {HASH.replace('04', '18')}}}",
            f":2: basic_auth_users.alice: takes about 16 s to verify (cost 18): {SLOW}; create a hash with cost 10",
        ),
        ("", ":1: has no keys: all pages are served to everyone, unencrypted"),
        ("{}", ":1: has no keys: all pages are served to everyone, unencrypted"),
        (
            f"tls_server_config: {{{CERTIFIED}, client_auth_type: RequireAndVerifyClientCert}}",
            f":1: tls_server_config.client_auth_type: {TRUSTING}: set client_ca_file",
        ),
        (
            f"tls_server_config: {{{CERTIFIED}, client_auth_type: VerifyClientCertIfGiven}}",
            f":1: tls_server_config.client_auth_type: {TRUSTING}: set client_ca_file",
        ),
    ],
    ids=[
        *("unverified certificates", "old TLS", "HTTP/2", "no TLS", "extreme cost", "empty", "no keys"),
        *("any authority", "any authority, optional"),
    ],
)
def test_warnings(load_web_config: LoadWebConfig, text: str, warning: str) -> None:
    """Settings that are treated differently from what the file says cause a warning."""
    assert [warning] == [str(found).partition("web.yml")[2] for found in load_web_config(text).warnings]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- x", ":1: must be a mapping, with lines of key: value (keys: tls_server_config, http_server_config,"),
        ("tls_config: {}", ":1: unknown key 'tls_config'; did you mean 'tls_server_config'?"),
        ("a: [", ":2: is not valid YAML: "),
        ("tls_server_config: {cert_file: server.pem}", ":1: tls_server_config.key_file: is missing: TLS requires"),
        ("tls_server_config: {min_version: TLS13}", ":1: tls_server_config.cert_file: is missing: TLS requires"),
        (
            'tls_server_config: {cert_file: "", key_file: server.key}',
            ":1: tls_server_config.cert_file: is missing: TLS requires",
        ),
        (
            "tls_server_config: {cert_file: none.pem, key_file: server.key}",
            ":1: tls_server_config.cert_file: 'none.pem' names a file that does not exist; relative paths start at",
        ),
        (
            "tls_server_config: {cert_file: server.pem, key_file: none.key}",
            ":1: tls_server_config.key_file: 'none.key' names a file that does not exist; relative paths start at",
        ),
        (
            "tls_server_config: {cert_file: server.pem, key_file: server.pem}",
            ":1: tls_server_config.key_file: 'server.pem' names a file without a private key",
        ),
        (
            "tls_server_config: {cert_file: server.pem, key_file: .}",
            ":1: tls_server_config.key_file: '.' names a file that is not a regular file",
        ),
        (
            "tls_server_config: {cert_file: server.pem, key_file: noise.key}",
            ": tls_server_config: cert_file or key_file is damaged: both must be PEM",
        ),
        (
            "tls_server_config: {cert_file: server.pem, key_file: encrypted.key}",
            ": tls_server_config: key_file is encrypted: decrypt it",
        ),
        (
            "tls_server_config: {cert_file: server.pem, key_file: other.key}",
            ": tls_server_config: key_file does not match the certificate in cert_file",
        ),
        (
            f"tls_server_config: {{{CERTIFIED}, client_auth_type: VerifyClientCertIfGiven, client_ca_file: noise.pem}}",
            ": tls_server_config: client_ca_file contains no readable certificate",
        ),
        ("tls_server_config: {cert: x}", ":1: tls_server_config.cert: is not supported inline: write it to"),
        (
            f"tls_server_config: {{{CERTIFIED}, client_auth_type: RequireAnyClientCert}}",
            ":1: tls_server_config.client_auth_type: 'RequireAnyClientCert' would accept any self-made certificate",
        ),
        (
            f"tls_server_config: {{{CERTIFIED}, client_auth_type: Sometimes}}",
            ":1: tls_server_config.client_auth_type: 'Sometimes' must be one of NoClientCert, ",
        ),
        (
            f"tls_server_config: {{{CERTIFIED}, client_ca_file: server.pem}}",
            ":1: tls_server_config.client_ca_file: has no effect with NoClientCert: set client_auth_type",
        ),
        (
            f"tls_server_config: {{{CERTIFIED}, client_allowed_sans: [x]}}",
            ":1: tls_server_config.client_allowed_sans: requires client_auth_type: RequireAndVerifyClientCert",
        ),
        (
            f"tls_server_config: {{{CERTIFIED}, min_version: TLS13, max_version: TLS12}}",
            ":1: tls_server_config.max_version: is below min_version",
        ),
        (
            f"tls_server_config: {{{CERTIFIED}, max_version: TLS11}}",
            ":1: tls_server_config.max_version: 'TLS11' is not supported: set TLS12 or TLS13",
        ),
        (
            f"tls_server_config: {{{CERTIFIED}, cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]}}",
            ":1: tls_server_config.cipher_suites[0]: 'TLS_RSA_WITH_RC4_128_SHA' must be one of TLS_ECDHE_ECDSA_",
        ),
        (
            f"tls_server_config: {{{CERTIFIED}, cipher_suites: [TLS_AES_128_GCM_SHA256]}}",
            ":1: tls_server_config.cipher_suites: lists only TLS 1.3 suites",
        ),
        (
            f"tls_server_config: {{{CERTIFIED}, curve_preferences: [X25519, CurveP256]}}",
            ":1: tls_server_config.curve_preferences: lists more than one curve",
        ),
        ("rate_limit: {interval: 1s, burst: 20}", ":1: rate_limit: is not supported: passwords and connections"),
        (
            "http_server_config: {headers: {Server: x}}",
            ":1: http_server_config.headers: unknown key 'Server'; the keys",
        ),
        (
            "http_server_config: {headers: {X-Frame-Options: never}}",
            ":1: http_server_config.headers.X-Frame-Options: 'never' must be deny or sameorigin",
        ),
        (
            'http_server_config: {headers: {X-XSS-Protection: "a\\r\\nSet-Cookie: x"}}',
            ":1: http_server_config.headers.X-XSS-Protection: 'a\\r\\nSet-Cookie: x' cannot be sent in a header",
        ),
        ("basic_auth_users: [alice]", ":1: basic_auth_users: must be a mapping"),
        ("basic_auth_users: {alice: secret}", ":1: basic_auth_users.alice: is not a bcrypt hash"),
        (f"basic_auth_users: {{alice: {HASH[:-1]}}}", ":1: basic_auth_users.alice: is not a bcrypt hash"),
        (
            f"basic_auth_users: {{alice: {HASH.replace('04', '19')}}}",
            ":1: basic_auth_users.alice: has a bcrypt cost outside",
        ),
        (f"basic_auth_users: {{'a:b': {HASH}}}", ":1: basic_auth_users.a:b: cannot be sent by a client"),
        (
            f"basic_auth_users:\n  alice: {HASH}\n  alice: {HASH}",
            ":3: basic_auth_users.alice: duplicates the key in line 2: keep one",
        ),
    ],
)
def test_invalid_files(load_web_config: LoadWebConfig, web_file: Path, faulty: Path, text: str, expected: str) -> None:
    """Problems are refused with their location and a remedy."""
    shutil.copytree(faulty, web_file.parent, dirs_exist_ok=True)

    message = refused(load_web_config, text)

    assert message.startswith(expected), message
    assert "secret" not in message
    assert HASH[7:] not in message


def test_emptied_file(load_web_config: LoadWebConfig, web_file: Path) -> None:
    """A file that is emptied while the exporter runs, as by a full disk, does not turn off authentication."""
    web_config = load_web_config(f"basic_auth_users: {{alice: {HASH}}}")
    for text, users in (("", 1), ("{}", 0), ("", 0)):
        web_file.write_text(text, encoding="utf-8")
        web_config.check()
        web_config.check()
        assert users == len(web_config.settings.users)
        assert (web_config.problem is not None) is bool(users)


def test_absent_file(tmp_path: Path) -> None:
    """A missing file is refused: otherwise the pages would be unprotected."""
    with pytest.raises(ConfigError, match="does not exist"):
        WebConfigFile(tmp_path / "none.yml")


PIECES = (
    *(
        "tls_server_config:",
        "  cert_file:",
        " server.pem",
        "\n",
        "basic_auth_users:",
        " {",
        "}",
        "[",
        "]",
        " &a",
        " *a",
    ),
    *(" *a", HASH, "  a: ", "http_server_config:", " headers:", "- ", ": ", '"', "null", "1e9", "~", "<<: "),
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text() | st.lists(st.sampled_from(PIECES)).map("".join))
def test_arbitrary_content(web_file: Path, text: str) -> None:
    """Any file content is either accepted or refused with at least one problem."""
    web_file.write_text(text, encoding="utf-8", errors="replace")

    problems = None
    try:
        WebConfigFile(web_file)
    except ConfigError as error:
        problems = error.problems

    assert () != problems
