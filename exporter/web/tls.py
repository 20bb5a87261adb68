"""TLS settings in the names of Go and of Prometheus' exporter-toolkit, and the contexts that apply them."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from exporter.yamlconf.problems import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

VERSIONS: Final = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}

VERIFYING: Final = {
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
"""The client authentication types that verify certificates."""

CIPHERS: Final = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
}
"""Cipher suites up to TLS 1.2: names of Go's crypto/tls and of OpenSSL."""

TLS13_CIPHERS: Final = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
"""The cipher suites of TLS 1.3. They cannot be chosen, as in Go."""

CURVES: Final = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
"""Curves: names of Go's crypto/tls and of OpenSSL."""


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


def make_context(config: TlsConfig) -> ssl.SSLContext:
    """The TLS context for one version of the file and the files that it names. Raises ``Invalid``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS.get(config.min_version, ssl.TLSVersion.TLSv1_2)
    context.maximum_version = VERSIONS[config.max_version]
    context.options |= ssl.OP_NO_RENEGOTIATION
    if not config.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    suites = [CIPHERS[name] for name in config.cipher_suites if name in CIPHERS]
    if suites:
        context.set_ciphers(":".join(suites))
    for curve in config.curve_preferences:
        context.set_ecdh_curve(CURVES[curve])
    try:
        context.load_cert_chain(config.cert_file or "", config.key_file, _refuse_to_decrypt)
    except ssl.SSLError as error:
        raise Invalid(_explain(error)) from None
    except OSError as error:
        raise Invalid(f"cert_file or key_file cannot be read ({error.strerror})") from None
    if config.client_auth_type in VERIFYING:
        _verify_clients(context, config)
    return context


def _verify_clients(context: ssl.SSLContext, config: TlsConfig) -> None:
    try:
        context.load_verify_locations(cafile=config.client_ca_file)
    except OSError as error:  # includes SSLError
        raise Invalid("client_ca_file contains no readable certificate: it must be PEM") from error
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as in Go, certificates in the file are trusted, root or not
    context.verify_mode = VERIFYING[config.client_auth_type]


def _refuse_to_decrypt() -> str:
    """Refuse to decrypt; OpenSSL would prompt for the password on the terminal."""
    raise Invalid("key_file is encrypted: decrypt it (openssl pkey) and restrict the file's permissions")


def _explain(error: ssl.SSLError) -> str:
    match error.reason:
        case "KEY_VALUES_MISMATCH":
            return "key_file does not match the certificate in cert_file: use a matching pair"
        case "EE_KEY_TOO_SMALL" | "CA_KEY_TOO_SMALL" | "CA_MD_TOO_WEAK":
            return "cert_file contains a certificate with a weak key or digest: create a new one"
        case _:
            return "cert_file or key_file is damaged: both must be PEM, the server's certificate first"


class DelegatingContext(ssl.SSLContext):
    """Delegates every connection to the current context, so that a new one requires no new socket.

    A server-name callback could replace only certificates; this replaces everything, client authorities included.
    """

    _current: Callable[[], ssl.SSLContext]

    def __new__(cls, current: Callable[[], ssl.SSLContext]) -> Self:
        """``current`` returns the context in use."""
        self = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        self._current = current
        return self

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """Called by asyncio for each connection."""
        return self._current().wrap_bio(*arguments, **options)


def alternative_names(certificate: Mapping[str, Any]) -> frozenset[str]:
    """The subject alternative names of a verified certificate, in Python's format; addresses in their short form."""
    names = certificate.get("subjectAltName", ())
    return frozenset(_canonical(name.strip()) if kind == "IP Address" else name for kind, name in names)


def _canonical(address: str) -> str:
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address
