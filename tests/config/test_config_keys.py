"""The table of keys agrees with the model, the example and the documentation."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.config import NEEDS_RESTART, StateConfig, load
from exporter.config.keys import ROOT
from exporter.yamlconf.schema import ListOf, Section, default_of

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"
KEY = "dataset-0123456789"


def _sections(section: Section) -> Iterator[Section]:
    yield section
    for key in section.keys:
        item = key.kind.item if isinstance(key.kind, ListOf) else key.kind
        if isinstance(item, Section):
            yield from _sections(item)


def test_every_field_of_the_model_is_a_key() -> None:
    """Every field can be configured, except the warnings, which are a result of loading."""
    for section in _sections(ROOT):
        fields = [field.name for field in dataclasses.fields(section.model) if field.name != "warnings"]
        assert sorted(fields) == sorted(key.name for key in section.keys)


def test_keys_without_a_default_are_required() -> None:
    """Exactly the keys whose field has no default are required."""
    needed = {
        (section.model.__name__, field.name)
        for section in _sections(ROOT)
        for field in dataclasses.fields(section.model)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    required = {
        (section.model.__name__, key.name) for section in _sections(ROOT) for key in section.keys if key.required
    }
    assert needed | {("Config", "servers")} == required


def test_the_example_loads_and_shows_the_defaults() -> None:
    """The example needs only an API key, causes no warnings, and shows the actual defaults."""
    config = load(EXAMPLE, {"DIFY_API_KEY": KEY})
    assert config.warnings == ()
    for key in ROOT.keys:
        if isinstance(key.kind, Section):
            default = key.kind.model() if key.name != "state" else StateConfig(EXAMPLE.parent / "state.db")
            assert default == getattr(config, key.name)
    [server] = config.servers
    for name in ("requests_per_second", "concurrency", "timeout"):
        assert default_of(type(server), name) == getattr(server, name)


def test_the_example_has_every_key() -> None:
    """The example contains each key, either active or commented out (``#key:``)."""
    written = set(re.findall(r"^[ -]*#?([a-z_]+):", EXAMPLE.read_text(), re.MULTILINE))
    assert {key.name for section in _sections(ROOT) for key in section.keys} == written


def test_the_example_loads_with_all_keys_uncommented(tmp_path: Path) -> None:
    """The example also loads with all keys uncommented and the files in place."""
    text = EXAMPLE.read_text()
    text = re.sub(r"^( *)api_key:.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^( *)#([a-z_]+:)", r"\1\2", text, flags=re.MULTILINE)
    (tmp_path / "config.yaml").write_text(text)
    (tmp_path / "dify-api-key").write_text(KEY + "\n")
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    config = load(tmp_path / "config.yaml", {})
    assert config.warnings == ()
    [server] = config.servers
    assert (("*handbook*",), ("test *", "*old*")) == (server.discover_include, server.discover_exclude)
    assert tmp_path / "dify-api-key" == server.api_key_file
    assert tmp_path / "ca.pem" == server.ca_file
    assert server.api_key is None


def test_sections_that_require_a_restart_are_marked() -> None:
    """The documentation and the example name every section whose changes require a restart."""
    page = PAGE.read_text()
    for name in NEEDS_RESTART:
        assert f"\n## `{name}`\n\nA change requires a restart.\n" in page
    assert 2 * len(NEEDS_RESTART) == page.count("A change requires a restart.")
    assert all(name in EXAMPLE.read_text().splitlines()[1] for name in NEEDS_RESTART)
