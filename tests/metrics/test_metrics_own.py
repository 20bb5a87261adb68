"""The exporter's own metrics."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from exporter import __version__
from exporter.metrics import OWN, Exposition, Format, OwnMetrics
from exporter.tracking.model import KINDS, TARGET_STATES, ServerSchedule

if TYPE_CHECKING:
    from collections.abc import Callable

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


def samples(own: OwnMetrics, fmt: Format = Format.TEXT) -> dict[str, dict[tuple[str, ...], float]]:
    """The values by name and label values, in the order of the labels in the catalog."""
    text = own.render(fmt).decode()
    families = read_text(text) if fmt is Format.TEXT else read_openmetrics(text + "# EOF\n")  # type: ignore[no-untyped-call]
    labels = {row.name: row.labels for row in OWN}
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in families:
        for sample in family.samples:
            order = labels.get(sample.name, tuple(sorted(sample.labels)))
            found.setdefault(sample.name, {})[tuple(sample.labels[name] for name in order)] = sample.value
    return found


@pytest.fixture
def own() -> OwnMetrics:
    """The metrics of an exporter in which every kind of event has occurred once."""
    own = OwnMetrics({"DIFY_EXPORTER_REVISION": "abc123"})
    own.schedules = lambda: [ServerSchedule("main", 1.5, {("batch", "active"): 7}, -28800.0)]
    own.state_saved = lambda: 1795282480.25
    own.state_save_successful = lambda: True
    own.web_config_loaded = lambda: True
    own.collapsed = lambda: {("main", "ds"): 12}
    own.prepare("main")
    own.polled("main", "batch")
    own.poll_failed("main", "batch", "timeout")
    own.requested("main", "indexing-status", "200", 0.03)
    own.throttled("main", 0.25)
    own.unknown_value("main", "indexing_status")
    own.reloaded(1795282470.5, success=True)
    return own


def test_a_server_that_is_forgotten(own: OwnMetrics) -> None:
    """A removed server has no series, late events restore none; when the server returns, its counters start at 0."""

    def happen() -> None:
        own.polled("other", "batch")
        own.poll_failed("other", "batch", "timeout")
        own.requested("other", "indexing-status", "200", 0.03)
        own.throttled("other", 0.25)
        own.unknown_value("other", "indexing_status")

    before = own.render(Format.TEXT).count(b'server="main"')
    own.prepare("other")
    happen()
    own.forget("other")
    happen()

    assert b'server="other"' not in own.render(Format.TEXT)
    assert before == own.render(Format.TEXT).count(b'server="main"')
    own.prepare("other")
    assert {0.0} == {value for key, value in samples(own)["dify_exporter_polls_total"].items() if "other" in key}
    own.polled("other", "batch")
    assert 1.0 == samples(own)["dify_exporter_polls_total"]["other", "batch"]


@pytest.mark.parametrize("fmt", Format)
def test_registry_and_table_agree(own: OwnMetrics, fmt: Format) -> None:
    """The rendered families match the table: names, types, help texts and labels, in both formats."""
    text = own.render(fmt).decode()
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

    assert {(row.name, row.type, row.help, frozenset(row.labels)) for row in OWN} == seen


def test_counts(own: OwnMetrics) -> None:
    """Each observation increments its own series by one."""
    own.polled("main", "batch")
    own.requested("main", "indexing-status", "200", 4.0)
    own.requested("main", "indexing-status", "timeout", 10.0)
    seen = samples(own)

    assert 2 == seen["dify_exporter_polls_total"]["main", "batch"]
    assert 1 == seen["dify_exporter_poll_failures_total"]["main", "batch", "timeout"]
    assert 2 == seen["dify_exporter_requests_total"]["main", "indexing-status", "200"]
    assert 1 == seen["dify_exporter_requests_total"]["main", "indexing-status", "timeout"]
    assert 3 == seen["dify_exporter_request_duration_seconds_count"]["indexing-status", "main"]
    assert 0.25 == seen["dify_exporter_throttled_seconds_total"]["main",]
    assert 1 == seen["dify_exporter_unknown_values_total"]["main", "indexing_status"]


def test_counters_start_at_zero() -> None:
    """The counters of a known server exist before the first event, so that the increase is visible."""
    own = OwnMetrics({})
    assert b"dify_exporter_polls" not in own.render(Format.TEXT)

    own.prepare("main")
    seen = samples(own)
    assert {("main", kind): 0.0 for kind in KINDS} == seen["dify_exporter_polls_total"]
    assert {("main", k, r): 0.0 for k in KINDS for r in REASONS} == seen["dify_exporter_poll_failures_total"]
    assert {("main",): 0.0} == seen["dify_exporter_throttled_seconds_total"]


def test_schedule(own: OwnMetrics) -> None:
    """Lag and targets are read at the instant of the scrape; every kind and state has a series."""
    seen = samples(own)

    assert {("main",): 1.5} == seen["dify_exporter_schedule_lag_seconds"]
    assert {("main", k, s) for k in KINDS for s in TARGET_STATES} == seen["dify_exporter_targets"].keys()
    assert {("main", "batch", "active"): 7.0} == {k: v for k, v in seen["dify_exporter_targets"].items() if v}

    own.schedules = list
    assert "dify_exporter_schedule_lag_seconds" not in samples(own)


def test_clock_offset(own: OwnMetrics) -> None:
    """Only servers with a known offset have a series; 0 is a known offset."""
    name = "dify_exporter_clock_offset_seconds"
    assert {("main",): -28800.0} == samples(own)[name]

    own.schedules = lambda: [ServerSchedule("a", 0.0, {}, 0.0), ServerSchedule("b", 0.0, {})]
    assert {("a",): 0.0} == samples(own)[name]


def test_state_saved(own: OwnMetrics) -> None:
    """The time of the last save is absent before the first save."""
    name = "dify_exporter_state_last_save_timestamp_seconds"
    assert {(): 1795282480.25} == samples(own)[name]

    own.state_saved = lambda: None
    assert name not in samples(own)


def test_state_save_successful(own: OwnMetrics) -> None:
    """The result of the last save is absent before the first attempt; a failure is 0, even without earlier success."""
    name = "dify_exporter_state_last_save_successful"
    assert {(): 1.0} == samples(own)[name]

    own.state_saved, own.state_save_successful = lambda: None, lambda: False
    assert {(): 0.0} == samples(own)[name]

    own.state_save_successful = lambda: None
    assert name not in samples(own)


def test_web_config(own: OwnMetrics) -> None:
    """Without a web config file there is no series; with one, each scrape reads whether the current file is in use."""
    name = "dify_exporter_web_config_last_reload_successful"
    assert {(): 1.0} == samples(own)[name]

    own.web_config_loaded = lambda: False
    assert {(): 0.0} == samples(own)[name]

    own.web_config_loaded = None
    assert name not in samples(own)


def test_collapsed(own: OwnMetrics) -> None:
    """The counts are read at each scrape; without collapsed documents there is no series."""
    name = "dify_exporter_documents_collapsed"
    assert {("main", "ds"): 12.0} == samples(own)[name]

    own.collapsed = dict
    assert name not in samples(own)


def test_reload() -> None:
    """Before the first load there is no series; a failed load keeps the time of the last success."""
    own = OwnMetrics({})
    flag, when = (f"dify_exporter_config_last_reload_{word}" for word in ("successful", "success_timestamp_seconds"))
    assert not {flag, when} & samples(own).keys()

    own.reloaded(5.0, success=False)
    assert ({(): 0.0}, None) == (samples(own)[flag], samples(own).get(when))

    own.reloaded(7.0, success=True)
    own.reloaded(9.0, success=False)
    assert ({(): 0.0}, {(): 7.0}) == (samples(own)[flag], samples(own)[when])


@pytest.mark.parametrize(("environ", "revision"), [({"DIFY_EXPORTER_REVISION": "abc123"}, "abc123"), ({}, "")])
def test_build_info(environ: dict[str, str], revision: str) -> None:
    """The build info has version, revision and Python version."""
    seen = samples(OwnMetrics(environ))["dify_exporter_build_info"]

    assert {(__version__, revision, platform.python_version()): 1.0} == seen


@pytest.mark.parametrize("fmt", Format)
def test_no_created_series(own: OwnMetrics, fmt: Format) -> None:
    """Counters and histograms have no ``_created`` series."""
    assert b"_created" not in own.render(fmt)


@pytest.mark.parametrize("fmt", Format)
def test_label_values_that_utf8_cannot_hold(fmt: Format) -> None:
    """A lone surrogate in a name does not make the page unreadable."""
    own = OwnMetrics({"DIFY_EXPORTER_REVISION": "\udcff"})
    own.schedules = lambda: [ServerSchedule("\ud800", 0.0, {})]
    own.prepare("\ud800")
    own.requested("\ud800", "x", "200", 1.0)

    assert {("\ufffd",): 0.0} == samples(own, fmt)["dify_exporter_schedule_lag_seconds"]
    assert {("\ufffd",): 0.0} == samples(own, fmt)["dify_exporter_throttled_seconds_total"]


def test_it_observes_polls(own: OwnMetrics) -> None:
    """The metrics implement the observer of polls."""
    observer: PollObserver = own
    observer.polled("main", "document")

    assert 1 == samples(own)["dify_exporter_polls_total"]["main", "document"]


def test_promtool_finds_nothing_to_say(own: OwnMetrics, promtool: Callable[[bytes], tuple[int, str]]) -> None:
    """The page with only the own metrics passes Prometheus' linter and ends as OpenMetrics requires."""
    exposition = Exposition(own=own)
    text, openmetrics = (b"".join(exposition.page(fmt).plain_chunks()) for fmt in Format)

    assert (0, "") == promtool(text)
    assert openmetrics.endswith(b"\n# EOF\n")
    assert 1 == openmetrics.count(b"# EOF")
    assert openmetrics.count(b"# TYPE") == len(list(read_openmetrics(openmetrics.decode())))  # type: ignore[no-untyped-call]
