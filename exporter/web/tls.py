"""TLS according to the web config file, and a context that follows the file from one connection to the next."""

from __future__ import annotations

import ipaddress
import ssl
from typing import TYPE_CHECKING, Any, Final, Self

from exporter.web.web_config_keys import VERIFYING
from exporter.web.web_config_values import CIPHERS, CURVES
from exporter.yamlconf.problems import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.web.web_config_keys import TlsConfig

_VERSIONS: Final = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_MODES: Final = {
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


def make_context(config: TlsConfig) -> ssl.SSLContext:
    """The TLS context for one version of the file and the files that it names. Raises ``Invalid``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS.get(config.min_version, ssl.TLSVersion.TLSv1_2)
    context.maximum_version = _VERSIONS[config.max_version]
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
        raise Invalid(_what_is_wrong(error)) from None
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
    context.verify_mode = _MODES[config.client_auth_type]


def _refuse_to_decrypt() -> str:
    """Refuse to decrypt; OpenSSL would prompt for the password on the terminal."""
    raise Invalid("key_file is encrypted: decrypt it (openssl pkey) and restrict the file's permissions")


def _what_is_wrong(error: ssl.SSLError) -> str:
    match error.reason:
        case "KEY_VALUES_MISMATCH":
            return "key_file does not match the certificate in cert_file: use a matching pair"
        case "EE_KEY_TOO_SMALL" | "CA_KEY_TOO_SMALL" | "CA_MD_TOO_WEAK":
            return "cert_file contains a certificate with a weak key or digest: create a new one"
        case _:
            return "cert_file or key_file is damaged: both must be PEM, the server's certificate first"


class FollowingContext(ssl.SSLContext):
    """Delegates every connection to the current context, so that a new one requires no new socket.

    A server-name callback could replace only certificates; this replaces everything, client authorities included.
    """

    _now: Callable[[], ssl.SSLContext]

    def __new__(cls, now: Callable[[], ssl.SSLContext]) -> Self:
        """``now`` returns the current context."""
        self = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        self._now = now
        return self

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """Called by asyncio for each connection."""
        return self._now().wrap_bio(*arguments, **options)


def alternative_names(certificate: Mapping[str, Any]) -> frozenset[str]:
    """The subject alternative names of a verified certificate, in Python's format; addresses in their short form."""
    names = certificate.get("subjectAltName", ())
    return frozenset(_short(name.strip()) if kind == "IP Address" else name for kind, name in names)


def _short(address: str) -> str:
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address
