"""Every query of the dashboards on a real Prometheus that has scraped the demo.

Two exporters are scraped: the demo, and one with discovery on the demo's server, which has a state file, a web config
file and a document limit, and watches a batch that does not exist.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import pytest
import yaml

from deploy.grafana.__main__ import FOLDER
from deploy.grafana.asking import Selection, Span, ask, options, panels, select
from exporter.config import DatasetConfig
from exporter.simulator import demo_scenario
from tests.integration.harness import DEADLINE, EXPORTER, Database, Program, free_port, get, tool, until, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

DASHBOARDS: dict[str, Any] = {path.name: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}
HANDBOOK = demo_scenario().datasets[0].id
NOWHERE = "20000101000000000000"
DYING = "20261121093000100004"
SECONDS = 35
"""How far back instant queries are tried: by the first stall, the demo has indexed, failed and paused documents."""

CHOICES: dict[str, tuple[dict[str, str], ...]] = {
    "dify-batch.json": (
        {},
        {"batch": "20261121093000100001", "document": "Travel expenses.pdf"},
        {"dataset": "Handbook", "document": "broken.pdf"},
        {"document": "答疑.md", "job": "demo"},
    ),
}
"""Selections on a dashboard; each query must return data for at least one of them."""

EMPTY = {
    ("dify-exporter.json", "Details of unreadable targets", "B"): "the demo's unreadable targets have never been read",
    ("dify-batch.json", "Times reported by Dify", "J"): "the demo disables a document after a minute",
    ("dify-batch.json", "Sizes", "D"): "only later versions of Dify report them in the document detail",
}
"""Queries that may return no data, by dashboard, panel and letter, and why."""


class Scraped(NamedTuple):
    """A Prometheus and the time, in Unix seconds, since when it scrapes."""

    port: int
    start: float

    def get(self, path: str, **parameters: str) -> Any:
        """The ``data`` of an answer from its API."""
        answer = json.loads(get(self.port, f"/api/v1/{path}?{urlencode(parameters)}").body)
        assert "success" == answer["status"], (parameters, answer)
        return answer["data"]


def _discovering(folder: Path, url: str) -> str:
    return write_config(
        folder / "config.yaml",
        url,
        (DatasetConfig(HANDBOOK, (NOWHERE,)),),
        server={"discover": True, "requests_per_second": 50},
        polling={"interval": "1s", "discovery_interval": "2s"},
        state={"path": str(folder / "state.db")},
        limits={"documents": 6},
    )


@pytest.fixture(scope="session")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """All processes after some time of scraping every second."""
    folder = tmp_path_factory.mktemp("dashboards")
    address = ("--web.listen-address", "127.0.0.1:0")
    prometheus = tool("prometheus")
    with ExitStack() as running:

        def start(name: str, *command: str) -> Program:
            return running.enter_context(closing(Program(folder / name, *command)))

        demo = start("demo", *EXPORTER, "demo", *address)
        jobs = {"demo": demo.port()}
        demo.await_log("polls it")
        (url,) = re.findall(r"at (http://\S+/v1), and this exporter", demo.log)
        config = _discovering(folder, url)
        (folder / "web.yml").write_text("{}")
        files = ("--config.file", config, "--web.config.file", str(folder / "web.yml"))
        jobs["discovering"] = start("discovering", *EXPORTER, "run", *files, *address).port()
        scraping = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in jobs.items()
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(scraping))
        port = free_port()
        program = start(
            "prometheus",
            prometheus,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'prometheus' / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        )
        begun = time.time()
        stalled = f'dify_batch_stalled{{batch="{DYING}"}} == 1'
        Database("prometheus", port, program).await_query(stalled, 2 * DEADLINE)
        yield Scraped(port, begun)


def targets() -> Iterator[Any]:
    """Every query of every panel."""
    for name, dashboard in DASHBOARDS.items():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                where = f"{name} {panel['title']} {target['refId']}"
                yield pytest.param(name, panel, target, id=where)


def _found(name: str, panel: Any, target: Any, scraped: Scraped) -> bool:
    """Whether the query returns data with any selection; instant queries are tried at several times of the run."""
    start, end = scraped.start, time.time()
    # The step of a panel can be a minute, so the last full step may be too early.
    moments = [end - back for back in range(0, SECONDS, 4)] if target["instant"] else [end + 60]
    return any(
        ask(panel, target, select(DASHBOARDS[name], scraped, choice), Span(start, moment, scrape_interval=1), scraped)
        for choice in CHOICES.get(name, ({},))
        for moment in moments
    )


@pytest.mark.parametrize(("name", "panel", "target"), list(targets()))
def test_query_finds_something(name: str, panel: Any, target: Any, scraped: Scraped) -> None:
    """The query is answered without an error, and returns data unless there is a reason."""
    if not _found(name, panel, target, scraped) and (name, panel["title"], target["refId"]) not in EMPTY:
        until(lambda: _found(name, panel, target, scraped))


def test_reasons_are_about_queries_that_exist() -> None:
    """Each exception belongs to a query that exists."""
    there = {(name, panel["title"], target["refId"]) for name, panel, target in (one.values for one in targets())}

    assert set() == set(EMPTY) - there


@pytest.mark.parametrize("name", DASHBOARDS)
def test_variables_offer_something(name: str, scraped: Scraped) -> None:
    """Each variable has a value, and All is a valid selection."""
    selection = Selection()
    for variable in DASHBOARDS[name]["templating"]["list"]:
        offered = options(variable, selection.values, scraped)
        assert offered, variable["name"]
        selection.values[variable["name"]] = variable.get("allValue") or offered[0].value


def test_knowledge_bases_are_chosen_by_name(scraped: Scraped) -> None:
    """The variable displays names, including names with quotes, and selects ids."""
    dashboard = DASHBOARDS["dify-indexing.json"]
    (variable,) = (variable for variable in dashboard["templating"]["list"] if variable["name"] == "dataset")
    offered = options(variable, {"job": ".*", "server": ".*"}, scraped)

    assert {plan.name: plan.id for plan in demo_scenario().datasets} == {one.text: one.value for one in offered}


def test_documents_are_chosen_by_name(scraped: Scraped) -> None:
    """A document of a batch can be selected by its name."""
    selection = select(DASHBOARDS["dify-batch.json"], scraped, CHOICES["dify-batch.json"][1])

    assert "Travel expenses.pdf" == selection.texts["document"]
    assert re.fullmatch(r"[0-9a-f-]{36}", selection.values["document"])
