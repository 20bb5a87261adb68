"""The documentation refers only to things that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from exporter.cli import main
from exporter.config import load
from exporter.metrics import CATALOG, SELF_METRICS
from exporter.polling.targets import TARGET_TYPES

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/configuration.md")

_SUFFIXES = re.compile(r"_(bucket|sum|count)$")
_NAMES = {family.name for family in CATALOG} | {family.name for family in SELF_METRICS}


def _text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_metrics_exist(page: str) -> None:
    """Every metric named in a sample, a query or a sentence is in the catalog."""
    named = set(re.findall(r"\bdify_[a-z_]+[a-z]\b", _text(page)))

    assert set() == {name for name in named if name not in _NAMES and _SUFFIXES.sub("", name) not in _NAMES}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Links to files of the project lead to existing files."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", _text(page))

    assert links or page != "README.md"
    assert [] == [link for link in links if not ((ROOT / page).parent / link).exists()]


def test_modules_of_the_architecture_exist() -> None:
    """The modules and folders that the architecture names exist."""
    named = re.findall(r"`([a-z_/]+(?:\.py|/))`", _text("docs/architecture.md"))
    modules = {path.name for path in (ROOT / "exporter").rglob("*.py")}

    assert len(named) > 10
    assert [] == [
        name
        for name in named
        if name not in modules and not (ROOT / "exporter" / name).exists() and not (ROOT / name).exists()
    ]


def test_target_types_of_the_architecture_exist() -> None:
    """The table of target types lists all of them, with their labels, and says which are follow-ups."""
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| [^|]+ \| (follow-up)?", _text("docs/architecture.md"), re.MULTILINE)

    assert [(found.name, found.label, "follow-up" * found.is_follow_up) for found in TARGET_TYPES] == rows


def test_messages_of_the_changelog_exist() -> None:
    """The new messages in the changelog's table of log lines are those of the code."""
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "exporter").rglob("*.py"))
    new = re.findall(r"^  \| `.+` \| `(.+)` \|$", _text("CHANGELOG.md"), re.MULTILINE)

    assert len(new) > 30
    assert [] == [text for text in new if not all(part in code for part in re.split("…|: …", text))]


def test_commands_of_the_readme_exist() -> None:
    """The commands and make targets that the README shows exist."""
    shell = "".join(_blocks("sh"))
    commands = set(re.findall(r"\bdify-exporter ([a-z]+)", shell))
    targets = set(re.findall(r"(?:^|`)make ([a-z]+)", _text("README.md"), re.MULTILINE))

    assert {"run", "once", "check"} <= commands <= set(main.commands)
    assert {"demo", "test"} <= targets <= set(re.findall(r"^([a-z]+):", _text("Makefile"), re.MULTILINE))


def test_config_of_the_readme_is_valid(tmp_path: Path) -> None:
    """The configuration in the README is valid, apart from the path of the key's file."""
    (tmp_path / "key").write_text("dataset-x")
    (shown,) = (block for block in _blocks("yaml") if block.startswith("# config.yaml"))
    path = tmp_path / "config.yaml"
    path.write_text(shown.replace("/run/secrets/dify-api-key", str(tmp_path / "key")), encoding="utf-8")

    assert () == load(path, {}).warnings


def test_yaml_of_the_readme_is_yaml() -> None:
    """The other files in the README are YAML with the section that they are meant for."""
    sections = [next(iter(yaml.safe_load(block))) for block in _blocks("yaml")]

    assert ["services", "servers", "scrape_configs"] == sections


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", _text("README.md"), re.MULTILINE | re.DOTALL)
