"""Updates what the chart copies: rules, dashboards and the table of its values. Run by ``make chart``.

A chart cannot refer to files outside its directory, so ``files/`` has copies of the rules and dashboards.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPLOY = Path(__file__).parents[1]
CHART = Path(__file__).parent / "dify-exporter"
COPIES = (
    (DEPLOY / "prometheus", "*.rules.yml", CHART / "files" / "rules"),
    (DEPLOY / "grafana" / "dashboards", "*.json", CHART / "files" / "dashboards"),
)
"""Source directory, pattern of its files, directory of the copies."""

_BEGIN, _END = "<!-- values:begin -->\n", "<!-- values:end -->\n"


class Value(NamedTuple):
    """One of the chart's values: path, default as JSON ("" for a group), and the comment above it."""

    path: str
    default: str
    meaning: str


def values(text: str) -> list[Value]:
    """The values in the text of a values.yaml, in order. A mapping whose keys have no comments is one value."""
    root = cast("yaml.MappingNode", yaml.compose(text, Loader=yaml.SafeLoader))
    return list(_values(root, "", text.splitlines()))


def _values(node: yaml.MappingNode, prefix: str, lines: list[str]) -> Iterator[Value]:
    for key, value in node.value:
        path = prefix + key.value
        meaning = _comment_above(lines, key.start_mark.line)
        parts = list(_values(value, path + ".", lines)) if isinstance(value, yaml.MappingNode) else []
        if any(part.meaning for part in parts):
            if meaning:
                yield Value(path, "", meaning)
            yield from parts
        else:
            default = yaml.safe_load(yaml.serialize(value))
            yield Value(path, json.dumps(default), meaning)


def _comment_above(lines: list[str], line: int) -> str:
    """The comment that ends directly above a line, joined into one line."""
    comment: list[str] = []
    while line and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        comment.insert(0, lines[line].lstrip().removeprefix("#").strip())
    return " ".join(comment)


def table(text: str) -> str:
    """The values in the text of a values.yaml as a Markdown table."""
    rows = [
        f"| `{value.path}` | {f'`{value.default}`' if value.default else ''} | {value.meaning} |"
        for value in values(text)
    ]
    return "\n".join(["| value | default | meaning |", "|---|---|---|", *rows]) + "\n"


def readme(text: str) -> str:
    """The chart's README with an updated table of values; ``text`` is the current README."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return before + _BEGIN + table((CHART / "values.yaml").read_text(encoding="utf-8")) + _END + after


def copies() -> dict[Path, Path]:
    """Each copy and its source."""
    return {folder / source.name: source for sources, names, folder in COPIES for source in sorted(sources.glob(names))}


def main() -> None:
    """Update all copies and the README, and remove copies without a source."""
    wanted = copies()
    for _, _, folder in COPIES:
        folder.mkdir(parents=True, exist_ok=True)
        for old in set(folder.iterdir()) - set(wanted):
            old.unlink()
    for copy, source in wanted.items():
        copy.write_bytes(source.read_bytes())
    page = CHART / "README.md"
    page.write_text(readme(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
