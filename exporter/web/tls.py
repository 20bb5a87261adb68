"""The TLS section of the web config file, in Go's names as in Prometheus' exporter-toolkit, and TLS contexts."""

from __future__ import annotations

import ipaddress
import ssl
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self

from exporter.yamlconf import Invalid, Key, ListOf, Section, Value, files, key, model, section_of
from exporter.yamlconf.schema import ANY
from exporter.yamlconf.values import BOOLEAN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from exporter.yamlconf import Given, Spot

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


def _key_file(folder: Path, text: str) -> Path:
    if b"PRIVATE KEY-----" not in files.read_named(folder / text):
        raise Invalid("names a file without a private key: it must be PEM with -----BEGIN PRIVATE KEY-----")
    return folder / text


def _file(locate: Callable[[Path, str], Path]) -> Value:
    """An existing file; "" stands for none."""

    def locate_any(folder: Path, text: str) -> Path | None:
        return locate(folder, text) if text else None

    return Value("path", lambda text: text and files.parse_path(text), ANY, locate=locate_any)


_CERTIFICATE: Final = _file(files.locate_certificate)


def _one_of(name: str, *words: str, refused: Mapping[str, str] = MappingProxyType({})) -> Value:
    """One of ``words``; "" stands for the first. ``refused``: other words of the format, each with the remedy."""

    def parse(text: str) -> str:
        if text in refused:
            raise Invalid(refused[text])
        if text and text not in words:
            raise Invalid(f"must be one of {', '.join(words)}")
        return text or words[0]

    return Value(name, parse, ANY)


_OLD_VERSIONS: Final = ("TLS10", "TLS11")
_MAX_VERSION: Final = _one_of(
    "version", "TLS13", "TLS12", refused=dict.fromkeys(_OLD_VERSIONS, "is not supported: set TLS12 or TLS13")
)
_CLIENT_AUTH: Final = _one_of(
    "policy",
    *("NoClientCert", "RequestClientCert", *VERIFYING),
    refused=dict.fromkeys(
        ("RequireAnyClientCert", "RequireClientCert"),
        "would accept any self-made certificate: use RequireAndVerifyClientCert with client_ca_file",
    ),
)


@model
class TlsConfig:
    """TLS settings; without ``cert_file`` TLS is off. Field names are those of the file."""

    cert_file: Path | None = key(
        _CERTIFICATE, "PEM file with the server certificate and its intermediate certificates.", default=None
    )
    key_file: Path | None = key(_file(_key_file), "PEM file with the unencrypted private key.", default=None)
    client_auth_type: str = key(
        _CLIENT_AUTH,
        "`NoClientCert`, `VerifyClientCertIfGiven` or `RequireAndVerifyClientCert`. `RequestClientCert` is treated "
        "as `NoClientCert`, with a warning; `RequireAnyClientCert`, which verifies nothing, is refused.",
        default="NoClientCert",
    )
    client_ca_file: Path | None = key(
        _CERTIFICATE,
        "PEM file with the authorities that sign client certificates.",
        default=None,
        shown_default="the system's authorities, with a warning",
    )
    client_allowed_sans: tuple[str, ...] = key(
        ListOf(Value("text", str, ANY)),
        "Accept only clients with one of these subject alternative names (DNS, IP, e-mail, URI).",
        default=(),
    )
    min_version: str = key(
        _one_of("version", "TLS12", "TLS13", *_OLD_VERSIONS),
        "`TLS12` or `TLS13`. `TLS10` and `TLS11` are treated as `TLS12`, with a warning.",
        default="TLS12",
    )
    max_version: str = key(_MAX_VERSION, "`TLS12` or `TLS13`; older versions are refused.", default="TLS13")
    cipher_suites: tuple[str, ...] = key(
        ListOf(_one_of("suite", *CIPHERS, *TLS13_CIPHERS)),
        "TLS 1.2 cipher suites by their Go names, such as `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`. Those of "
        "TLS 1.3 cannot be chosen.",
        default=(),
        shown_default="OpenSSL's",
    )
    prefer_server_cipher_suites: bool = key(
        BOOLEAN, "Whether the server's order of cipher suites takes precedence over the client's.", default=True
    )
    curve_preferences: tuple[str, ...] = key(
        ListOf(_one_of("curve", *CURVES)),
        "One of `CurveP256`, `CurveP384`, `CurveP521`, `X25519`. More than one is refused.",
        default=(),
        shown_default="OpenSSL's",
    )


def _refused_inline(name: str) -> Key:
    """A key that would contain a certificate or a private key itself. Its value is not shown."""

    def parse(_text: str) -> str:
        raise Invalid(f"is not supported inline: write it to a separate file and set {name}_file")

    kind = Value("not supported", parse, ANY, echo=False)
    return Key(name, kind, f"Refused: write it to a file and set `{name}_file`.")


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
    if given.values.get("client_allowed_sans") and kind and kind != "RequireAndVerifyClientCert":
        message = (
            "requires client_auth_type: RequireAndVerifyClientCert; other types accept clients without certificate"
        )
        yield "client_allowed_sans", message
    if given.effective("min_version") == "TLS13" and given.effective("max_version") == "TLS12":
        yield "max_version", "is below min_version: no client could connect"
    suites = given.values.get("cipher_suites")
    if suites and not set(suites) - set(TLS13_CIPHERS) and given.effective("min_version") != "TLS13":
        yield "cipher_suites", "lists only TLS 1.3 suites: add a TLS 1.2 suite or set min_version: TLS13"
    if len(given.values.get("curve_preferences") or ()) > 1:
        yield "curve_preferences", "lists more than one curve, Python supports one: list one, or remove the key"


def _tls_warnings(given: Given) -> Iterator[tuple[Spot, str]]:
    any_name = not given.values.get("client_allowed_sans")
    if given.values.get("client_auth_type") in VERIFYING and _lacks(given, "client_ca_file") and any_name:
        message = "accepts every client with a certificate of an authority that this system trusts: set client_ca_file"
        yield "client_auth_type", message
    if given.values.get("client_auth_type") == "RequestClientCert":
        yield "client_auth_type", "is treated as NoClientCert: an unverified certificate proves nothing"
    if given.values.get("min_version") in _OLD_VERSIONS:
        yield "min_version", "is treated as TLS12: older versions are not supported"


_INLINE: Final = tuple(_refused_inline(name) for name in ("cert", "key", "client_ca"))
TLS: Final = Section(TlsConfig, (*section_of(TlsConfig).keys, *_INLINE), errors=_tls_errors, warnings=_tls_warnings)
"""The section ``tls_server_config``."""


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
        _load_authorities(context, config.client_ca_file)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as in Go, any certificate in the file is trusted
        context.verify_mode = VERIFYING[config.client_auth_type]
    return context


def _load_authorities(context: ssl.SSLContext, file: Path | None) -> None:
    """Trust the authorities in ``file``; without one those of the system, as Go does."""
    if file is None:
        paths = ssl.get_default_verify_paths()
        if paths.cafile is None and paths.capath is None:
            raise Invalid("client_ca_file is missing, and this system has no authorities of its own: set it")
        context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
        return
    try:
        context.load_verify_locations(cafile=file)
    except OSError as error:  # includes SSLError
        raise Invalid("client_ca_file contains no readable certificate: it must be PEM") from error


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
