"""Counters and histograms rendered from objects."""

from __future__ import annotations

import pytest

from exporter.metrics import Exposition, Format
from exporter.tracking.counters import PHASES, count_finished, count_restarted, new_counters
from exporter.tracking.model import DatasetCounters, Distribution
from tests.metrics.random_objects import page_text, parse_page

HEAD = 'server="main",dataset_id="ds"'
NAME = "dify_document_phase_duration_seconds"


def example_counters() -> DatasetCounters:
    """Counters with one document completed, one failed and one restarted."""
    counters = count_finished(new_counters("main", "ds"), "completed", "", [("parsing", 5.0), ("total", 400.5)])
    counters = count_finished(counters, "error", "quota")
    return count_restarted(counters)


def lines_of(exposition: Exposition, fmt: Format, start: str) -> list[str]:
    """The lines of the page that begin with ``start``."""
    return [line for line in page_text(exposition, fmt).splitlines() if line.startswith(start)]


@pytest.mark.parametrize("fmt", Format)
def test_lines_of_a_histogram(exposition: Exposition, fmt: Format) -> None:
    """Buckets are cumulative, each bound is a float and inclusive, and the last bucket is +Inf and equals the count."""
    exposition.changed([(None, example_counters())])
    labels = f'{HEAD},phase="parsing"'
    bounds = ("1.0", "5.0", "15.0", "60.0", "300.0", "900.0", "3600.0", "14400.0", "+Inf")
    expected = [
        *[f'{NAME}_bucket{{{labels},le="{bound}"}} {int(bound != "1.0")}' for bound in bounds],
        f"{NAME}_sum{{{labels}}} 5.0",
        f"{NAME}_count{{{labels}}} 1",
    ]

    assert expected == [line for line in lines_of(exposition, fmt, NAME) if labels in line]
    assert len(PHASES) * len(expected) == len(lines_of(exposition, fmt, NAME))


@pytest.mark.parametrize("fmt", Format)
def test_lines_of_counters(exposition: Exposition, fmt: Format) -> None:
    """An event increments its own series; all others stay at 0."""
    exposition.changed([(None, example_counters())])
    finished = lines_of(exposition, fmt, "dify_documents_finished_total")

    assert 9 == len(finished)
    assert [
        f'dify_documents_finished_total{{{HEAD},status="completed",reason=""}} 1',
        f'dify_documents_finished_total{{{HEAD},status="error",reason="quota"}} 1',
    ] == [line for line in finished if not line.endswith(" 0")]
    assert [f"dify_documents_restarted_total{{{HEAD}}} 1"] == lines_of(exposition, fmt, "dify_documents_restarted")


@pytest.mark.parametrize(
    ("fmt", "counter"),
    [(Format.TEXT, "dify_documents_finished_total"), (Format.OPENMETRICS, "dify_documents_finished")],
)
def test_headers(exposition: Exposition, fmt: Format, counter: str) -> None:
    """The header names the family as the format requires: a counter without ``_total`` in OpenMetrics only."""
    exposition.changed([(None, example_counters())])
    types = [line.split()[2:] for line in lines_of(exposition, fmt, "# TYPE")]
    helps = [line.split()[2] for line in lines_of(exposition, fmt, "# HELP")]

    assert [counter, "counter"] in types
    assert [NAME, "histogram"] in types
    assert [name for name, _ in types] == helps


def test_both_formats_have_the_same_lines(exposition: Exposition) -> None:
    """Except for headers, counters and histograms are the same bytes in both formats and parse to the same values."""
    exposition.changed([(None, example_counters())])
    plain, openmetrics = (
        [line for line in page_text(exposition, fmt).splitlines() if not line.startswith("#")] for fmt in Format
    )

    assert plain == openmetrics
    read = {fmt: parse_page(page_text(exposition, fmt), fmt) for fmt in Format}
    assert read[Format.TEXT] == read[Format.OPENMETRICS]
    assert 400.5 == read[Format.TEXT][f"{NAME}_sum", frozenset(ACTIVITY | {("phase", "total")})]


ACTIVITY = {("server", "main"), ("dataset_id", "ds")}


def test_a_sum_beyond_the_range_of_floats(exposition: Exposition) -> None:
    """A histogram whose sum is not finite has no series and does not affect others."""
    counters = example_counters()
    broken = Distribution((0,) * 8 + (1,), float("inf"))
    phases = tuple((phase, broken if phase == "parsing" else seen) for phase, seen in counters.phases)
    exposition.changed([(None, DatasetCounters("main", "ds", counters.finished, 1, phases))])
    shown = lines_of(exposition, Format.TEXT, f"{NAME}_count")

    assert [phase for phase in PHASES if phase != "parsing"] == [
        line.split('phase="')[1].split('"')[0] for line in shown
    ]
    parse_page(page_text(exposition, Format.OPENMETRICS), Format.OPENMETRICS)
