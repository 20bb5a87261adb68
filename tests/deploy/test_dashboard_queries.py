"""Every query of the dashboards on a real Prometheus that has scraped the demo.

Two exporters are scraped: the demo, and one that discovers on the demo's server, keeps state, has a web config file, is
limited and watches a batch that does not exist.
"""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import pytest
import yaml

from deploy.grafana.__main__ import FOLDER
from deploy.grafana.asking import Selection, Span, ask, options, panels, select
from exporter.config import Dataset
from exporter.simulator import demo_scenario
from tests.integration.harness import EXPORTER, Database, Program, free_port, get, tool, until, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

DASHBOARDS: dict[str, Any] = {path.name: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}
HANDBOOK = demo_scenario().datasets[0].id
NOWHERE = "20000101000000000000"
DYING = "20261121093000100004"
SECONDS = 45.0
"""How long the demo is scraped at least: by then documents are indexed, failed and paused. Another is waited for."""

CHOICES: dict[str, tuple[dict[str, str], ...]] = {
    "dify-batch.json": (
        {},
        {"batch": "20261121093000100001", "document": "Travel expenses.pdf"},
        {"dataset": "Handbook", "document": "broken.pdf"},
        {"document": "答疑.md", "job": "demo"},
    ),
}
"""What somebody chooses on a dashboard; each query has to find something with one of the choices at least."""

EMPTY = {
    ("dify-exporter.json", "Targets that cannot be read", "B"): "what the demo cannot read, it has never read",
    ("dify-batch.json", "Times as Dify gives them", "J"): "the demo disables a document after a minute",
    ("dify-batch.json", "Sizes", "D"): "the detail of a document has them on later versions of Dify only",
}
"""Queries that may find nothing, by dashboard, panel and letter, and why."""


class Scraped(NamedTuple):
    """A Prometheus and the time it has scraped."""

    port: int
    span: Span

    def get(self, path: str, **parameters: str) -> Any:
        """The ``data`` of an answer of its API."""
        answer = json.loads(get(self.port, f"/api/v1/{path}?{urlencode(parameters)}").body)
        assert "success" == answer["status"], (parameters, answer)
        return answer["data"]


def _discovering(folder: Path, url: str) -> str:
    return write_config(
        folder / "config.yaml",
        url,
        (Dataset(HANDBOOK, (NOWHERE,)),),
        server={"discover": True, "requests_per_second": 50},
        polling={"interval": "1s", "discovery_interval": "2s"},
        state={"path": str(folder / "state.db")},
        limits={"documents": 6},
    )


@pytest.fixture(scope="session")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """All of it after some time, scraped every second."""
    folder = tmp_path_factory.mktemp("dashboards")
    address = ("--web.listen-address", "127.0.0.1:0")
    prometheus = tool("prometheus")
    programs = [Program(folder / "demo", *EXPORTER, "demo", *address)]
    try:
        demo = programs[0].port()
        programs[0].await_log("watches it")
        (url,) = re.findall(r"at (http://\S+/v1), and this exporter", programs[0].log)
        config = _discovering(folder, url)
        (folder / "web.yml").write_text("{}")
        files = ("--config.file", config, "--web.config.file", str(folder / "web.yml"))
        programs.append(Program(folder / "discovering", *EXPORTER, "run", *files, *address))
        jobs = {"demo": demo, "discovering": programs[1].port()}
        scraping = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in jobs.items()
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(scraping))
        port = free_port()
        programs.append(
            Program(
                folder / "prometheus",
                prometheus,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'prometheus' / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=warn",
            )
        )
        start = time.time()
        database = Database("prometheus", port, programs[-1])
        until(lambda: time.time() - start > SECONDS, SECONDS + 5)
        database.await_query(f'dify_batch_stalled{{batch="{DYING}"}} == 1', 45)
        yield Scraped(port, Span(start, time.time(), scrape_interval=1))
    finally:
        for program in reversed(programs):
            program.close()


def targets() -> Iterator[Any]:
    """Every query of every panel."""
    for name, dashboard in DASHBOARDS.items():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                where = f"{name} {panel['title']} {target['refId']}"
                yield pytest.param(name, panel, target, id=where)


def _found(name: str, panel: Any, target: Any, scraped: Scraped) -> bool:
    """Whether the query finds anything with any choice; of what is asked for now, at any time of the run."""
    start, end = scraped.span.start, scraped.span.end
    # The step of a panel may be a minute, and the last whole one too early.
    moments = [end - back for back in range(0, int(SECONDS) - 10, 4)] if target["instant"] else [end + 60]
    return any(
        ask(panel, target, select(DASHBOARDS[name], scraped, choice), Span(start, moment, scrape_interval=1), scraped)
        for choice in CHOICES.get(name, ({},))
        for moment in moments
    )


@pytest.mark.parametrize(("name", "panel", "target"), list(targets()))
def test_query_finds_something(name: str, panel: Any, target: Any, scraped: Scraped) -> None:
    """It is answered without an error, and not empty unless there is a reason."""
    found = _found(name, panel, target, scraped)
    reason = EMPTY.get((name, panel["title"], target["refId"]))

    assert found or reason


def test_reasons_are_about_queries_that_exist() -> None:
    """A reason for nothing goes when its query does."""
    there = {(name, panel["title"], target["refId"]) for name, panel, target in (one.values for one in targets())}

    assert set() == set(EMPTY) - there


@pytest.mark.parametrize("name", DASHBOARDS)
def test_variables_offer_something(name: str, scraped: Scraped) -> None:
    """Each variable has a value to choose, and All of them is a selection that works."""
    selection = Selection()
    for variable in DASHBOARDS[name]["templating"]["list"]:
        offered = options(variable, selection.values, scraped)
        assert offered, variable["name"]
        selection.values[variable["name"]] = variable.get("allValue") or offered[0].value


def test_knowledge_bases_are_chosen_by_name(scraped: Scraped) -> None:
    """The variable shows names, with quotes in them, and gives ids."""
    dashboard = DASHBOARDS["dify-indexing.json"]
    (variable,) = (variable for variable in dashboard["templating"]["list"] if variable["name"] == "dataset")
    offered = options(variable, {"job": ".*", "server": ".*"}, scraped)

    assert {plan.name: plan.id for plan in demo_scenario().datasets} == {one.text: one.value for one in offered}


def test_documents_are_chosen_by_name(scraped: Scraped) -> None:
    """A document of a batch is found by its name."""
    selection = select(DASHBOARDS["dify-batch.json"], scraped, CHOICES["dify-batch.json"][1])

    assert "Travel expenses.pdf" == selection.texts["document"]
    assert re.fullmatch(r"[0-9a-f-]{36}", selection.values["document"])
