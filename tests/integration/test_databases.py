"""A real Prometheus and a real VictoriaMetrics scrape the exporter and answer PromQL."""

from __future__ import annotations

import math
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, NamedTuple

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from exporter.clock import ManualClock
from exporter.simulator import Api, SimulatorServer, World, dataset_configs, demo_scenario
from tests.integration.conftest import SECONDS_INTO_THE_DEMO
from tests.integration.harness import EXPORTER, Database, Labels, Program, free_port, get, tool, until, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOMAIN = '{__name__=~"dify_.*", __name__!~"dify_exporter_.*", job="still"}'


class Site(NamedTuple):
    """Two exporters, one on the demo, one on an embedded Dify with a stopped clock, and their database."""

    demo: int
    still: int
    database: Database


def _prometheus(folder: Path, scraping: Path, port: int) -> tuple[str, ...]:
    return (
        tool("prometheus"),
        f"--config.file={scraping}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    )


def _victoria_metrics(folder: Path, scraping: Path, port: int) -> tuple[str, ...]:
    return (
        tool("victoria-metrics"),
        f"-promscrape.config={scraping}",
        f"-storageDataPath={folder / 'data'}",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-search.latencyOffset=0s",
        "-search.disableCache",
        "-memory.allowedBytes=64MB",
        "-loggerLevel=WARN",
    )


COMMANDS = {"prometheus": _prometheus, "victoria-metrics": _victoria_metrics}


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.needs(name)) for name in COMMANDS])
def site(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Exporters and one of the two databases, scraped every second."""
    name: str = request.param
    folder = tmp_path_factory.mktemp("site")
    clock = ManualClock()
    scenario = demo_scenario()
    world = World(scenario, clock)
    clock.advance(SECONDS_INTO_THE_DEMO)
    with ExitStack() as running:
        dify = running.enter_context(SimulatorServer(Api(world)))

        def start(name: str, *command: str) -> Program:
            return running.enter_context(closing(Program(folder / name, *command)))

        config = write_config(folder / "config.yaml", dify.url, dataset_configs(scenario))
        address = ("--web.listen-address", "127.0.0.1:0")
        exporters = [
            start("demo", *EXPORTER, "demo", *address),
            start("still", *EXPORTER, "run", "--config.file", config, *address),
        ]
        demo, still = (program.port() for program in exporters)
        until(lambda: 200 == get(still, "/-/ready").status)
        scraping = folder / "scraping.yaml"
        jobs = [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
            for job, port in (("demo", demo), ("still", still))
        ]
        scraping.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}))
        port = free_port()
        program = start(name, *COMMANDS[name](folder / name, scraping, port))
        yield Site(demo, still, Database(name, port, program))


@pytest.fixture
def database(site: Site) -> Database:
    """The database, with at least one scrape of each exporter in it."""
    found = site.database
    until(lambda: 2 == len(found.query("up")), why=lambda: found.program.log[-2000:])
    return found


def test_both_exporters_are_scraped_completely(database: Database) -> None:
    """A scrape succeeds, and every line of the page becomes a sample."""
    until(lambda: [1, 1] == list(database.query("up").values()))

    def complete_jobs() -> set[str]:
        """The jobs whose last scrape read a page with all of the demo on it; the first one may have come too early."""
        scraped = database.query("scrape_samples_scraped")
        return {dict(labels)["job"] for labels, samples in scraped.items() if samples > 500}

    until(lambda: {"demo", "still"} == complete_jobs(), why=lambda: str(complete_jobs()))


def test_every_sample_of_the_page_is_scraped(database: Database, site: Site) -> None:
    """``scrape_samples_scraped`` equals the number of samples on the page."""

    def counts() -> tuple[float, float | None]:
        page = get(site.still, "/metrics").body.decode()
        samples = sum(not line.startswith("#") for line in page.splitlines() if line)
        scraped = database.query('scrape_samples_scraped{job="still"}')
        return samples, next(iter(scraped.values()), None)

    # The page grows while the exporter reads details, and the last scrape is up to a second old.
    until(lambda: len(set(counts())) == 1, why=lambda: str(counts()))


def test_completed_fraction(database: Database) -> None:
    """PromQL returns the completed fraction of each split batch of the demo, and the fraction of one increases."""
    expression = 'dify_batch_segments_completed{job="demo"} / dify_batch_segments'

    def partly() -> dict[Labels, float]:
        return {labels: share for labels, share in database.query(expression).items() if 0 < share < 1}

    first = until(partly)
    until(lambda: any(first.get(labels, share) < share for labels, share in database.query(expression).items()))

    assert all(0 <= share <= 1 for share in database.query(expression).values() if not math.isnan(share))


def test_values_and_labels_match_the_page(database: Database, site: Site) -> None:
    """Each series of an embedded Dify with a stopped clock has the same value in the database as on the page.

    Its names contain quotes, backslashes and letters of many alphabets.
    """
    # VictoriaMetrics keeps 15 digits, Prometheus all.
    tolerance = 1e-14 if "victoria-metrics" == database.name else 0

    def differences() -> list[Labels]:
        """Series that differ between page and database."""
        expected, found = _of_dify(get(site.still, "/metrics").body.decode()), _stored(database)
        return [
            labels
            for labels in expected.keys() | found.keys()
            if not math.isclose(expected.get(labels, math.nan), found.get(labels, math.nan), rel_tol=tolerance)
        ]

    # The page grows while the exporter reads details, and the last scrape is up to a second old.
    until(lambda: len(_stored(database)) > 500 and not differences(), why=lambda: str(differences()))


def _of_dify(page: str) -> dict[Labels, float]:
    """The series of a page that are about Dify."""
    return {
        Labels({"__name__": sample.name, **{name: text for name, text in sample.labels.items() if text}}.items()): value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name.startswith("dify_") and not sample.name.startswith("dify_exporter_")
        for value in [sample.value]
    }


def _stored(database: Database) -> dict[Labels, float]:
    """The same from the database, without the labels of the target."""
    return {
        Labels((name, text) for name, text in labels if name not in {"job", "instance"}): value
        for labels, value in database.query(DOMAIN).items()
    }
