"""The web config file in use: read at the start, watched while the server runs."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from exporter.config.files import read_text
from exporter.config.load import show_path
from exporter.web.tls import FollowingContext, make_context
from exporter.web.web_config_keys import ROOT
from exporter.yamlconf import ConfigError, Problem, tree
from exporter.yamlconf.problems import Invalid
from exporter.yamlconf.reader import BROKEN, Overflow, Reader

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from pathlib import Path

    from exporter.web.web_config_keys import WebConfig

_log = structlog.get_logger(__name__)

Signature = tuple[tuple[int, ...] | None, ...]
"""Changes when one of the files changes; None for a file that cannot be examined."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One version of the file. ``users``: bcrypt hash by name, as UTF-8 bytes; empty turns authentication off."""

    users: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    headers: tuple[tuple[bytes, bytes], ...] = ()
    allowed_sans: frozenset[str] = frozenset()
    tls: ssl.SSLContext | None = None
    files: tuple[Path, ...] = ()
    signature: Signature = ()


class WebConfigFile:
    """TLS, users and headers from a web config file in the format of Prometheus' exporter-toolkit.

    Call ``look`` regularly, from any thread, one call at a time.
    """

    def __init__(self, path: Path, environ: Mapping[str, str] | None = None) -> None:
        """Read ``path`` with variables from ``environ``. Raises ``ConfigError`` with all problems."""
        self._path = path
        self._environ = environ or {}
        self._problem: str | None = None
        self._settings, warnings = _load(path, self._environ)
        self._seen = self._settings.signature
        self.warnings = tuple(warnings)
        """Warnings about the file as it was at the start."""

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
        return FollowingContext(self._context) if self._settings.tls else None

    def look(self) -> None:
        """Load changed files that are stable, that is unchanged since the previous call.

        An invalid file changes nothing, is logged once, and is tried again at each call.
        """
        signature = _signature(self._settings.files)
        rests, self._seen = signature == self._seen, signature
        if not rests or (signature == self._settings.signature and self._problem is None):
            return
        try:
            settings, warnings = _load(self._path, self._environ)
        except ConfigError as error:
            self._refuse(str(error))
            return
        if (settings.tls is None) != (self._settings.tls is None):
            self._refuse(str(_problem(self._path, "adding or removing it requires a restart", at="tls_server_config")))
            return
        self._settings, self._seen, self._problem = settings, settings.signature, None
        if not settings.users:
            _log.warning("web config defines no users: authentication is off", file=show_path(self._path))
        for warning in warnings:
            _log.warning("web config warning", problem=str(warning))
        _log.info("web config reloaded", users=len(settings.users))

    def _context(self) -> ssl.SSLContext:
        context = self._settings.tls
        if context is None:  # pragma: no cover - look() refuses to turn TLS on or off
            raise RuntimeError("TLS is not configured")
        return context

    def _refuse(self, problem: str) -> None:
        if problem == self._problem:
            return
        self._problem = problem
        for line in problem.splitlines():
            _log.error("web config reload failed, the previous one stays in use", problem=line)


def _signature(files: tuple[Path, ...]) -> Signature:
    return tuple(map(_state, files))


def _state(file: Path) -> tuple[int, ...] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _problem(path: Path, message: str, *, line: int | None = None, at: str = "") -> Problem:
    return Problem(show_path(path), line, at, message)


def _load(path: Path, environ: Mapping[str, str]) -> tuple[Settings, list[Problem]]:
    before = _signature((path,))
    reader = Reader(show_path(path), path.parent, environ)
    node = _parse(path)
    config: Any = BROKEN
    with suppress(Overflow):
        config = reader.read(node, ROOT)
    if reader.problems:
        raise ConfigError(sorted(reader.problems, key=lambda problem: problem.line or sys.maxsize))
    try:
        return _settings(path, before, config), reader.warnings
    except Invalid as refused:
        problem = _problem(path, str(refused), at="tls_server_config")
    raise ConfigError([problem])


def _parse(path: Path) -> tree.Node:
    try:
        node = tree.parse(read_text(path))
    except FileNotFoundError:
        problem = _problem(path, "does not exist; correct --web.config.file")
    except Invalid as refused:
        problem = _problem(path, str(refused))
    except tree.Malformed as malformed:
        problem = _problem(path, str(malformed), line=malformed.line)
    else:
        if node is not None:
            return node
        problem = _problem(path, "is empty; to serve without TLS and passwords, write {}")
    # Outside the handlers: no traceback may show the content of the file.
    raise ConfigError([problem])


def _settings(path: Path, before: Signature, config: WebConfig) -> Settings:
    """``before``: the file's signature, taken before the file was read, so that no change is missed."""
    tls, headers = config.tls_server_config, config.http_server_config.headers
    named = tuple(file for file in (tls.cert_file, tls.key_file, tls.client_ca_file) if file)
    return Settings(
        users={name.encode(): hashed for name, hashed in config.basic_auth_users.items()},
        headers=tuple((name.lower().encode(), text.encode()) for name, text in headers.items() if text),
        allowed_sans=frozenset(tls.client_allowed_sans),
        files=(path, *named),
        signature=(*before, *_signature(named)),
        tls=make_context(tls) if tls.cert_file else None,
    )
