"""The recipes of CONTRIBUTING.md: they name what exists, and following them has the promised effect."""

from __future__ import annotations

import re
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.config import Config, Polling, keys
from exporter.dify import NotFound
from exporter.metrics import CATALOG, Exposition, Family, Format, SelfMetrics, exposition
from exporter.polling import Target
from exporter.polling.targets import TargetType
from exporter.tracking import Outcome
from exporter.tracking.events import NOTHING_WANTED, Wanted
from exporter.tracking.model import Detail, Document, Progress
from exporter.yamlconf import key, model, section_of, tree
from exporter.yamlconf.reader import Reader
from exporter.yamlconf.values import duration
from tests.polling.fake_server import DATASET, PollerHarness
from tools import key_tables, metric_tables

if TYPE_CHECKING:
    from exporter.polling.fetch import Fetcher

ROOT = Path(__file__).parents[1]
MOST_STEPS = 6


def _recipes() -> dict[str, list[str]]:
    """The steps of each recipe by its title."""
    sections = re.split(r"^## ", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {
        section.partition("\n")[0]: re.split(r"^\d\. ", section, flags=re.MULTILINE)[1:]
        for section in sections
        if section.startswith("Add ")
    }


RECIPES = _recipes()
STEPS = [(title, step) for title, steps in RECIPES.items() for step in steps]


def test_recipes_are_short() -> None:
    """There is a recipe for each common extension, in at most six steps."""
    assert ["a metric", "a target type", "an endpoint", "a configuration key", "an alert"] == [
        title.removeprefix("Add ") for title in RECIPES
    ]
    assert all(1 < len(steps) <= MOST_STEPS for steps in RECIPES.values())


@pytest.mark.parametrize(("title", "step"), STEPS)
def test_steps_name_what_exists(title: str, step: str) -> None:
    """Every file that a step names exists, and every name in it is defined or used in one of these files."""
    assert title
    paths = [ROOT / name for name in re.findall(r"`([\w/.]+\.(?:py|md|yml|yaml)|tests/\w+)`", step)]
    texts = [path.read_text(encoding="utf-8") for path in paths if path.is_file()]

    assert [] == [path for path in paths if not path.exists()]
    for name in re.findall(r"`@?(\w+)(?:\(path\))?`", step):
        assert any(re.search(rf"\b{name}\b", text) for text in texts), name


def test_make_targets_exist() -> None:
    """Every target of make in the page exists."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(" ".join(re.findall(r"(?:`|^)make ([a-z ]*[a-z])", text, re.MULTILINE)).split())

    assert {"demo", "test", "docs", "golden", "chart"} <= named
    assert named <= set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


class _LongerDetail(Detail, frozen=True, gc=False):
    """A detail with one more field."""

    pages: int | None = None


def test_a_metric_is_a_field_and_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that reads a new field is enough for the page and the documentation."""
    family = Family(
        name="dify_document_pages",
        help="Pages of the document (as of the last poll).",
        of=Document,
        part=attrgetter("detail"),
        read=attrgetter("pages"),
    )
    monkeypatch.setattr(exposition, "catalog", lambda **_: (*CATALOG, family))
    monkeypatch.setattr(metric_tables, "CATALOG", (*CATALOG, family))
    page = Exposition(self_metrics=SelfMetrics())
    page.changed([(None, Document("main", "ds", "doc", "", Progress("completed"), _LongerDetail(pages=12)))])
    text = b"".join(page.page(Format.TEXT).plain_chunks()).decode()

    assert 'dify_document_pages{server="main",dataset_id="ds",document_id="doc"} 12\n' in text
    assert (
        "| `dify_document_pages` | gauge | `server`, `dataset_id`, `document_id` | "
        "Pages of the document (as of the last poll). |\n"
    ) in metric_tables.metric_sections("##")


def test_a_target_type_is_a_row_and_a_function() -> None:
    """Targets of a new type are polled at their intervals; failures and 404s need no further code."""
    requested: list[str] = []
    missing: list[str] = []

    def fetch_tags(_fetcher: Fetcher, _dataset_id: str, tag: str) -> Outcome:
        requested.append(tag)
        if tag == "gone":
            raise NotFound("no such tag", gone=True)
        return Outcome(settled=True)

    def remove_tag(_store: object, _dataset_id: str, tag: str) -> Wanted:
        missing.append(tag)
        return NOTHING_WANTED

    tags = TargetType(
        name="tags",
        label="dataset",
        fetch=fetch_tags,
        intervals=lambda fetcher, _dataset_id: fetcher.polling,
        on_missing=remove_tag,
    )
    harness = PollerHarness(Polling(settled_interval=600.0))
    targets = [Target(tags, DATASET, "blue"), Target(tags, DATASET, "gone")]
    harness.poller.watch(targets)
    harness.poll()
    statuses = [harness.statuses.get(target) for target in targets]

    assert ["blue", "gone"] == requested
    assert ["gone"] == missing
    assert [(True, 600.0), (False, 600.0)] == [(status.success, status.interval) for status in statuses if status]
    assert {("dataset", "settled"): 1, ("dataset", "gone"): 1} == harness.poller.snapshot().targets
    harness.pass_time(600.0)
    assert ["blue", "gone"] == requested[2:]


@model
class _LongerPolling(Polling):
    """The intervals, and one more."""

    tags_interval: float = key(duration(1), "How often to fetch the tags.", default=90.0)


def test_a_configuration_key_is_a_field(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A new field is enough for reading, checking and documenting the key."""
    polling = keys.ROOT.find("polling")
    assert polling is not None
    root = replace(keys.ROOT, keys=(replace(polling, kind=section_of(_LongerPolling)),))
    reader = Reader("config.yaml", tmp_path, {})

    def read(value: str) -> object:
        written = tree.parse(f"polling:\n  tags_interval: {value}\n")
        assert written is not None
        return reader.read(written, root)

    assert Config(polling=_LongerPolling(tags_interval=120.0)) == read("2m")
    read("soon")
    assert ["config.yaml:2: polling.tags_interval"] == [str(found)[:36] for found in reader.problems]
    monkeypatch.setattr(keys, "ROOT", root)
    assert "| `tags_interval` | duration, 1s to 365d | `1m30s` | How often to fetch the tags. |" in (
        key_tables.configuration_sections()
    )
