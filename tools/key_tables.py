"""The tables of all keys of the configuration and of the web config, from the tables that drive the readers."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from exporter.config import keys
from exporter.web.tls import TLS
from exporter.web.web_config import HTTP, ROOT
from exporter.yamlconf.schema import Key, ListOf, Section, default_of

if TYPE_CHECKING:
    from collections.abc import Iterator


def configuration_sections() -> str:
    """A table for each section of the configuration file, in the order of the file."""
    return "\n\n".join(_configuration(keys.ROOT, "", "The file"))


def restart_sections() -> str:
    """The names of the sections whose changes require a restart, for a sentence: "`a`, `b` and `c`"."""
    *names, last = [f"`{name}`" for name in keys.NEEDS_RESTART]
    return f"{', '.join(names)} and {last}"


def web_config_sections() -> str:
    """A table for each section of the web config file."""
    sections = {
        "The file": ROOT,
        "`tls_server_config`": TLS,
        "`http_server_config`": HTTP,
    }
    return "\n\n".join(
        _table(
            title,
            "| key | default | meaning |",
            [f"`{key.name}` | {default(section, key)} | {key.description}" for key in section.keys],
        )
        for title, section in sections.items()
    )


def default(section: Section, key: Key) -> str:
    """The default of ``key`` as the tables show it; empty for a section and for a key that is always refused."""
    if key.required:
        return "**required**"
    if isinstance(key.kind, Section) or key.name not in {field.name for field in dataclasses.fields(section.model)}:
        return ""
    value = default_of(section.model, key.name)
    if key.default or value is None or isinstance(key.kind, ListOf):
        return key.default or "none"
    return f"`{key.kind.render(value)}`"


def _configuration(section: Section, path: str, title: str, note: str = "") -> Iterator[str]:
    rows = [
        f"`{key.name}` | {_kind(key)} | {default(section, key)} | {key.description}{_restart(key)}"
        for key in section.keys
    ]
    yield _table(title, "| key | value | default | meaning |", rows, note)
    for key in section.keys:
        item = key.kind.item if isinstance(key.kind, ListOf) else key.kind
        if isinstance(item, Section):
            inner = f"{path}{key.name}{'[]' if isinstance(key.kind, ListOf) else ''}"
            yield from _configuration(item, f"{inner}.", f"`{inner}`", _restart(key).lstrip())


def _table(title: str, columns: str, rows: list[str], note: str = "") -> str:
    parts = [f"## {title}\n", *([f"{note}\n"] if note else []), columns, "|---" * (columns.count("|") - 1) + "|"]
    return "\n".join(parts + [f"| {row} |" for row in rows])


def _restart(key: Key) -> str:
    return " A change requires a restart." if key.restart else ""


def _kind(key: Key) -> str:
    if isinstance(key.kind, Section):
        return "section"
    if not isinstance(key.kind, ListOf):
        return key.kind.name
    if isinstance(key.kind.item, Section):
        return "list of sections"
    return f"{key.kind.item.name}, or a list" if key.kind.single else f"list of {key.kind.item.name}"
