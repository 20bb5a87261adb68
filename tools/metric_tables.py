"""The tables of all metrics, from the catalogs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.metrics import CATALOG, IDENTITY, SELF_METRICS, Family, SelfFamily

if TYPE_CHECKING:
    from collections.abc import Iterable


def metric_sections(heading: str) -> str:
    """One table for what is known about Dify and one for the exporter itself, each below a ``heading`` (``##``)."""
    of_dify = [family for family in CATALOG if not family.name.startswith("dify_exporter_")]
    of_targets = [family for family in CATALOG if family.name.startswith("dify_exporter_")]
    return (
        f"{heading} Servers, knowledge bases, batches and documents\n\n{_table(of_dify)}\n\n"
        f"{heading} The exporter itself\n\n{_table([*of_targets, *SELF_METRICS])}"
    )


def _table(families: Iterable[Family | SelfFamily]) -> str:
    rows = ["| name | type | labels | meaning |", "|---|---|---|---|"]
    for family in families:
        labels = ", ".join(f"`{label}`" for label in _labels(family)) or "none"
        rows.append(f"| `{family.name}` | {family.type} | {labels} | {family.help} |")
    return "\n".join(rows)


def _labels(family: Family | SelfFamily) -> tuple[str, ...]:
    """The labels of every series of ``family``, in the order of the exposition."""
    return IDENTITY[family.of] + family.labels if isinstance(family, Family) else family.labels
