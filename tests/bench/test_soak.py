"""The soak's verdicts on memory and pages: they have to see what they are there for."""

from __future__ import annotations

import gzip

import pytest

from bench.soak.pages import Reader, check_page
from bench.soak.verdict import creep, percentile, rise, slope, warm
from bench.soak.watch import Sample

HOUR = 3_600


def samples(growth: float, *, hours: float = 1.0, jitter: int = 0) -> list[Sample]:
    """One each ten seconds; memory grows by ``growth`` of itself in an hour, up and down by ``jitter`` bytes."""
    return [
        Sample(float(at), round(60e6 * (1 + growth * at / HOUR)) + jitter * (-1) ** at, 20, 8)
        for at in range(0, int(hours * HOUR), 11)
    ]


@pytest.mark.parametrize("growth", [0.0, 0.01, 0.05, -0.02])
def test_the_slope_of_memory_is_found(growth: float) -> None:
    """A leak of a percent an hour shows through noise of megabytes."""
    assert growth == pytest.approx(slope(samples(growth, jitter=2_000_000)), abs=0.003)


def test_a_rise_in_a_short_run_is_found() -> None:
    """From the first to the last third."""
    assert 0.0 == rise(samples(0.0, hours=0.1))
    assert 0.3 < rise(samples(6.0, hours=0.1))


def test_the_warm_up_is_left_out() -> None:
    """A fifth of a long run, nine minutes of a shorter one, half of a very short one."""
    assert HOUR / 5 <= warm(samples(0.0))[0].at < HOUR / 5 + 11
    assert 540.0 <= warm(samples(0.0, hours=0.4))[0].at < 551
    assert 80.0 <= warm(samples(0.0, hours=0.05))[0].at < 100


def test_what_stays_open_is_found() -> None:
    """The floor counts: peaks of concurrent scrapes do not, what is never closed does."""
    assert 0 == creep([9, 30, 9, 40, 9, 30])
    assert 4 == creep([9, 30, 11, 33, 13, 35])


def test_percentiles() -> None:
    """The 99th of a hundred is the last but none."""
    assert 99 == percentile(list(range(100)), 0.99)
    assert 50 == percentile(list(range(100)), 0.5)


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        (b"# TYPE a gauge\na 1\n", ""),
        (b'# TYPE a gauge\na{b="c"} 1\na{b="c"} 2\n', "duplicate series"),
        (b"# TYPE a gauge\na NaN\n", "a is nan"),
        (b"# TYPE a gauge\na 1e300\n", "a is 1e+300"),
        (b"", "no metrics"),
        (b'a{b="c} 1\n', "ValueError"),
    ],
    ids=["good", "twice", "NaN", "absurd", "empty", "broken"],
)
def test_a_wrong_page_is_found(page: bytes, problem: str) -> None:
    """A page that Prometheus would refuse, or that says the same thing twice."""
    assert check_page(page, openmetrics=False).startswith(problem)


def test_openmetrics_needs_its_end() -> None:
    """Each format is read by its own parser."""
    assert "" == check_page(b"# TYPE a gauge\na 1\n# EOF\n", openmetrics=True)
    assert "EOF" in check_page(b"# TYPE a gauge\na 1\n", openmetrics=True)


def test_the_values_of_a_page_are_read() -> None:
    """Ends by server, knowledge base and status, over the reasons; what is stalled; packed or not; no other server."""
    line = 'dify_documents_finished_total{{server="{}",dataset_id="kb",status="error",reason="{}"}} {}\n'
    ends = line.format("bad", "timeout", 2) + line.format("bad", "quota", "3.0") + line.format("spare", "quota", 7)
    text = (
        "# TYPE dify_documents_finished_total counter\n" + ends + "# TYPE dify_document_stalled gauge\n"
        'dify_document_stalled{server="good",dataset_id="kb",document_id="d1"} 0\n'
        'dify_document_stalled{server="good",dataset_id="kb",document_id="d2"} 1\n'
        '# TYPE dify_batch_stalled gauge\ndify_batch_stalled{server="bad",dataset_id="kb",batch="b"} 1\n'
        '# TYPE dify_up gauge\ndify_up{server="good"} 0\n'
    ).encode()
    for packed in (False, True):
        reading = Reader().read(gzip.compress(text) if packed else text, packed=packed, openmetrics=False)
        assert {("bad", "kb", "error"): 5} == reading.ends
        assert {("good", "kb", "document", "d2"), ("bad", "kb", "batch", "b")} == reading.stalled
        assert {"good": 0.0} == reading.up


def test_a_wrong_page_is_reported_once() -> None:
    """One that comes again is not parsed again."""
    page, reader = b"# TYPE b gauge\nb NaN\n", Reader()
    assert ["b is nan", None] == [reader.read(page, packed=False, openmetrics=False).problem for _ in range(2)]
