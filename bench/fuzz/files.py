"""Loads inputs as configuration files: the exporter's configuration and the web config file."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench.fuzz.canned import KEY, ROOT, check, outcome, seeds
from exporter.config import load
from exporter.config.keys import ROOT as CONFIG
from exporter.daemon.logs import set_up_logging
from exporter.web import WebConfigFile
from exporter.web.web_config import ROOT as WEB
from exporter.yamlconf import ConfigError
from exporter.yamlconf.schema import ListOf, Section

ENVIRONMENT: Final = {"KEY": KEY, "EMPTY": "", "DIFY_API_KEY": KEY}
HASH: Final = b"$2y$04$YTzmVyPkbbCrGGJpQwdQc.Tjr.dh9uH3bk.DpFa3MyHpgyGSAjZTO"
_SIGNS: Final = (
    *(b"${KEY}", b"${NOPE}", b"${EMPTY:-x}", b"$${", b"&a ", b"*a", b"<<: ", b"!!python/object ", b"? ", b"- ", b": "),
    *(b"|\n", b">-\n", b"---\n", b"...\n", b"%YAML 1.1\n", b"\t", b"#", b"'", b'"', b"{", b"[", b"]", b"}", b", "),
    *(b"15s", b"1e9h", b"-1s", b"99999999999999999999d", b"0x1F", b"0o17", b"1_000", b".inf", b".nan", b"~", b"yes"),
    *(b"2026-11-21", b"\xe2\x80\xae", b"\xc2\x85", b"https://[::1", b"http://user:pw@h/v1", b"/dev/null", b"..", b"**"),
    *(b"(?P<a>", b"(a+)+$", b"\\", KEY.encode(), b"501756ed-cffa-44bb-b992-713f60113872", b"127.0.0.1:9439", b"[::]:0"),
)


def _names(section: Section) -> set[str]:
    found = {key.name for key in section.keys}
    for key in section.keys:
        kind = key.kind.item if isinstance(key.kind, ListOf) else key.kind
        if isinstance(kind, Section):
            found |= _names(kind)
    return found


def _words(section: Section) -> tuple[bytes, ...]:
    return (*_SIGNS, *(f"{name}: ".encode() for name in sorted(_names(section))))


class _File:
    """Writes an input to a file."""

    separator = b""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp())
        self._path = self._folder / "config.yaml"

    def take(self, data: bytes) -> str:
        """Load the file. No error may show the key, whatever the key is mistaken for."""
        self._path.write_bytes(data)
        try:
            return self._load()
        except ConfigError as refused:
            check(KEY not in repr(refused.problems), "the key is shown")
            check(HASH.decode() not in repr(refused.problems), "a hash is shown")
            return outcome(refused)

    def _load(self) -> str:
        raise NotImplementedError

    def close(self) -> None:
        """Remove the directory."""
        shutil.rmtree(self._folder)


class ConfigFile(_File):
    """The configuration."""

    def __init__(self) -> None:
        super().__init__()
        self.seeds = [(ROOT / "config.example.yaml").read_bytes(), *seeds("config")]
        self.words = _words(CONFIG)

    def _load(self) -> str:
        config = load(self._path, ENVIRONMENT)
        check(KEY not in repr(config), "the key is shown")
        return f"{len(config.servers)} servers, {len(config.warnings)} warnings"


class WebFile(_File):
    """The web config file."""

    def __init__(self) -> None:
        super().__init__()
        self.seeds = seeds("web")
        self.words = (HASH, b"TLS12", b"cert.pem", b"X25519", b"admin: ", *_words(WEB))
        set_up_logging("critical", "logfmt")

    def _load(self) -> str:
        web_config = WebConfigFile(self._path, ENVIRONMENT)
        web_config.reload_if_changed()
        # A hash in a header, a name or a path is not a password hash, whatever it looks like.
        rest = replace(web_config.settings, headers=(), allowed_sans=frozenset())
        check(HASH.decode() not in repr(rest), "a hash is shown")
        return f"{len(web_config.settings.users)} users, {len(web_config.settings.headers)} headers"
