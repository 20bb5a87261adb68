"""The web config file in the format of Prometheus' exporter-toolkit: the table of its keys, and the file in use."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import structlog

from exporter.web.tls import CIPHERS, CURVES, TLS13_CIPHERS, VERIFYING, DelegatingContext, TlsConfig, make_context
from exporter.yamlconf import (
    ConfigError,
    Given,
    Invalid,
    Key,
    ListOf,
    Problem,
    Section,
    Stamp,
    Value,
    WatchedFile,
    files,
    read_file,
    show_path,
    stamps,
)
from exporter.yamlconf.problems import hash_like
from exporter.yamlconf.schema import ANY
from exporter.yamlconf.values import BOOLEAN, has_control

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from exporter.yamlconf import Spot

MIN_COST: Final = 4
MAX_COST: Final = 16
"""A bcrypt cost of 16 takes about 4 s of CPU per password; half of the usual scrape timeout."""

_log = structlog.get_logger(__name__)

_HASH_FORM = re.compile(r"\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
_VISIBLE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """Headers to add to every answer; headers without a value are ignored."""

    http2: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WebConfig:
    """The content of a web config file. ``basic_auth_users``: bcrypt hash by name; empty turns authentication off."""

    tls_server_config: TlsConfig = field(default_factory=TlsConfig)
    http_server_config: HttpConfig = field(default_factory=HttpConfig)
    basic_auth_users: Mapping[str, bytes] = field(default_factory=dict, repr=False)


def _no_file_or(locate: Callable[[Path, str], Path]) -> Callable[[Path, str], Path | None]:
    return lambda folder, text: locate(folder, text) if text else None


def _key_file(folder: Path, text: str) -> Path:
    if b"PRIVATE KEY-----" not in files.read_named(folder / text):
        raise Invalid("names a file without a private key: it must be PEM with -----BEGIN PRIVATE KEY-----")
    return folder / text


def _any_path(text: str) -> str:
    return files.parse_path(text) if text else ""


_CERTIFICATE: Final = Value("path", _any_path, ANY, locate=_no_file_or(files.locate_certificate))
_PRIVATE_KEY: Final = Value("path", _any_path, ANY, locate=_no_file_or(_key_file))


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


def _refused_inline(name: str) -> Value:
    """A key that would contain a certificate or a private key itself. Its value is not shown."""

    def parse(_text: str) -> str:
        raise Invalid(f"is not supported inline: write it to a separate file and set {name}_file")

    return Value("not supported", parse, ANY, echo=False)


def _hash(text: str) -> bytes:
    match = _HASH_FORM.fullmatch(text)
    if match is None:
        raise Invalid(
            "is not a bcrypt hash ($2y$10$…, 60 characters): create one with htpasswd -nBC 10 '' | tr -d ':\\n'"
        )
    if not MIN_COST <= int(match["cost"]) <= MAX_COST:
        raise Invalid(f"has a bcrypt cost outside {MIN_COST} to {MAX_COST}: create a hash with cost 10")
    return text.encode()


_HASH: Final = Value("bcrypt hash", _hash, ANY, echo=False)


def _header(*words: str) -> Value:
    def parse(text: str) -> str:
        if text and words and text not in words:
            raise Invalid(f"must be {' or '.join(words)}")
        if text and not _VISIBLE.fullmatch(text):
            raise Invalid("cannot be sent in a header: use visible ASCII characters on one line")
        return text

    return Value(" or ".join(f"`{word}`" for word in words) or "text", parse, ANY)


_HEADERS: Final = {
    "Content-Security-Policy": _header(),
    "X-Frame-Options": _header("deny", "sameorigin"),
    "X-Content-Type-Options": _header("nosniff"),
    "X-XSS-Protection": _header(),
    "Strict-Transport-Security": _header(),
}


_TEXT = Value("text", str, ANY)
_UNSHOWN = Value("text", str, ANY, echo=False)


@dataclass(frozen=True, slots=True)
class _Named(Section):
    """A section with keys of any name, all of one kind."""

    kind: Value = _HASH

    def find(self, name: str) -> Key | None:
        """Every name is valid. If the name is in fact a hash, the value may be anything."""
        return Key(name, _UNSHOWN if hash_like(name) else self.kind, "")


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
    if suites and not set(suites) - set(TLS13_CIPHERS) and given.effective("min_version") != "TLS13":
        yield "cipher_suites", "lists only TLS 1.3 suites: add a TLS 1.2 suite or set min_version: TLS13"
    if len(given.values.get("curve_preferences") or ()) > 1:
        yield "curve_preferences", "lists more than one curve, Python supports one: list one, or remove the key"


def _tls_warnings(given: Given) -> Iterator[tuple[Spot, str]]:
    if given.values.get("client_auth_type") == "RequestClientCert":
        yield "client_auth_type", "is treated as NoClientCert: an unverified certificate proves nothing"
    if given.values.get("min_version") in _OLD_VERSIONS:
        yield "min_version", "is treated as TLS12: older versions are not supported"


def _http_warnings(given: Given) -> Iterator[tuple[Spot, str]]:
    if given.values.get("http2"):
        yield "http2", "has no effect: only HTTP/1.1 is served, which every HTTP/2 client supports"


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


TLS: Final = Section(
    TlsConfig,
    errors=_tls_errors,
    warnings=_tls_warnings,
    keys=(
        Key("cert_file", _CERTIFICATE, "PEM file with the server certificate and its intermediate certificates."),
        Key("key_file", _PRIVATE_KEY, "PEM file with the unencrypted private key."),
        Key(
            "client_auth_type",
            _CLIENT_AUTH,
            "`NoClientCert`, `VerifyClientCertIfGiven` or `RequireAndVerifyClientCert`. `RequestClientCert` is treated "
            "as `NoClientCert`, with a warning; `RequireAnyClientCert`, which verifies nothing, is refused.",
        ),
        Key("client_ca_file", _CERTIFICATE, "PEM file with the authorities that sign client certificates."),
        Key(
            "client_allowed_sans",
            ListOf(_TEXT),
            "Accept only clients with one of these subject alternative names (DNS, IP, e-mail, URI).",
        ),
        Key(
            "min_version",
            _one_of("version", "TLS12", "TLS13", *_OLD_VERSIONS),
            "`TLS12` or `TLS13`. `TLS10` and `TLS11` are treated as `TLS12`, with a warning.",
        ),
        Key("max_version", _MAX_VERSION, "`TLS12` or `TLS13`; older versions are refused."),
        Key(
            "cipher_suites",
            ListOf(_one_of("suite", *CIPHERS, *TLS13_CIPHERS)),
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
            ListOf(_one_of("curve", *CURVES)),
            "One of `CurveP256`, `CurveP384`, `CurveP521`, `X25519`. More than one is refused.",
            default="OpenSSL's",
        ),
        *(
            Key(name, _refused_inline(name), f"Refused: write it to a file and set `{name}_file`.")
            for name in ("cert", "key", "client_ca")
        ),
    ),
)


HTTP: Final = Section(
    HttpConfig,
    warnings=_http_warnings,
    keys=(
        Key("http2", BOOLEAN, "No effect: only HTTP/1.1 is served. `true` causes a warning."),
        Key(
            "headers",
            Section(dict, tuple(Key(name, kind, "") for name, kind in _HEADERS.items())),
            "Headers to set on every answer; they replace the exporter's own: "
            + ", ".join(f"`{name}`" for name in _HEADERS),
        ),
    ),
)


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


@dataclass(frozen=True, slots=True)
class Settings:
    """One version of the file. ``users``: bcrypt hash by name, as UTF-8 bytes; empty turns authentication off."""

    users: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    headers: tuple[tuple[bytes, bytes], ...] = ()
    allowed_sans: frozenset[str] = frozenset()
    tls: ssl.SSLContext | None = None


class WebConfigFile:
    """TLS, users and headers from a web config file. ``warnings``: about the file as it was at the start.

    Call ``reload_if_changed`` regularly, from any thread, one call at a time.
    """

    def __init__(self, path: Path, environ: Mapping[str, str] | None = None) -> None:
        """Read ``path`` with variables from ``environ``. Raises ``ConfigError`` with all problems."""
        self._path = path
        self._environ = environ or {}
        self._problem: str | None = None
        self._settings, self.warnings, self._watched = _load(path, self._environ)

    @property
    def settings(self) -> Settings:
        """The settings in use."""
        return self._settings

    @property
    def problem(self) -> str | None:
        """What is wrong with the current file, one line per problem; None while the current file is in use."""
        return self._problem

    def server_context(self) -> ssl.SSLContext | None:
        """A context for a listening socket that follows the file; None without TLS."""
        return DelegatingContext(self._context) if self._settings.tls else None

    def reload_if_changed(self) -> None:
        """Load changed files that have not changed since the previous call.

        An invalid file changes nothing, is logged once, and is tried again at each call.
        """
        if self._watched.check() is None:
            return
        try:
            settings, warnings, watched = _load(self._path, self._environ)
        except ConfigError as error:
            self._refuse(str(error))
            return
        if (settings.tls is None) != (self._settings.tls is None):
            self._refuse(str(_tls_problem(self._path, "adding or removing it requires a restart")))
            return
        self._settings, self._watched, self._problem = settings, watched, None
        if not settings.users:
            _log.warning("web config defines no users: authentication is off", file=show_path(self._path))
        for warning in warnings:
            _log.warning("web config warning", problem=str(warning))
        _log.info("web config reloaded", users=len(settings.users))

    def _context(self) -> ssl.SSLContext:
        context = self._settings.tls
        if context is None:  # pragma: no cover - reload_if_changed() refuses to turn TLS on or off
            raise RuntimeError("TLS is not configured")
        return context

    def _refuse(self, problem: str) -> None:
        self._watched.invalidate()
        if problem == self._problem:
            return
        self._problem = problem
        for line in problem.splitlines():
            _log.error("web config reload failed, the previous one stays in use", problem=line)


def _tls_problem(path: Path, message: str) -> Problem:
    return Problem(show_path(path), None, "tls_server_config", message)


def _load(
    path: Path, environ: Mapping[str, str]
) -> tuple[Settings, tuple[Problem, ...], WatchedFile[tuple[Stamp, ...]]]:
    """The settings, the warnings, and the files that they come from. Raises ``ConfigError``."""
    before = stamps(path)  # taken before the files are read, so that no change is missed
    config, warnings = read_file(
        path,
        environ,
        ROOT,
        absent="correct --web.config.file",
        empty="to serve without TLS and passwords, write {}",
    )
    tls = config.tls_server_config
    named = [file for file in (tls.cert_file, tls.key_file, tls.client_ca_file) if file]
    watched = WatchedFile(partial(stamps, path, *named), (*before, *stamps(*named)))
    try:
        return _settings(config), warnings, watched
    except Invalid as refused:
        problem = _tls_problem(path, str(refused))
    raise ConfigError([problem])


def _settings(config: WebConfig) -> Settings:
    tls, headers = config.tls_server_config, config.http_server_config.headers
    return Settings(
        users={name.encode(): hashed for name, hashed in config.basic_auth_users.items()},
        headers=tuple((name.lower().encode(), text.encode()) for name, text in headers.items() if text),
        allowed_sans=frozenset(tls.client_allowed_sans),
        tls=make_context(tls) if tls.cert_file else None,
    )
