"""Generate the dashboards: ``python -m deploy.grafana``, run in the project's directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.grafana import batch, daemon, indexing

if TYPE_CHECKING:
    from deploy.grafana.panels import Json

FOLDER = Path(__file__).parent / "dashboards"


def dashboards() -> dict[str, Json]:
    """The dashboards by file name."""
    built = (indexing.build(), batch.build(), daemon.build())
    return {f"{dashboard['uid']}.json": dashboard for dashboard in built}


def text(dashboard: Json) -> str:
    """The text of a dashboard's file."""
    return json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, dashboard in dashboards().items():
        (FOLDER / name).write_text(text(dashboard), encoding="utf-8")
