"""A real Prometheus and a real VictoriaMetrics scrape the exporter and answer PromQL."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from exporter.clock import ManualClock
from exporter.simulator import Api, SimulatorServer, World, demo_scenario, watched
from tests.integration.conftest import SECONDS_INTO_THE_DEMO
from tests.integration.harness import EXPORTER, Database, Labels, Program, free_port, get, tool, until, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOMAIN = '{__name__=~"dify_.*", __name__!~"dify_exporter_.*", job="still"}'


class Site(NamedTuple):
    """Two exporters and those that scrape them: one on the demo, one on an embedded Dify that stands still."""

    demo: int
    still: int
    databases: dict[str, Database]


def _prometheus(folder: Path, scraping: Path) -> Database:
    port = free_port()
    program = Program(
        folder / "prometheus",
        tool("prometheus"),
        f"--config.file={scraping}",
        f"--storage.tsdb.path={folder / 'prometheus' / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    )
    return Database("prometheus", port, program)


def _victoria_metrics(folder: Path, scraping: Path) -> Database:
    port = free_port()
    program = Program(
        folder / "victoria-metrics",
        tool("victoria-metrics"),
        f"-promscrape.config={scraping}",
        f"-storageDataPath={folder / 'victoria-metrics' / 'data'}",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-search.latencyOffset=0s",
        "-search.disableCache",
        "-memory.allowedBytes=64MB",
        "-loggerLevel=WARN",
    )
    return Database("victoria-metrics", port, program)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """All of it, scraped every second."""
    folder = tmp_path_factory.mktemp("site")
    clock = ManualClock()
    scenario = demo_scenario()
    world = World(scenario, clock)
    clock.advance(SECONDS_INTO_THE_DEMO)
    programs: list[Program] = []
    with SimulatorServer(Api(world)) as dify:
        try:
            config = write_config(folder / "config.yaml", dify.url, watched(scenario))
            address = ("--web.listen-address", "127.0.0.1:0")
            programs.append(Program(folder / "demo", *EXPORTER, "demo", *address))
            programs.append(Program(folder / "still", *EXPORTER, "run", "--config.file", config, *address))
            demo, still = (program.port() for program in programs)
            until(lambda: 200 == get(still, "/-/ready").status)
            scraping = folder / "scraping.yaml"
            jobs = [
                {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
                for job, port in (("demo", demo), ("still", still))
            ]
            scraping.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))
            databases = [_prometheus(folder, scraping), _victoria_metrics(folder, scraping)]
            programs += [database.program for database in databases]
            yield Site(demo, still, {database.name: database for database in databases})
        finally:
            for program in programs:
                program.close()


@pytest.fixture(params=["prometheus", "victoria-metrics"])
def database(site: Site, request: pytest.FixtureRequest) -> Database:
    """One of the two, with at least one scrape of each exporter in it."""
    found = site.databases[request.param]
    until(lambda: 2 == len(found.query("up")), why=lambda: found.program.log[-2000:])
    return found


def test_both_are_up(database: Database) -> None:
    """A scrape succeeds and every line of the page becomes a sample."""
    until(lambda: [1, 1] == list(database.query("up").values()))
    scraped = database.query("scrape_samples_scraped")

    assert {"demo", "still"} == {dict(labels)["job"] for labels in scraped}
    assert all(samples > 500 for samples in scraped.values())


def test_every_sample_of_the_page_is_scraped(database: Database, site: Site) -> None:
    """``scrape_samples_scraped`` is the number of samples of the page."""
    page = get(site.still, "/metrics").body.decode()
    samples = sum(not line.startswith("#") for line in page.splitlines() if line)
    scraped = until(lambda: database.query('scrape_samples_scraped{job="still"}'))

    assert [samples] == list(scraped.values())


def test_the_share_that_is_indexed(database: Database) -> None:
    """Of each batch of the demo that is split PromQL gives the share that is done, and sees one grow."""
    expression = 'dify_batch_segments_completed{job="demo"} / dify_batch_segments'

    def partly() -> dict[Labels, float]:
        return {labels: share for labels, share in database.query(expression).items() if 0 < share < 1}

    first = until(partly)
    until(lambda: any(first.get(labels, share) < share for labels, share in database.query(expression).items()))

    assert all(0 <= share <= 1 for share in database.query(expression).values() if not math.isnan(share))


def test_values_and_labels_are_those_of_the_page(database: Database, site: Site) -> None:
    """Each series of an embedded Dify that stands still comes out of the database as it is on the page.

    Its names hold quotes, backslashes and letters of many alphabets.
    """
    page = get(site.still, "/metrics").body.decode()
    expected = {
        Labels({"__name__": sample.name, **{name: text for name, text in sample.labels.items() if text}}.items()): value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name.startswith("dify_") and not sample.name.startswith("dify_exporter_")
        for value in [sample.value]
    }

    def stored() -> dict[Labels, float]:
        found = database.query(DOMAIN)
        return {
            Labels((name, text) for name, text in labels if name not in {"job", "instance"}): value
            for labels, value in found.items()
        }

    assert len(expected) > 500
    until(lambda: len(stored()) >= len(expected))
    found = stored()
    assert expected.keys() == found.keys()
    # VictoriaMetrics keeps 15 digits, Prometheus all.
    tolerance = 1e-14 if "victoria-metrics" == database.name else 0
    assert [] == [
        labels for labels, value in expected.items() if not math.isclose(value, found[labels], rel_tol=tolerance)
    ]
