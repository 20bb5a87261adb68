"""The generated documentation."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.metrics import CATALOG, SELF_METRICS, docs

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    """docs/metrics.md matches the catalogs: after changing a row, run `make docs`."""
    assert docs.page() == (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_the_readme_is_up_to_date() -> None:
    """The tables in README.md match the catalogs: after changing a row, run `make docs`."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")

    assert docs.readme(text) == text


def test_every_family_is_documented_once() -> None:
    """Each metric has exactly one row in the tables."""
    rows = [line for line in docs.page().splitlines() if line.startswith("| `")]

    assert len(CATALOG) + len(SELF_METRICS) == len(rows)
    assert sorted([family.name for family in CATALOG] + [family.name for family in SELF_METRICS]) == sorted(
        row.split("`")[1] for row in rows
    )


def test_readme_is_written_between_its_marks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the text between the marks is replaced; writing again changes nothing."""
    readme = tmp_path / "README.md"
    readme.write_text(f"# Title\n{docs.BEGIN}\nold\n{docs.END}\nEnd\n", encoding="utf-8")
    docs.main(tmp_path)
    once = readme.read_text(encoding="utf-8")
    docs.main(tmp_path)

    assert once == readme.read_text(encoding="utf-8")
    assert once.startswith(f"# Title\n{docs.BEGIN}\n### Servers")
    assert once.endswith(f"|\n{docs.END}\nEnd\n")
    assert "old" not in once.splitlines()
    assert docs.page() == (tmp_path / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert 2 * [str(tmp_path / "docs" / "metrics.md"), str(readme)] == capsys.readouterr().out.split()


def test_a_readme_without_marks_is_left_alone(tmp_path: Path) -> None:
    """A README without marks is not modified, and the command says so."""
    readme = tmp_path / "README.md"
    readme.write_text("# Title\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"README\.md lacks the marks for the metric tables"):
        docs.main(tmp_path)

    assert "# Title\n" == readme.read_text(encoding="utf-8")


def test_no_readme_is_no_trouble(tmp_path: Path) -> None:
    """Without a README, only docs/metrics.md is written."""
    assert [tmp_path / "docs" / "metrics.md"] == docs.write(tmp_path)
