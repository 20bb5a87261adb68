"""The web config file in the format of Prometheus' exporter-toolkit: the table of its keys, and the file in use."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from exporter.clock import SystemClock
from exporter.web.certificate import Validity, validity_of
from exporter.web.passwords import MAX_QUICK_COST, cost_of
from exporter.web.tls import TLS, DelegatingContext, TlsConfig, make_context
from exporter.yamlconf import (
    ConfigError,
    Given,
    Invalid,
    Key,
    Problem,
    Section,
    Stamp,
    Value,
    WatchedFile,
    bounded,
    files,
    key,
    model,
    read_file,
    section_of,
    show_path,
    stamps,
)
from exporter.yamlconf.problems import hash_like
from exporter.yamlconf.schema import ANY
from exporter.yamlconf.values import BOOLEAN, has_control

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from exporter.clock import Clock
    from exporter.yamlconf import Spot

MIN_COST: Final = 4
MAX_COST: Final = 18
"""A bcrypt cost of 18 takes about 16 s of CPU per password."""

_log = structlog.get_logger(__name__)

_HASH_FORM = re.compile(r"\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
_VISIBLE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


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
_UNSHOWN = replace(_TEXT, echo=False)


@dataclass(frozen=True, slots=True)
class _Named(Section):
    """A section with keys of any name, all of one kind."""

    kind: Value = _HASH

    def find(self, name: str) -> Key | None:
        """Every name is valid. If the name is in fact a hash, the value may be anything."""
        return Key(name, _UNSHOWN if hash_like(name) else self.kind, "")


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


def _user_warnings(given: Given) -> Iterator[tuple[Spot, str]]:
    for name, hashed in given.values.items():
        cost = cost_of(hashed) if isinstance(hashed, bytes) else 0  # text: the name is a hash, which is refused
        if cost > MAX_QUICK_COST:
            seconds = round(4 * 2 ** (cost - MAX_QUICK_COST))
            message = f"takes about {seconds} s to verify (cost {cost}): the first scrapes after a restart time out"
            yield name, f"{message}; create a hash with cost 10"


def _root_errors(given: Given) -> Iterator[tuple[Spot, str]]:
    if "rate_limit" in given.lines:
        yield "rate_limit", "is not supported: passwords and connections have built-in limits; remove the key"


def _root_warnings(given: Given) -> Iterator[tuple[Spot, str]]:
    if not given.lines:
        yield "", "has no keys: all pages are served to everyone, unencrypted"
    tls = given.values.get("tls_server_config")
    if given.values.get("basic_auth_users") and not (tls and tls.cert_file):
        yield "basic_auth_users", "without tls_server_config, passwords are sent unencrypted"


@model
class HttpConfig:
    """Headers to add to every answer; headers without a value are ignored."""

    http2: bool = key(BOOLEAN, "No effect: only HTTP/1.1 is served. `true` causes a warning.", default=False)
    headers: Mapping[str, str] = key(
        Section(dict, tuple(Key(name, kind, "") for name, kind in _HEADERS.items())),
        "Headers to set on every answer; they replace the exporter's own: "
        + ", ".join(f"`{name}`" for name in _HEADERS),
        default_factory=dict,
    )


HTTP: Final = section_of(HttpConfig, warnings=_http_warnings)


@model
class WebConfig:
    """The content of a web config file. ``basic_auth_users``: bcrypt hash by name; empty turns authentication off."""

    tls_server_config: TlsConfig = key(
        TLS, "TLS settings. Without them, plain HTTP is served.", default_factory=TlsConfig
    )
    http_server_config: HttpConfig = key(HTTP, "HTTP settings.", default_factory=HttpConfig)
    basic_auth_users: Mapping[str, bytes] = key(
        _Named(dict, (), errors=_user_errors, warnings=_user_warnings),
        "Users by name, each with the bcrypt hash of the password. Without users, authentication is off.",
        default_factory=dict,
        in_repr=False,
    )


_RATE_LIMIT: Final = Key(
    "rate_limit", _Named(dict, (), kind=_TEXT), "Refused: passwords and connections have built-in limits."
)
ROOT: Final = Section(
    WebConfig, (*section_of(WebConfig).keys, _RATE_LIMIT), errors=_root_errors, warnings=_root_warnings
)
"""The whole file."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One version of the file. ``users``: bcrypt hash by name, as UTF-8 bytes; empty turns authentication off."""

    users: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    headers: tuple[tuple[bytes, bytes], ...] = ()
    allowed_sans: frozenset[str] = frozenset()
    tls: ssl.SSLContext | None = None
    certificate: Validity | None = None

    def certificate_problem(self, path: Path, now: float) -> Problem | None:
        """Why clients refuse the server's certificate, or soon will."""
        reason = self.certificate.problem(now) if self.certificate else None
        return Problem(show_path(path), None, "tls_server_config.cert_file", reason) if reason else None


class WebConfigFile:
    """TLS, users and headers from a web config file. ``warnings``: about the file as it was at the start.

    Call ``check`` regularly, from any thread, one call at a time.
    """

    def __init__(self, path: Path, environ: Mapping[str, str] | None = None, *, clock: Clock | None = None) -> None:
        """Read ``path`` with variables from ``environ``. Raises ``ConfigError`` with all problems."""
        self._path = path
        self._environ = environ or {}
        self._clock = clock or SystemClock()
        self.problem: str | None = None
        """What is wrong with the current file, one line per problem; None while the current file is in use."""
        self.settings, self.warnings, self._watched = _load(path, self._environ)
        self._certificate_problem = self.settings.certificate_problem(path, self._clock.time())
        if self._certificate_problem is not None:
            self.warnings = (*self.warnings, self._certificate_problem)

    def server_context(self) -> ssl.SSLContext | None:
        """A context for a listening socket that follows the file; None without TLS."""
        return DelegatingContext(self._context) if self.settings.tls else None

    def check(self) -> None:
        """Load changed files, and log it when the certificate is about to expire or has expired."""
        self.reload_if_changed()
        problem = self.settings.certificate_problem(self._path, self._clock.time())
        if problem is not None and problem != self._certificate_problem:
            _log.warning("web config warning", problem=str(problem))
        self._certificate_problem = problem

    def reload_if_changed(self) -> None:
        """Load changed files that have not changed since the previous call.

        An invalid file changes nothing, is logged once, and is tried again at each call.
        """
        if self._watched.check() is None:
            return
        try:
            settings, warnings, watched = _load(self._path, self._environ, self.settings)
        except ConfigError as error:
            self._refuse(str(error))
            return
        if (settings.tls is None) != (self.settings.tls is None):
            self._refuse(str(_tls_problem(self._path, "adding or removing it requires a restart")))
            return
        self.settings, self._watched, self.problem = settings, watched, None
        if not settings.users:
            _log.warning("web config defines no users: authentication is off", file=show_path(self._path))
        for warning in warnings:
            _log.warning("web config warning", problem=str(warning))
        _log.info("web config reloaded", users=len(settings.users))

    def _context(self) -> ssl.SSLContext:
        context = self.settings.tls
        if context is None:  # pragma: no cover - reload_if_changed() refuses to turn TLS on or off
            raise RuntimeError("TLS is not configured")
        return context

    def _refuse(self, problem: str) -> None:
        self._watched.invalidate()
        if problem == self.problem:
            return
        self.problem = problem
        for line in problem.splitlines():
            _log.error("web config reload failed, the previous one stays in use", problem=line)


def _tls_problem(path: Path, message: str) -> Problem:
    return Problem(show_path(path), None, "tls_server_config", message)


def _load(
    path: Path, environ: Mapping[str, str], in_use: Settings | None = None
) -> tuple[Settings, tuple[Problem, ...], WatchedFile[tuple[Stamp, ...]]]:
    """The settings, the warnings, and the files that they come from. Raises ``ConfigError``.

    An empty file is valid at the start, as in exporter-toolkit. Later it may be the remains of a full disk: it does not
    turn off the authentication that is ``in_use``.
    """
    before = stamps(path)  # taken before the files are read, so that no change is missed
    empty = "to serve without TLS and passwords, write {}" if in_use and in_use.users else None
    config, warnings = read_file(path, environ, ROOT, absent="correct --web.config.file", empty=empty)
    tls, headers = config.tls_server_config, config.http_server_config.headers
    named = [file for file in (tls.cert_file, tls.key_file, tls.client_ca_file) if file]
    watched = WatchedFile(partial(stamps, path, *named), (*before, *stamps(*named)))
    try:
        context, certificate = bounded(tls.cert_file, partial(_read_tls, tls)) if tls.cert_file else (None, None)
    except Invalid as refused:
        raise ConfigError([_tls_problem(path, str(refused))]) from None
    except OSError as error:
        raise ConfigError([_tls_problem(path, f"a file that it names cannot be read: {error.strerror}")]) from None
    settings = Settings(
        users={name.encode(): hashed for name, hashed in config.basic_auth_users.items()},
        headers=tuple((name.lower().encode(), text.encode()) for name, text in headers.items() if text),
        allowed_sans=frozenset(tls.client_allowed_sans),
        tls=context,
        certificate=certificate,
    )
    return settings, warnings, watched


def _read_tls(tls: TlsConfig) -> tuple[ssl.SSLContext, Validity | None]:
    """The context, and how long the certificate is valid. Raises ``Invalid``."""
    content = files.read_named(tls.cert_file) if tls.cert_file else b""
    return make_context(tls), validity_of(content.decode("latin-1"))
