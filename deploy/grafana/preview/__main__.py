"""Pictures of the dashboards: ``python -m deploy.grafana.preview --prometheus http://127.0.0.1:9090 --out pictures``.

Needs Chromium, and ``npm install && npm run build`` in this folder.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from deploy.grafana.__main__ import dashboards
from deploy.grafana.asking import SCRAPE_INTERVAL, Span, ask, panels, select

if TYPE_CHECKING:
    from deploy.grafana.panels import Json

BUNDLE = Path(__file__).parent / "dist"
WIDTH = 1500
CELL = 38
HEADER = 56
TIMEOUT = 90

_PAGE = """<!doctype html><meta charset="utf-8">
<style>{style}</style>
<style>body {{ margin: 0; font: 14px Inter, Helvetica, Arial, sans-serif }} * {{ box-sizing: border-box }}</style>
<div id="dashboard"></div><script>window.PREVIEW = {data}</script><script>{bundle}</script>
"""
_CHROMIUM = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--virtual-time-budget=8000",
)


class Api:
    """Prometheus' HTTP API at an address."""

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")

    def get(self, path: str, **parameters: str) -> Any:
        """The ``data`` of an answer. RuntimeError with Prometheus' words when it is an error."""
        answer = requests.get(f"{self._address}/api/v1/{path}", params=parameters, timeout=30).json()
        if answer["status"] != "success":
            raise RuntimeError(f"{answer['error']}: {parameters}")
        return answer["data"]


def preview(dashboard: Json, api: Api, span: Span, chosen: dict[str, str]) -> Json:
    """What the page draws: the dashboard, what is chosen, and the answers to its queries."""
    selection = select(dashboard, api, chosen)
    answers = {}
    spans = {}
    for panel in panels(dashboard):
        step = span.step(panel.get("interval", ""))
        spans[panel["id"]] = {"start": span.start // step * step, "end": span.end // step * step, "step": step}
        answers[panel["id"]] = [
            {"refId": target["refId"], "series": ask(panel, target, selection, span, api)}
            for target in panel["targets"]
        ]
    return {"dashboard": dashboard, "chosen": selection.texts, "answers": answers, "spans": spans}


def draw(data: Json, picture: Path) -> None:
    """Write the picture of a dashboard."""
    panels_end = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in data["dashboard"]["panels"])
    written = json.dumps(data).replace("</", "<\\/")
    script = (BUNDLE / "bundle.js").read_text("utf-8").replace("</script", "<\\/script")
    page = _PAGE.format(data=written, bundle=script, style=(BUNDLE / "bundle.css").read_text("utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "page.html"
        file.write_text(page, encoding="utf-8")
        size = f"--window-size={WIDTH},{panels_end * CELL + HEADER}"
        chromium = shutil.which("chromium") or "chromium"
        subprocess.run(  # noqa: S603 - Chromium on a page of our own
            [chromium, *_CHROMIUM, size, f"--user-data-dir={folder}/profile", f"--screenshot={picture}", file.as_uri()],
            check=True,
            timeout=TIMEOUT,
            capture_output=True,
        )


def main() -> None:
    """Draw all dashboards, or the one that is named."""
    parser = argparse.ArgumentParser(description="Pictures of the dashboards.")
    parser.add_argument("--prometheus", required=True, help="address of a Prometheus that scrapes the exporter")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("--only", default="", help="uid of one dashboard")
    parser.add_argument("--minutes", type=float, default=10, help="time range until now")
    parser.add_argument("--scrape-interval", type=float, default=SCRAPE_INTERVAL, help="seconds, as in the data source")
    parser.add_argument("--choose", action="append", default=[], metavar="VARIABLE=VALUE", help="as in the address")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    now = time.time()
    span = Span(now - asked.minutes * 60, now, scrape_interval=asked.scrape_interval)
    chosen = dict(choice.split("=", 1) for choice in asked.choose)
    for name, dashboard in dashboards().items():
        if asked.only in {"", dashboard["uid"]}:
            draw(
                preview(dashboard, Api(asked.prometheus), span, chosen),
                (asked.out / name).with_suffix(".png").resolve(),
            )


if __name__ == "__main__":
    main()
