"""The table of all keys of a web config file: the format of Prometheus' exporter-toolkit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from exporter.config.kinds import BOOLEAN
from exporter.config.problems import hash_like
from exporter.config.schema import ANY, Given, Key, ListOf, Section, Value
from exporter.config.values import has_control
from exporter.web.security_values import (
    CERTIFICATE,
    CIPHERS,
    CURVES,
    HASH,
    HEADERS,
    MODERN_CIPHERS,
    PRIVATE_KEY,
    one_of,
    refused,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from exporter.config.schema import Spot

VERIFYING: Final = ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert")


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """How to speak TLS; without ``cert_file`` not at all. Names are those of the file."""

    cert_file: Path | None = None
    key_file: Path | None = None
    client_auth_type: str = "NoClientCert"
    client_ca_file: Path | None = None
    client_allowed_sans: tuple[str, ...] = ()
    min_version: str = "TLS12"
    max_version: str = "TLS13"
    cipher_suites: tuple[str, ...] = ()
    prefer_server_cipher_suites: bool = True
    curve_preferences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """Headers to add to every answer, those without a value left out."""

    http2: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WebConfig:
    """What a web config file says. ``basic_auth_users``: bcrypt hash by name; nobody is asked when there is none."""

    tls_server_config: TlsConfig = TlsConfig()
    http_server_config: HttpConfig = HttpConfig()
    basic_auth_users: Mapping[str, bytes] = field(default_factory=dict, repr=False)


def _lacks(given: Given, name: str) -> bool:
    """Whether nothing is said of a key. One that is there and wrong is not lacking."""
    return name not in given.lines or given.values.get(name, name) is None


def _tls_errors(given: Given) -> Iterator[tuple[Spot, str]]:
    for name in ("cert_file", "key_file"):
        if given.lines and _lacks(given, name):
            yield name, "is missing: TLS needs cert_file and key_file; for none of it remove tls_server_config"
    kind, authority = given.effective("client_auth_type"), given.values.get("client_ca_file")
    if authority and kind in {"NoClientCert", "RequestClientCert"}:
        yield "client_ca_file", f"is of no use with {kind}: set client_auth_type: RequireAndVerifyClientCert"
    if kind in VERIFYING and _lacks(given, "client_ca_file"):
        yield "client_auth_type", "needs client_ca_file, with the authorities that sign the clients' certificates"
    if given.values.get("client_allowed_sans") and kind and kind != "RequireAndVerifyClientCert":
        yield "client_allowed_sans", "needs client_auth_type: RequireAndVerifyClientCert; others let clients in without"
    if given.effective("min_version") == "TLS13" and given.effective("max_version") == "TLS12":
        yield "max_version", "is below min_version: no client could connect"
    suites = given.values.get("cipher_suites")
    if suites and not set(suites) - set(MODERN_CIPHERS) and given.effective("min_version") != "TLS13":
        yield "cipher_suites", "names only suites of TLS 1.3: add one of TLS 1.2 or set min_version: TLS13"
    if len(given.values.get("curve_preferences") or ()) > 1:
        yield "curve_preferences", "names more than one, Python can be told one: name that, or remove it for the usual"


def _tls_warnings(given: Given) -> Iterator[tuple[Spot, str]]:
    if given.values.get("client_auth_type") == "RequestClientCert":
        yield "client_auth_type", "is served as NoClientCert: a certificate that nobody verifies proves nothing"
    if given.values.get("min_version") in {"TLS10", "TLS11"}:
        yield "min_version", "is served as TLS12: nothing older is spoken"


_TEXT = Value("text", str, ANY)
_UNSHOWN = Value("text", str, ANY, echo=False)
_INLINE = "is not supported inside this file: write it to a file of its own and name that with {}_file"

TLS: Final = Section(
    TlsConfig,
    errors=_tls_errors,
    warnings=_tls_warnings,
    keys=(
        Key("cert_file", CERTIFICATE, "PEM file with the server's certificate and those between it and the root."),
        Key("key_file", PRIVATE_KEY, "PEM file with its private key, not encrypted."),
        Key(
            "client_auth_type",
            one_of(
                "policy",
                ("NoClientCert", "RequestClientCert", *VERIFYING),
                dict.fromkeys(
                    ("RequireAnyClientCert", "RequireClientCert"),
                    "would let in whoever makes a certificate: use RequireAndVerifyClientCert with client_ca_file",
                ),
            ),
            "`NoClientCert`; `VerifyClientCertIfGiven`; `RequireAndVerifyClientCert`. `RequestClientCert` is served as "
            "`NoClientCert`, with a warning; `RequireAnyClientCert`, which verifies nothing, is refused.",
        ),
        Key("client_ca_file", CERTIFICATE, "PEM file with the authorities that sign the clients' certificates."),
        Key(
            "client_allowed_sans",
            ListOf(_TEXT),
            "Only clients with one of these names (DNS, IP, e-mail, URI) as a subject alternative name.",
        ),
        Key(
            "min_version",
            one_of("version", ("TLS12", "TLS13", "TLS10", "TLS11"), {}),
            "`TLS12` or `TLS13`. `TLS10` and `TLS11` are served as `TLS12`, with a warning.",
        ),
        Key(
            "max_version",
            one_of(
                "version",
                ("TLS13", "TLS12"),
                dict.fromkeys(("TLS10", "TLS11"), "is older than what is spoken: set TLS12 or TLS13"),
            ),
            "`TLS12` or `TLS13`; older ones are refused.",
        ),
        Key(
            "cipher_suites",
            ListOf(one_of("suite", (*CIPHERS, *MODERN_CIPHERS), {})),
            "Cipher suites of TLS 1.2 by their names in Go, such as `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`. Those of "
            "TLS 1.3 cannot be chosen.",
            default="OpenSSL's",
        ),
        Key("prefer_server_cipher_suites", BOOLEAN, "Whether the server's order of suites counts, or the client's."),
        Key(
            "curve_preferences",
            ListOf(one_of("curve", tuple(CURVES), {})),
            "One of `CurveP256`, `CurveP384`, `CurveP521`, `X25519`. More than one is refused.",
            default="OpenSSL's",
        ),
        *(
            Key(name, refused(_INLINE.format(name)), f"Refused: write it to a file and name that with `{name}_file`.")
            for name in ("cert", "key", "client_ca")
        ),
    ),
)


def _http_warnings(given: Given) -> Iterator[tuple[Spot, str]]:
    if given.values.get("http2"):
        yield "http2", "has no effect: HTTP/1.1 is served, which every client of HTTP/2 speaks too"


HTTP: Final = Section(
    HttpConfig,
    warnings=_http_warnings,
    keys=(
        Key("http2", BOOLEAN, "No effect: HTTP/1.1 is served. `true` gives a warning."),
        Key(
            "headers",
            Section(dict, tuple(Key(name, kind, "") for name, kind in HEADERS.items())),
            "Headers for every answer, in place of the exporter's own: " + ", ".join(f"`{name}`" for name in HEADERS),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class _Named(Section):
    """A section with keys of any name, all of one kind."""

    kind: Value = HASH

    def find(self, name: str) -> Key | None:
        """Every name is one. Behind what is no name but a hash, the value may be anything."""
        return Key(name, _UNSHOWN if hash_like(name) else self.kind, "")


def _user_errors(given: Given) -> Iterator[tuple[Spot, str]]:
    for spot in given.lines:
        if not isinstance(spot, str):
            continue
        if hash_like(spot):
            yield spot, "a bcrypt hash stands where the user name belongs: write name: hash"
        elif ":" in spot or has_control(spot):
            yield spot, "cannot be sent by a client: a user's name has neither colons nor control characters"


def _root_errors(given: Given) -> Iterator[tuple[Spot, str]]:
    if "rate_limit" in given.lines:
        yield "rate_limit", "is not supported: passwords and connections have limits of their own; remove it"


def _root_warnings(given: Given) -> Iterator[tuple[Spot, str]]:
    tls = given.values.get("tls_server_config")
    if given.values.get("basic_auth_users") and not (tls and tls.cert_file):
        yield "basic_auth_users", "without tls_server_config passwords cross the network as they are"


ROOT: Final = Section(
    WebConfig,
    errors=_root_errors,
    warnings=_root_warnings,
    keys=(
        Key("tls_server_config", TLS, "TLS. Without it plain HTTP is served."),
        Key("http_server_config", HTTP, "HTTP."),
        Key(
            "basic_auth_users",
            _Named(dict, (), errors=_user_errors),
            "Users by name, each with the bcrypt hash of the password. Without one nobody is asked.",
        ),
        Key("rate_limit", _Named(dict, (), kind=_TEXT), "Refused: passwords and connections have limits of their own."),
    ),
)
"""The whole file."""
