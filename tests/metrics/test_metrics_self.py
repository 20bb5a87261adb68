"""The metrics about the exporter itself."""

from __future__ import annotations

import platform
import shutil
from typing import TYPE_CHECKING

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from exporter import __version__
from exporter.clock import ManualClock
from exporter.metrics import SELF_METRICS, Exposition, Format, ProcessState, SelfMetrics
from exporter.state import StateFile
from exporter.tracking.model import KINDS, TARGET_STATES, ServerSchedule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from exporter.tracking.model import PollObserver

REASONS = (
    "timeout",
    "connect",
    "tls",
    "unauthorized",
    "forbidden",
    "not_found",
    "rate_limited",
    "server",
    "decode",
    "schema",
    "too_large",
)


def samples(self_metrics: SelfMetrics, fmt: Format = Format.TEXT) -> dict[str, dict[tuple[str, ...], float]]:
    """The values by name and label values, in the order of the labels in the catalog."""
    text = self_metrics.render(fmt).decode()
    families = read_text(text) if fmt is Format.TEXT else read_openmetrics(text + "# EOF\n")  # type: ignore[no-untyped-call]
    labels = {row.name: row.labels for row in SELF_METRICS}
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in families:
        for sample in family.samples:
            order = labels.get(sample.name, tuple(sorted(sample.labels)))
            found.setdefault(sample.name, {})[tuple(sample.labels[name] for name in order)] = sample.value
    return found


def process(
    *schedules: ServerSchedule,
    collapsed: Mapping[tuple[str, str], int] | None = None,
    state_file: StateFile | None = None,
    web_config_loaded: bool | None = None,
    web_certificate: tuple[float, float] | None = None,
) -> ProcessState:
    """A process in this state."""
    return ProcessState(
        schedules=lambda: schedules,
        collapsed=lambda: collapsed or {},
        state_file=state_file,
        web_config_loaded=None if web_config_loaded is None else lambda: web_config_loaded,
        web_certificate=lambda: web_certificate,
    )


@pytest.fixture
def state_file(tmp_path: Path) -> StateFile:
    """A state file in a directory that does not exist yet, at Unix second 1795282480.25."""
    return StateFile(tmp_path / "volume" / "state.db", ManualClock(start=1795282480.25))


@pytest.fixture
def self_metrics(state_file: StateFile, tmp_path: Path) -> SelfMetrics:
    """The metrics of an exporter in which every kind of event has occurred once."""
    self_metrics = SelfMetrics({"DIFY_EXPORTER_REVISION": "abc123"})
    (tmp_path / "volume").mkdir()
    state_file.save()
    self_metrics.observe(
        process(
            ServerSchedule("main", 1.5, {("batch", "active"): 7}, -28800.0, batch_list_problems=2),
            collapsed={("main", "ds"): 12},
            state_file=state_file,
            web_config_loaded=True,
            web_certificate=(1795000000.0, 1795600000.0),
        )
    )
    self_metrics.add_server("main")
    self_metrics.polled("main", "batch")
    self_metrics.poll_failed("main", "batch", "timeout")
    self_metrics.requested("main", "indexing-status", "200", 0.03)
    self_metrics.throttled("main", 0.25)
    self_metrics.unknown_value("main", "indexing_status")
    self_metrics.reloaded(1795282470.5, success=True)
    return self_metrics


def test_removed_server(self_metrics: SelfMetrics) -> None:
    """A removed server has no series, late events restore none; when the server returns, its counters start at 0."""

    def happen() -> None:
        self_metrics.polled("other", "batch")
        self_metrics.poll_failed("other", "batch", "timeout")
        self_metrics.requested("other", "indexing-status", "200", 0.03)
        self_metrics.throttled("other", 0.25)
        self_metrics.unknown_value("other", "indexing_status")

    before = self_metrics.render(Format.TEXT).count(b'server="main"')
    self_metrics.add_server("other")
    happen()
    self_metrics.remove_server("other")
    happen()

    assert b'server="other"' not in self_metrics.render(Format.TEXT)
    assert before == self_metrics.render(Format.TEXT).count(b'server="main"')
    self_metrics.add_server("other")
    assert {0.0} == {
        value for key, value in samples(self_metrics)["dify_exporter_polls_total"].items() if "other" in key
    }
    self_metrics.polled("other", "batch")
    assert 1.0 == samples(self_metrics)["dify_exporter_polls_total"]["other", "batch"]


@pytest.mark.parametrize("fmt", Format)
def test_registry_and_table_agree(self_metrics: SelfMetrics, fmt: Format) -> None:
    """The rendered families match the table: names, types, help texts and labels, in both formats."""
    text = self_metrics.render(fmt).decode()
    families = read_text(text) if fmt is Format.TEXT else read_openmetrics(text + "# EOF\n")  # type: ignore[no-untyped-call]
    seen = {
        (
            family.name + ("_total" if family.type == "counter" else ""),
            family.type,
            family.documentation,
            frozenset(family.samples[0].labels) - {"le"},
        )
        for family in families
    }

    assert {(row.name, row.type, row.help, frozenset(row.labels)) for row in SELF_METRICS} == seen


def test_counts(self_metrics: SelfMetrics) -> None:
    """Each observation increments its own series by one."""
    self_metrics.polled("main", "batch")
    self_metrics.requested("main", "indexing-status", "200", 4.0)
    self_metrics.requested("main", "indexing-status", "timeout", 10.0)
    seen = samples(self_metrics)

    assert 2 == seen["dify_exporter_polls_total"]["main", "batch"]
    assert 1 == seen["dify_exporter_poll_failures_total"]["main", "batch", "timeout"]
    assert 2 == seen["dify_exporter_requests_total"]["main", "indexing-status", "200"]
    assert 1 == seen["dify_exporter_requests_total"]["main", "indexing-status", "timeout"]
    assert 3 == seen["dify_exporter_request_duration_seconds_count"]["indexing-status", "main"]
    assert 0.25 == seen["dify_exporter_throttled_seconds_total"]["main",]
    assert 1 == seen["dify_exporter_unknown_values_total"]["main", "indexing_status"]


def test_a_server_that_sends_every_status_costs_few_series() -> None:
    """The usual statuses have series of their own, as reasons have; all others share one a class."""
    self_metrics = SelfMetrics({})
    self_metrics.add_server("main")
    for status in range(100, 1_000):
        self_metrics.requested("main", "indexing-status", str(status), 0.1)
    self_metrics.requested("main", "indexing-status", "timeout", 10.0)
    codes = {code: count for (_, _, code), count in samples(self_metrics)["dify_exporter_requests_total"].items()}

    assert 901 == sum(codes.values())
    assert 80 > len(codes)
    assert [1] * 8 == [codes[code] for code in ("200", "302", "404", "429", "500", "504", "522", "timeout")]
    assert {"1xx", "2xx", "3xx", "4xx", "5xx", "other"} <= codes.keys()
    assert not {"299", "499", "599", "999"} & codes.keys()
    assert 400 == codes["other"]


def test_counters_start_at_zero() -> None:
    """The counters of a known server exist before the first event, so that the increase is visible."""
    self_metrics = SelfMetrics({})
    assert b"dify_exporter_polls" not in self_metrics.render(Format.TEXT)

    self_metrics.add_server("main")
    seen = samples(self_metrics)
    assert {("main", kind): 0.0 for kind in KINDS} == seen["dify_exporter_polls_total"]
    assert {("main", k, r): 0.0 for k in KINDS for r in REASONS} == seen["dify_exporter_poll_failures_total"]
    assert {("main",): 0.0} == seen["dify_exporter_throttled_seconds_total"]


def test_schedule(self_metrics: SelfMetrics) -> None:
    """Lag and targets are read at the instant of the scrape; every kind and state has a series."""
    seen = samples(self_metrics)

    assert {("main",): 1.5} == seen["dify_exporter_schedule_lag_seconds"]
    assert {("main",): 2.0} == seen["dify_exporter_batch_list_problems"]
    assert {("main", k, s) for k in KINDS for s in TARGET_STATES} == seen["dify_exporter_targets"].keys()
    assert {("main", "batch", "active"): 7.0} == {k: v for k, v in seen["dify_exporter_targets"].items() if v}

    self_metrics.observe(process())
    assert "dify_exporter_schedule_lag_seconds" not in samples(self_metrics)


def test_clock_offset(self_metrics: SelfMetrics) -> None:
    """Only servers with a known offset have a series; 0 is a known offset."""
    name = "dify_exporter_clock_offset_seconds"
    assert {("main",): -28800.0} == samples(self_metrics)[name]

    self_metrics.observe(process(ServerSchedule("a", 0.0, {}, 0.0), ServerSchedule("b", 0.0, {})))
    assert {("a",): 0.0} == samples(self_metrics)[name]


def test_last_save(state_file: StateFile, tmp_path: Path) -> None:
    """Nothing before the first attempt to save the state; the time of the last save survives a failed one."""
    result, when = (f"dify_exporter_state_last_save_{word}" for word in ("successful", "timestamp_seconds"))
    self_metrics = SelfMetrics({})
    self_metrics.observe(process(state_file=state_file))
    assert not {result, when} & samples(self_metrics).keys()

    assert not state_file.save()
    assert ({(): 0.0}, None) == (samples(self_metrics)[result], samples(self_metrics).get(when))

    (tmp_path / "volume").mkdir()
    assert state_file.save()
    assert ({(): 1.0}, {(): 1795282480.25}) == (samples(self_metrics)[result], samples(self_metrics)[when])

    shutil.rmtree(tmp_path / "volume")
    assert not state_file.save()
    assert ({(): 0.0}, {(): 1795282480.25}) == (samples(self_metrics)[result], samples(self_metrics)[when])


def test_web_certificate(self_metrics: SelfMetrics) -> None:
    """The validity of the exporter's own certificate has series only with TLS."""
    before, after = (f"dify_exporter_web_certificate_not_{word}_timestamp_seconds" for word in ("before", "after"))
    seen = samples(self_metrics)
    assert ({(): 1795000000.0}, {(): 1795600000.0}) == (seen[before], seen[after])

    self_metrics.observe(process())
    assert not {before, after} & samples(self_metrics).keys()


def test_web_config(self_metrics: SelfMetrics) -> None:
    """Without a web config file there is no series; with one, each scrape reads whether the current file is in use."""
    name = "dify_exporter_web_config_last_reload_successful"
    assert {(): 1.0} == samples(self_metrics)[name]

    self_metrics.observe(process(web_config_loaded=False))
    assert {(): 0.0} == samples(self_metrics)[name]

    self_metrics.observe(process())
    assert name not in samples(self_metrics)


def test_collapsed(self_metrics: SelfMetrics) -> None:
    """The counts are read at each scrape; without collapsed documents there is no series."""
    name = "dify_exporter_documents_collapsed"
    assert {("main", "ds"): 12.0} == samples(self_metrics)[name]

    self_metrics.observe(process())
    assert name not in samples(self_metrics)


def test_reload() -> None:
    """Before the first load there is no series; a failed load keeps the time of the last success."""
    self_metrics = SelfMetrics({})
    flag, when = (f"dify_exporter_config_last_reload_{word}" for word in ("successful", "success_timestamp_seconds"))
    assert not {flag, when} & samples(self_metrics).keys()

    self_metrics.reloaded(5.0, success=False)
    assert ({(): 0.0}, None) == (samples(self_metrics)[flag], samples(self_metrics).get(when))

    self_metrics.reloaded(7.0, success=True)
    self_metrics.reloaded(9.0, success=False)
    assert ({(): 0.0}, {(): 7.0}) == (samples(self_metrics)[flag], samples(self_metrics)[when])


@pytest.mark.parametrize(("environ", "revision"), [({"DIFY_EXPORTER_REVISION": "abc123"}, "abc123"), ({}, "")])
def test_build_info(environ: dict[str, str], revision: str) -> None:
    """The build info has version, revision and Python version."""
    seen = samples(SelfMetrics(environ))["dify_exporter_build_info"]

    assert {(__version__, revision, platform.python_version()): 1.0} == seen


@pytest.mark.parametrize("fmt", Format)
def test_no_created_series(self_metrics: SelfMetrics, fmt: Format) -> None:
    """Counters and histograms have no ``_created`` series."""
    assert b"_created" not in self_metrics.render(fmt)


@pytest.mark.parametrize("fmt", Format)
def test_label_values_that_utf8_cannot_encode(fmt: Format) -> None:
    """A lone surrogate in a name does not make the page unreadable."""
    self_metrics = SelfMetrics({"DIFY_EXPORTER_REVISION": "\udcff"})
    self_metrics.observe(process(ServerSchedule("\ud800", 0.0, {})))
    self_metrics.add_server("\ud800")
    self_metrics.requested("\ud800", "x", "200", 1.0)

    assert {("\ufffd",): 0.0} == samples(self_metrics, fmt)["dify_exporter_schedule_lag_seconds"]
    assert {("\ufffd",): 0.0} == samples(self_metrics, fmt)["dify_exporter_throttled_seconds_total"]


def test_it_observes_polls(self_metrics: SelfMetrics) -> None:
    """The metrics implement the observer of polls."""
    observer: PollObserver = self_metrics
    observer.polled("main", "document")

    assert 1 == samples(self_metrics)["dify_exporter_polls_total"]["main", "document"]


def test_promtool_accepts_the_page(self_metrics: SelfMetrics, promtool: Callable[[bytes], tuple[int, str]]) -> None:
    """The page with only the exporter's own metrics passes Prometheus' linter and ends as OpenMetrics requires."""
    exposition = Exposition(self_metrics=self_metrics)
    text, openmetrics = (b"".join(exposition.page(fmt).plain_chunks()) for fmt in Format)

    assert (0, "") == promtool(text)
    assert openmetrics.endswith(b"\n# EOF\n")
    assert 1 == openmetrics.count(b"# EOF")
    assert openmetrics.count(b"# TYPE") == len(list(read_openmetrics(openmetrics.decode())))  # type: ignore[no-untyped-call]
