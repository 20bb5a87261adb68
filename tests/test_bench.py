"""The benchmarks run. Their results are not judged by tests."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest

from bench.growth import measure as measure_growth
from bench.knowledge import SavedObjects, Watched, document_id, gzipped
from bench.library import CustomCollector, LabelledGauges
from bench.memory import measure as measure_memory
from bench.results import BEGIN, END, Row, insert, table
from bench.run import MEASURES
from bench.scrape import Fetcher, Moving, metrics_app
from exporter.metrics import CATALOG, Format
from exporter.tracking import Batch, Document

ROOT = Path(__file__).parents[1]
ROW = Row("scrape", "5 ms", "4 s", "800", "≥ 500", met=True)


def test_memory_has_the_documents_that_it_names() -> None:
    """A document that a batch names has a detail of its own, and an unchanged answer is reported as unchanged."""
    memory = SavedObjects(3)
    target = memory.targets[2]
    answer = memory.indexing_status(target.dataset_id, target.id)
    assert answer.value is not None
    assert [document_id(2, member) for member in range(10)] == [item.id for item in answer.value]
    assert None is memory.indexing_status(target.dataset_id, target.id, known=answer.digest).value
    detail = memory.document(target.dataset_id, document_id(2, 7)).value
    assert detail is not None
    assert "Quarterly report 2-7 (final).pdf" == detail.name


@pytest.mark.parametrize("side", [LabelledGauges, CustomCollector])
def test_both_sides_of_the_scrape_expose_the_same_documents(side: type[LabelledGauges | CustomCollector]) -> None:
    """Both sides of the comparison expose the same documents and the same series for each."""
    watched = Watched(2)
    watched.poll()
    metrics = side()
    metrics.set(watched.objects())
    with closing(Fetcher(metrics_app(watched.exposition))) as one, closing(Fetcher(metrics.app)) as two:
        ours, theirs = one.lines(), two.lines()
    compared = {family.name.encode() for family in CATALOG if family.of in {Batch, Document}}
    assert {_series(line) for line in ours if _name(line) in compared} == set(map(_series, theirs))


def _series(line: bytes) -> tuple[bytes, frozenset[bytes], float]:
    """Name, labels in any order, value."""
    labels, _, value = line.partition(b"{")[2].rpartition(b"} ")
    return _name(line), frozenset(labels.split(b",")), float(value)


def _name(line: bytes) -> bytes:
    return line.partition(b"{")[0]


def test_one_batch_in_a_hundred_moves() -> None:
    """The measured change appears on the page: ten documents and their batch."""
    watched = Watched(2)
    watched.poll()
    before = gzipped(watched.exposition.page(Format.TEXT))
    moving = Moving(watched)
    moving.prepare()
    watched.exposition.changed(moving.changes)
    assert 11 == len(moving.changes)
    assert before != gzipped(watched.exposition.page(Format.TEXT))


@pytest.mark.parametrize("measure", [lambda: measure_growth(2, 2, 1), lambda: measure_memory(1)])
def test_a_benchmark_in_processes_of_its_own_gives_rows(measure: object) -> None:
    """The processes of a benchmark start, return rows and end."""
    assert callable(measure)
    (row,) = measure()
    assert "documents" in row.benchmark


def test_the_table_goes_between_the_marks(tmp_path: Path) -> None:
    """Text outside the marks is kept; a page without marks, or a missing page, is not changed."""
    page = tmp_path / "README.md"
    assert not insert(page, "text")
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    assert insert(page, table([ROW]))
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{BEGIN}\n| benchmark |")
    assert text.endswith(f"| scrape | 5 ms | 4 s | 800 | ≥ 500 | yes |\n{END}\nafter\n")


def test_every_measure_is_there() -> None:
    """Every benchmark that ``make bench`` runs exists and returns rows."""
    for name in MEASURES:
        source = (ROOT / "bench" / f"{name}.py").read_text(encoding="utf-8")
        assert re.search(r"^def measure\(", source, re.MULTILINE)
        assert "show(measure())" in source
