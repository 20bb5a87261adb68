"""Writes the dashboards: ``python -m deploy.grafana`` in the project's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.grafana import batch, daemon, indexing

if TYPE_CHECKING:
    from deploy.grafana.panels import Json

FOLDER = Path(__file__).parent / "dashboards"


def dashboards() -> dict[str, Json]:
    """The dashboards by the names of their files."""
    built = (indexing.build(), batch.build(), daemon.build())
    return {f"{dashboard['uid']}.json": dashboard for dashboard in built}


def text(dashboard: Json) -> str:
    """A dashboard as it is in its file."""
    return json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, dashboard in dashboards().items():
        (FOLDER / name).write_text(text(dashboard), encoding="utf-8")
