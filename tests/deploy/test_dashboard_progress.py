"""Progress of a batch, computed with the dashboards' own queries by promtool."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml

from deploy.grafana.__main__ import FOLDER
from deploy.grafana.asking import interpolate, panels
from tests.integration.harness import run, tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ALL = dict.fromkeys(("job", "server", "dataset", "batch"), ".*")
STATUSES = ("waiting", "indexing", "paused", "completed", "error")
OF_BATCH = {"job": "j", "instance": "i", "server": "s", "dataset_id": "d", "batch": "b"}
SHOWN = {"server": "s", "dataset_id": "d", "dataset": "d", "batch": "b"}
PANELS: dict[tuple[str, str, str], dict[str, str]] = {
    ("dify-indexing.json", "Progress of unfinished batches", "A"): SHOWN,
    ("dify-indexing.json", "Unfinished batches", "C"): SHOWN,
    ("dify-batch.json", "Progress", "A"): {},
}
"""The queries by dashboard, panel and letter, and the labels of their results."""


class Seen(NamedTuple):
    """A document with series."""

    status: str
    segments: int = 0
    completed: int = 0


BATCHES = {
    "no documents withheld": (
        {"waiting": 1, "indexing": 1, "completed": 1, "error": 1},
        [Seen("waiting"), Seen("indexing", 10, 4), Seen("completed", 5, 5), Seen("error", 10, 2)],
        0.6,
    ),
    "completed documents withheld": (
        {"waiting": 1, "indexing": 1, "completed": 8},
        [Seen("waiting"), Seen("indexing", 100, 50)],
        0.85,
    ),
    "an unfinished document withheld as well": (
        {"waiting": 1, "indexing": 2, "completed": 7},
        [Seen("indexing", 100, 50)],
        0.75,
    ),
    "all documents withheld": ({"indexing": 2, "completed": 7, "error": 1}, [], 0.8),
    "no document started": ({"waiting": 4}, [Seen("waiting")] * 4, 0.0),
}
"""The values of dify_batch_documents, the documents with series, and the progress of the batch."""


def named(metric: str, **labels: str) -> str:
    """A series in text format."""
    return f"{metric}{{{','.join(f'{name}={json.dumps(value)}' for name, value in labels.items())}}}"


def series(batch: dict[str, int], documents: list[Seen]) -> Iterator[tuple[str, float]]:
    """The exporter's series of a batch."""
    of_dataset = {name: value for name, value in OF_BATCH.items() if name != "batch"}
    for status in STATUSES:
        yield named("dify_batch_documents", **OF_BATCH, status=status), batch.get(status, 0)
    yield named("dify_batch_stalled", **OF_BATCH), 0
    yield named("dify_documents_restarted_total", **of_dataset), 0
    for number, document in enumerate(documents):
        of_document = of_dataset | {"document_id": f"{number}"}
        yield named("dify_document_info", **of_document, batch="b", name=f"{number}.txt"), 1
        for status in STATUSES:
            yield named("dify_document_indexing_status", **of_document, status=status), status == document.status
        yield named("dify_document_segments", **of_document), document.segments
        yield named("dify_document_segments_completed", **of_document), document.completed


def expression(dashboard: str, panel: str, letter: str) -> str:
    """The query of a panel as in the dashboard's file, with everything selected."""
    content: dict[str, Any] = json.loads((FOLDER / dashboard).read_text("utf-8"))
    (target,) = (
        target
        for found in panels(content)
        if found["title"] == panel
        for target in found["targets"]
        if target["refId"] == letter
    )
    return interpolate(target["expr"], ALL)


@pytest.mark.parametrize("name", BATCHES)
def test_progress_is_the_mean_of_all_documents(name: str, tmp_path: Path) -> None:
    """A finished document counts 1, whether or not ``limits.documents`` withholds its series."""
    batch, documents, progress = BATCHES[name]
    test = {
        "interval": "1m",
        "input_series": [{"series": of, "values": f"{float(value):g}x2"} for of, value in series(batch, documents)],
        "promql_expr_test": [
            {
                "expr": expression(*where),
                "eval_time": "1m",
                "exp_samples": [{"labels": named("", **labels), "value": progress}],
            }
            for where, labels in PANELS.items()
        ],
    }
    path = tmp_path / "progress.test.yml"
    path.write_text(yaml.safe_dump({"tests": [test]}), encoding="utf-8")
    done = run(tool("promtool"), "test", "rules", str(path))

    assert 0 == done.code, done.out + done.err
