"""With two exporters on one server, the dashboards show the same as with one.

A recorded scene is loaded into a real Prometheus twice: as the job *one*, with one exporter, and as the job *two*, with
two exporters that see the same. Then all queries of the dashboards are run for both jobs.
"""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import pytest

from deploy.grafana.__main__ import FOLDER
from deploy.grafana.asking import Span, ask, panels, select
from exporter.config import DatasetConfig, Polling
from exporter.simulator import Action, BatchPlan, DatasetPlan, DocumentPlan, Rule, Scenario
from tests.deploy.scene import FIRST, HANDBOOK, SECOND, TICKETS, begin, do, fault, web_config
from tests.deploy.series import Series
from tests.deploy.stage import Stage
from tests.integration.harness import Program, answers, free_port, get, run, tool, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

DASHBOARDS: dict[str, Any] = {path.name: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}
EXPORTERS = {"one": ('instance="a:9439"',), "two": ('instance="a:9439",pod="a"', 'instance="b:9439",pod="b"')}
"""By job: the labels that distinguish its exporters."""
OF_EXPORTERS = {"job", "instance", "pod"}

MINUTES = 22
EVERY = 60
LARGE, NOWHERE = "20261121093000100003", "20000101000000000000"
BROKEN, HELD = "broken.pdf", "held.txt"
FULL = BatchPlan(id=LARGE, documents=tuple(DocumentPlan(name=f"{number}.txt") for number in range(105)))
MIXED = BatchPlan(
    id=FIRST,
    documents=(
        DocumentPlan(name="rules.pdf", index=60.0),
        DocumentPlan(name="bad.xlsx", outcome="fails"),
        DocumentPlan(name=BROKEN, outcome="fails", rule=Rule(mode="hierarchical")),
        DocumentPlan(name=HELD, index=600.0),
        DocumentPlan(name="minutes.txt", segments=2_000, index=300.0, outcome="dies"),
        DocumentPlan(name="appendix.txt"),
    ),
    actions=(Action(kind="pause", document=HELD, at=200.0),),
)
SLOW = BatchPlan(
    id=SECOND,
    documents=(DocumentPlan(), DocumentPlan(name="novel.txt", segments=900, index=1_500.0)),
)
SCENARIO = Scenario(
    workers=None,
    datasets=(
        DatasetPlan(id=HANDBOOK, name="Handbook", technique="high_quality", batches=(MIXED, FULL)),
        DatasetPlan(id=TICKETS, name="Tickets", technique="high_quality", batches=(SLOW, BatchPlan(lost=True))),
    ),
)
SETTINGS = {
    "datasets": (DatasetConfig(HANDBOOK, (FIRST, LARGE, NOWHERE)), DatasetConfig(TICKETS, (SECOND,))),
    "discover": True,
    "documents": 108,
    "polling": Polling(),
}

ODD = json.dumps({"data": [{"id": "5f1d9a2e-6c0b-4d5e-9a43-0c9b7e2d1a03", "indexing_status": "dreaming"}]})

CHOICES: dict[str, tuple[dict[str, str], ...]] = {
    "dify-batch.json": (
        {"document": HELD},
        {"batch": LARGE},
        {"batch": FIRST, "document": BROKEN},
        {"batch": SECOND},
    )
}
"""Selections on a dashboard."""

TRAFFIC = {
    ("dify-exporter.json", "Polls"),
    ("dify-exporter.json", "Failed polls by reason"),
    ("dify-exporter.json", "Requests by status"),
    ("dify-exporter.json", "Request latency"),
}
"""Requests to Dify from all exporters together: two exporters send twice as many."""

EMPTY = {
    ("dify-batch.json", "Times reported by Dify", "J"): "no document is disabled",
    ("dify-batch.json", "Sizes", "D"): "only later versions of Dify report them in the document detail",
}
"""Queries that return no data, by dashboard, panel and letter, and why."""


class Pages(Series):
    """Scraped pages, with the second of each."""

    def __init__(self) -> None:
        super().__init__((), "")
        self._pages: list[tuple[int, list[str]]] = []
        self._next = 0

    def scrape(self, page: str | None, seconds: float) -> None:
        """Store the page."""
        if page is not None:
            lines = [line for line in page.splitlines() if line and not line.startswith("#")]
            own = ["up 1", f"scrape_duration_seconds {seconds:g}", f"scrape_samples_scraped {len(lines)}"]
            self._pages.append((self._next, [*own, *lines]))
        self.skip()

    def skip(self) -> None:
        """Store no page."""
        self._next += EVERY

    def open_metrics(self) -> Iterator[str]:
        """Every sample of every exporter, in OpenMetrics.

        The format has no staleness markers: a series whose labels change is visible with both label sets for five
        minutes.
        """
        for second, lines in self._pages:
            samples = [line.rpartition(" ") for line in lines]
            for job, exporters in EXPORTERS.items():
                for exporter in exporters:
                    for series, _, value in samples:
                        name, brace, labels = series.partition("{")
                        yield f'{name}{{job="{job}",{exporter}{"," if brace else ""}{labels or "}"} {value} {second}\n'
        yield "# EOF\n"


class Recorded(NamedTuple):
    """A Prometheus that has loaded the scene."""

    port: int

    def get(self, path: str, **parameters: str) -> Any:
        """The ``data`` of an answer from its API, evaluated at the end of the scene."""
        if path == "query":
            parameters = {"time": f"{MINUTES * 60}"} | parameters
        answer = json.loads(get(self.port, f"/api/v1/{path}?{urlencode(parameters)}").body)
        assert "success" == answer["status"], (parameters, answer)
        return answer["data"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """Play the scene and load it into Prometheus."""
    folder = tmp_path_factory.mktemp("replicas")
    prometheus, promtool = tool("prometheus"), tool("promtool")
    stage = Stage(SCENARIO, folder, (), interval=EVERY, settings=SETTINGS)
    stage.series = pages = Pages()
    acts = {
        0.2: web_config("{}"),
        0.5: begin,
        3: fault(kind="json", body=ODD, endpoint="indexing-status", id=NOWHERE, times=1),
        5: do(Action(kind="retry", batch=FIRST, document="bad.xlsx")),
        21: fault(kind="status", status=500, endpoint="indexing-status", id=SECOND),
    }
    stage.play(acts, MINUTES)
    samples = folder / "samples.txt"
    with samples.open("w", encoding="utf-8") as file:
        file.writelines(pages.open_metrics())
    made = run(promtool, "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(samples), str(folder / "data"))
    assert 0 == made.code, made.err
    (folder / "prometheus.yml").write_text("")
    port = free_port()
    command = (
        prometheus,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--storage.tsdb.retention.time=100y",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    )
    with closing(Program(folder / "prometheus", *command)) as program:
        until(lambda: answers(port, "/-/ready"), why=lambda: program.log)
        yield Recorded(port)


def targets() -> Iterator[Any]:
    """Every query of every panel."""
    for name, dashboard in DASHBOARDS.items():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                yield pytest.param(name, panel, target, id=f"{name} {panel['title']} {target['refId']}")


def _shows_instances(panel: Any, target: Any) -> bool:
    """Whether each line or row of the panel names its instance."""
    columns = [one["options"].get("indexByName", {}) for one in panel.get("transformations", ())]
    return "{{instance}}" in target["legendFormat"] or any("instance" in column for column in columns)


def _found(name: str, panel: Any, target: Any, recorded: Recorded, job: str) -> list[tuple[str, list[float]]]:
    """The results for each selection, without the labels that distinguish jobs and exporters."""
    found = []
    for number, choice in enumerate(CHOICES.get(name, ({},))):
        selection = select(DASHBOARDS[name], recorded, {"job": job, **choice})
        for series in ask(panel, target, selection, Span(0, MINUTES * 60, scrape_interval=EVERY), recorded):
            labels = {label: value for label, value in series["metric"].items() if label not in OF_EXPORTERS}
            samples = series.get("values") or [series["value"]]
            times = [when for when, _ in samples]
            found.append((f"{number} {sorted(labels.items())} {times}", [float(value) for _, value in samples]))
    return sorted(found)


@pytest.mark.parametrize(("name", "panel", "target"), list(targets()))
def test_two_exporters_give_the_numbers_of_one(name: str, panel: Any, target: Any, recorded: Recorded) -> None:
    """Both jobs have the same series and values; one line or row per exporter only where the instance is shown."""
    one, two = (_found(name, panel, target, recorded, job) for job in EXPORTERS)
    times = 2 if _shows_instances(panel, target) else 1
    factor = 2 if (name, panel["title"]) in TRAFFIC else 1

    assert bool(one) != ((name, panel["title"], target["refId"]) in EMPTY)
    assert sorted([labels for labels, _ in one] * times) == [labels for labels, _ in two]
    for (_, expected), (_, values) in zip(sorted(one * times), two, strict=True):
        assert values == pytest.approx([factor * value for value in expected], nan_ok=True)
