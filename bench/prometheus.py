"""Scrape durations of a real Prometheus: this exporter, a static file, prometheus-client."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Any

import requests
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from bench.knowledge import Watched, gzipped
from bench.library import LabelledGauges
from bench.results import Row, middle, seconds, show, times
from bench.scrape import Moving, metrics_app
from bench.side import side
from exporter.metrics import Format
from exporter.web import WebServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from starlette.requests import Request
    from starlette.types import ASGIApp

SLOWEST = 1.15
SCRAPES = 20
LIBRARY_SCRAPES = 3

_OURS, _FILE, _LIBRARY = "exporter", "file", "library"
_INTERVALS = {_OURS: 1, _FILE: 1, _LIBRARY: 8}
_CONFIG = """
scrape_configs:
  - job_name: {name}
    scrape_interval: {interval}s
    scrape_timeout: {interval}s
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def ours(batches: int) -> Mapping[str, Callable[[], Any]]:
    """The exporter; one document in a hundred changes each second."""
    watched = _filled(batches)
    moving = Moving(watched)
    stop = threading.Event()

    def live() -> None:
        while not stop.wait(1.0):
            moving.prepare()
            watched.exposition.changed(moving.changes)
            stop.wait(0.2)
            watched.exposition.flush(0.1)

    threading.Thread(target=live, daemon=True).start()
    return _port_of(metrics_app(watched.exposition))


def file(batches: int) -> Mapping[str, Callable[[], Any]]:
    """The same page as a compressed static file."""
    page = gzipped(_filled(batches).exposition.page(Format.TEXT))
    headers = {"Content-Type": Format.TEXT.content_type, "Content-Encoding": "gzip"}

    async def metrics(_request: Request) -> Response:
        return Response(page, headers=headers)

    return _port_of(Starlette(routes=[Route("/metrics", metrics)]))


def library(batches: int) -> Mapping[str, Callable[[], Any]]:
    """The library with labelled gauges."""
    gauges = LabelledGauges()
    gauges.set(_filled(batches).objects())
    return _port_of(gauges.app)


def measure(batches: int = 240) -> list[Row]:
    """Measure one row."""
    program = shutil.which("prometheus")
    if program is None:
        raise FileNotFoundError("prometheus is not installed")
    with side(ours, batches) as one, side(file, batches) as two, side(library, batches) as three:
        sides = {_OURS: one, _FILE: two, _LIBRARY: three}
        for each in sides.values():
            each.ask("make")
        ports = {name: each.ask("port").value for name, each in sides.items()}
        with _prometheus(program, ports) as url:
            found = _durations(url)
            series = int(_query(url, f'scrape_samples_scraped{{job="{_OURS}"}}')[0]["value"][1])
    took = {name: middle(values) for name, values in found.items()}
    ratio = took[_OURS] / took[_FILE]
    return [
        Row(
            f"`scrape_duration_seconds` of a real Prometheus, {series:,} series, 1 % changing each second",
            seconds(took[_OURS]),
            f"the same page as a compressed file {seconds(took[_FILE])}; labelled gauges {seconds(took[_LIBRARY])}"
            f" ({times(took[_LIBRARY] / took[_FILE])})",
            times(ratio),
            f"≤ {SLOWEST:.2f} × the file",
            ratio <= SLOWEST,
        )
    ]


def _filled(batches: int) -> Watched:
    watched = Watched(batches)
    watched.poll()
    return watched


def _port_of(app: ASGIApp) -> Mapping[str, Callable[[], Any]]:
    server = WebServer(app, "127.0.0.1:0")
    server.start()
    return {"port": lambda: server.port}


@contextmanager
def _prometheus(program: str, ports: Mapping[str, int]) -> Iterator[str]:
    with closing(socket()) as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "prometheus.yml"
        jobs = [_CONFIG.format(name=name, interval=_INTERVALS[name], port=port) for name, port in ports.items()]
        config.write_text("scrape_configs:" + "".join(job.partition("scrape_configs:")[2] for job in jobs))
        options = (f"--config.file={config}", f"--storage.tsdb.path={folder}/data", f"--web.listen-address={address}")
        with subprocess.Popen([program, *options, "--log.level=error"]) as process:
            try:
                yield f"http://{address}"
            finally:
                process.terminate()
                process.wait(20)


def _durations(url: str) -> dict[str, list[float]]:
    """The durations that Prometheus reported, by job, without the first scrapes, which create the series."""
    end = time.monotonic() + 90
    needed = {_OURS: SCRAPES, _FILE: SCRAPES, _LIBRARY: LIBRARY_SCRAPES}
    while time.monotonic() < end:
        time.sleep(1.0)
        found = {
            result["metric"]["job"]: [float(value) for _, value in result["values"]][1:]
            for result in _query(url, "scrape_duration_seconds[5m]")
        }
        if all(len(found.get(name, ())) >= count for name, count in needed.items()):
            return found
    raise TimeoutError("Prometheus did not scrape in time")


def _query(url: str, query: str) -> list[Any]:
    try:
        answer = requests.get(f"{url}/api/v1/query", params={"query": query}, timeout=10)
        answer.raise_for_status()
    except requests.RequestException:
        return []  # still starting
    return list(answer.json()["data"]["result"])


if __name__ == "__main__":
    show(measure())
