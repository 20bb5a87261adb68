"""``python -m exporter.metrics.docs`` writes docs/metrics.md and the tables in README.md from the catalogs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from exporter.metrics.catalog import CATALOG
from exporter.metrics.families import IDENTITY, Family
from exporter.metrics.self_catalog import SELF_METRICS, SelfFamily

if TYPE_CHECKING:
    from collections.abc import Iterable

BEGIN = "<!-- metrics:begin -->"
END = "<!-- metrics:end -->"

_OWN_PREFIX = "dify_exporter_"

_INTRODUCTION = """\
# Metrics

Generated from the catalog by `make docs`.

- A value that is null or missing in Dify's answers has no series.
- Times are Unix seconds. Dify's times are exposed exactly as its API reports them.
- A state has one series per known status: 1 for the current status, 0 for the others. An unrecognized status is
  exposed as `unknown`.
- When a document or batch is removed, its series are absent from the next scrape.
"""

_DOMAIN = "Servers, knowledge bases, batches and documents"
_SELF = "The exporter itself"


def sections() -> dict[str, list[Family | SelfFamily]]:
    """All families, grouped by section title of the documentation."""
    about_dify = [family for family in CATALOG if not family.name.startswith(_OWN_PREFIX)]
    about_targets = [family for family in CATALOG if family.name.startswith(_OWN_PREFIX)]
    return {_DOMAIN: [*about_dify], _SELF: [*about_targets, *SELF_METRICS]}


def page() -> str:
    """The text of docs/metrics.md."""
    parts = [_INTRODUCTION]
    parts += [f"## {title}\n\n{table(families)}" for title, families in sections().items()]
    return "\n".join(parts)


def readme(text: str) -> str:
    """The README ``text`` with the tables between the marks replaced. ValueError when the marks are missing."""
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"README.md lacks the marks for the metric tables: {BEGIN} … {END}")
    parts = [f"### {title}\n\n{table(families)}" for title, families in sections().items()]
    tables = "\n".join(parts)
    return f"{before}{BEGIN}\n{tables}{END}{after}"


def table(families: Iterable[Family | SelfFamily]) -> str:
    """A Markdown table of the families."""
    rows = ["| name | type | labels | meaning |", "|---|---|---|---|"]
    for family in families:
        labels = ", ".join(f"`{label}`" for label in all_labels(family)) or "none"
        rows.append(f"| `{family.name}` | {family.type} | {labels} | {family.help} |")
    return "\n".join(rows) + "\n"


def all_labels(family: Family | SelfFamily) -> tuple[str, ...]:
    """The labels of every series of ``family``, in the order of the exposition."""
    return IDENTITY[family.of] + family.labels if isinstance(family, Family) else family.labels


def write(root: Path) -> list[Path]:
    """Write the generated files below ``root``, the README only if it exists. Returns the paths that were written."""
    target = root / "docs" / "metrics.md"
    target.parent.mkdir(exist_ok=True)
    target.write_text(page(), encoding="utf-8")
    written = [target]
    front = root / "README.md"
    if front.exists():
        front.write_text(readme(front.read_text(encoding="utf-8")), encoding="utf-8")
        written.append(front)
    return written


def main(root: Path) -> None:
    """Write the files and print their paths; exit with a message when the README has no marks."""
    try:
        written = write(root)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    for path in written:
        print(path)  # noqa: T201 - a command reports what it wrote


if __name__ == "__main__":
    main(Path.cwd())
