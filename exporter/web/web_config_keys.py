"""The table of all keys of a web config file, in the format of Prometheus' exporter-toolkit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from exporter.config.kinds import BOOLEAN
from exporter.config.values import has_control
from exporter.web.web_config_values import (
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
from exporter.yamlconf.problems import hash_like
from exporter.yamlconf.schema import ANY, Given, Key, ListOf, Section, Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from exporter.yamlconf.schema import Spot

VERIFYING: Final = ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert")


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """TLS settings; without ``cert_file`` TLS is off. Field names are those of the file."""

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
    """Headers to add to every answer; headers without a value are ignored."""

    http2: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WebConfig:
    """The content of a web config file. ``basic_auth_users``: bcrypt hash by name; empty turns authentication off."""

    tls_server_config: TlsConfig = TlsConfig()
    http_server_config: HttpConfig = HttpConfig()
    basic_auth_users: Mapping[str, bytes] = field(default_factory=dict, repr=False)


def _lacks(given: Given, name: str) -> bool:
    """Whether a key is missing. A key with an invalid value is not missing."""
    return name not in given.lines or given.values.get(name, name) is None


def _tls_errors(given: Given) -> Iterator[tuple[Spot, str]]:
    for name in ("cert_file", "key_file"):
        if given.lines and _lacks(given, name):
            yield name, "is missing: TLS requires cert_file and key_file; to turn TLS off, remove tls_server_config"
    kind, authority = given.effective("client_auth_type"), given.values.get("client_ca_file")
    if authority and kind in {"NoClientCert", "RequestClientCert"}:
        yield "client_ca_file", f"has no effect with {kind}: set client_auth_type: RequireAndVerifyClientCert"
    if kind in VERIFYING and _lacks(given, "client_ca_file"):
        yield "client_auth_type", "requires client_ca_file, with the authorities that sign client certificates"
    if given.values.get("client_allowed_sans") and kind and kind != "RequireAndVerifyClientCert":
        message = (
            "requires client_auth_type: RequireAndVerifyClientCert; other types accept clients without certificate"
        )
        yield "client_allowed_sans", message
    if given.effective("min_version") == "TLS13" and given.effective("max_version") == "TLS12":
        yield "max_version", "is below min_version: no client could connect"
    suites = given.values.get("cipher_suites")
    if suites and not set(suites) - set(MODERN_CIPHERS) and given.effective("min_version") != "TLS13":
        yield "cipher_suites", "lists only TLS 1.3 suites: add a TLS 1.2 suite or set min_version: TLS13"
    if len(given.values.get("curve_preferences") or ()) > 1:
        yield "curve_preferences", "lists more than one curve, Python supports one: list one, or remove the key"


def _tls_warnings(given: Given) -> Iterator[tuple[Spot, str]]:
    if given.values.get("client_auth_type") == "RequestClientCert":
        yield "client_auth_type", "is treated as NoClientCert: an unverified certificate proves nothing"
    if given.values.get("min_version") in {"TLS10", "TLS11"}:
        yield "min_version", "is treated as TLS12: older versions are not supported"


_TEXT = Value("text", str, ANY)
_UNSHOWN = Value("text", str, ANY, echo=False)
_INLINE = "is not supported inline: write it to a separate file and set {}_file"

TLS: Final = Section(
    TlsConfig,
    errors=_tls_errors,
    warnings=_tls_warnings,
    keys=(
        Key("cert_file", CERTIFICATE, "PEM file with the server certificate and its intermediate certificates."),
        Key("key_file", PRIVATE_KEY, "PEM file with the unencrypted private key."),
        Key(
            "client_auth_type",
            one_of(
                "policy",
                ("NoClientCert", "RequestClientCert", *VERIFYING),
                dict.fromkeys(
                    ("RequireAnyClientCert", "RequireClientCert"),
                    "would accept any self-made certificate: use RequireAndVerifyClientCert with client_ca_file",
                ),
            ),
            "`NoClientCert`, `VerifyClientCertIfGiven` or `RequireAndVerifyClientCert`. `RequestClientCert` is treated "
            "as `NoClientCert`, with a warning; `RequireAnyClientCert`, which verifies nothing, is refused.",
        ),
        Key("client_ca_file", CERTIFICATE, "PEM file with the authorities that sign client certificates."),
        Key(
            "client_allowed_sans",
            ListOf(_TEXT),
            "Accept only clients with one of these subject alternative names (DNS, IP, e-mail, URI).",
        ),
        Key(
            "min_version",
            one_of("version", ("TLS12", "TLS13", "TLS10", "TLS11"), {}),
            "`TLS12` or `TLS13`. `TLS10` and `TLS11` are treated as `TLS12`, with a warning.",
        ),
        Key(
            "max_version",
            one_of(
                "version",
                ("TLS13", "TLS12"),
                dict.fromkeys(("TLS10", "TLS11"), "is not supported: set TLS12 or TLS13"),
            ),
            "`TLS12` or `TLS13`; older versions are refused.",
        ),
        Key(
            "cipher_suites",
            ListOf(one_of("suite", (*CIPHERS, *MODERN_CIPHERS), {})),
            "TLS 1.2 cipher suites by their Go names, such as `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`. Those of "
            "TLS 1.3 cannot be chosen.",
            default="OpenSSL's",
        ),
        Key(
            "prefer_server_cipher_suites",
            BOOLEAN,
            "Whether the server's order of cipher suites takes precedence over the client's.",
        ),
        Key(
            "curve_preferences",
            ListOf(one_of("curve", tuple(CURVES), {})),
            "One of `CurveP256`, `CurveP384`, `CurveP521`, `X25519`. More than one is refused.",
            default="OpenSSL's",
        ),
        *(
            Key(name, refused(_INLINE.format(name)), f"Refused: write it to a file and set `{name}_file`.")
            for name in ("cert", "key", "client_ca")
        ),
    ),
)


def _http_warnings(given: Given) -> Iterator[tuple[Spot, str]]:
    if given.values.get("http2"):
        yield "http2", "has no effect: only HTTP/1.1 is served, which every HTTP/2 client supports"


HTTP: Final = Section(
    HttpConfig,
    warnings=_http_warnings,
    keys=(
        Key("http2", BOOLEAN, "No effect: only HTTP/1.1 is served. `true` causes a warning."),
        Key(
            "headers",
            Section(dict, tuple(Key(name, kind, "") for name, kind in HEADERS.items())),
            "Headers to set on every answer; they replace the exporter's own: "
            + ", ".join(f"`{name}`" for name in HEADERS),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class _Named(Section):
    """A section with keys of any name, all of one kind."""

    kind: Value = HASH

    def find(self, name: str) -> Key | None:
        """Every name is valid. If the name is in fact a hash, the value may be anything."""
        return Key(name, _UNSHOWN if hash_like(name) else self.kind, "")


def _user_errors(given: Given) -> Iterator[tuple[Spot, str]]:
    for spot in given.lines:
        if not isinstance(spot, str):
            continue
        if hash_like(spot):
            yield spot, "a bcrypt hash is used as a user name: write name: hash"
        elif ":" in spot or has_control(spot):
            yield spot, "cannot be sent by a client: user names must not contain colons or control characters"


def _root_errors(given: Given) -> Iterator[tuple[Spot, str]]:
    if "rate_limit" in given.lines:
        yield "rate_limit", "is not supported: passwords and connections have built-in limits; remove the key"


def _root_warnings(given: Given) -> Iterator[tuple[Spot, str]]:
    tls = given.values.get("tls_server_config")
    if given.values.get("basic_auth_users") and not (tls and tls.cert_file):
        yield "basic_auth_users", "without tls_server_config, passwords are sent unencrypted"


ROOT: Final = Section(
    WebConfig,
    errors=_root_errors,
    warnings=_root_warnings,
    keys=(
        Key("tls_server_config", TLS, "TLS settings. Without them, plain HTTP is served."),
        Key("http_server_config", HTTP, "HTTP settings."),
        Key(
            "basic_auth_users",
            _Named(dict, (), errors=_user_errors),
            "Users by name, each with the bcrypt hash of the password. Without users, authentication is off.",
        ),
        Key("rate_limit", _Named(dict, (), kind=_TEXT), "Refused: passwords and connections have built-in limits."),
    ),
)
"""The whole file."""
