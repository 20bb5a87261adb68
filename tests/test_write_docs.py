"""The generated pages match the code; only the README's tables are generated."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from exporter.metrics import CATALOG, SELF_METRICS
from tools import write_docs

if TYPE_CHECKING:
    from pathlib import Path

PAGES = ["docs/metrics.md", "docs/configuration.md", "docs/web-security.md"]


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_up_to_date(page: str) -> None:
    """The page matches its template and the tables in the code: after a change, run `make docs`."""
    assert write_docs.pages()[page] == (write_docs.ROOT / page).read_text(encoding="utf-8")


def test_readme_is_up_to_date() -> None:
    """The tables in README.md match the catalogs: after a change, run `make docs`."""
    text = (write_docs.ROOT / "README.md").read_text(encoding="utf-8")

    assert write_docs.readme(text) == text


def test_every_template_is_used() -> None:
    """Each file in docs/templates is the template of one page."""
    assert sorted(PAGES) == sorted(f"docs/{path.name}" for path in write_docs.TEMPLATES.iterdir())


def test_every_metric_is_documented_once() -> None:
    """Each metric has exactly one row in the tables."""
    rows = re.findall(r"^\| `([a-z_]+)` \|", write_docs.pages()["docs/metrics.md"], re.MULTILINE)
    names = [family.name for family in CATALOG] + [family.name for family in SELF_METRICS]

    assert sorted(names) == sorted(rows)


def test_writing_again_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Outside the marks, the README is not modified; a second run changes nothing; each path is printed."""
    (tmp_path / "docs").mkdir()
    readme = tmp_path / "README.md"
    readme.write_text(f"# Title\n{write_docs.BEGIN}\nold\n{write_docs.END}\nEnd\n", encoding="utf-8")
    write_docs.main(tmp_path)
    once = readme.read_text(encoding="utf-8")
    write_docs.main(tmp_path)

    assert once == readme.read_text(encoding="utf-8")
    assert once.startswith(f"# Title\n{write_docs.BEGIN}\n### Servers")
    assert once.endswith(f"|\n{write_docs.END}\nEnd\n")
    assert "old" not in once.splitlines()
    assert 2 * [str(tmp_path / name) for name in ["README.md", *PAGES]] == capsys.readouterr().out.split()


def test_readme_without_marks_is_not_modified(tmp_path: Path) -> None:
    """If the README has no marks, nothing is written, and the command says so."""
    readme = tmp_path / "README.md"
    readme.write_text("# Title\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"README\.md lacks the marks for the metric tables"):
        write_docs.main(tmp_path)

    assert "# Title\n" == readme.read_text(encoding="utf-8")
    assert [readme] == list(tmp_path.iterdir())


def test_templates_and_values_match() -> None:
    """A value without a marker and a marker without a value are errors."""
    assert "at most 3, ${NAME}" == write_docs.fill("at most {{ most }}, ${NAME}", {"most": 3})
    with pytest.raises(ValueError, match="not in the template: most"):
        write_docs.fill("at most three", {"most": 3})
    with pytest.raises(KeyError, match="most"):
        write_docs.fill("at most {{ most }}", {})
