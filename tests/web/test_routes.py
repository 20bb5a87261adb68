"""The pages other than the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter import __version__
from exporter.web import ExporterStatus, create_app

if TYPE_CHECKING:
    from tests.web.conftest import FakeExposition, StartApp


def test_healthy(start_app: StartApp) -> None:
    """While the loop runs, health is 200 in plain text."""
    answer = start_app().request("/-/healthy")

    assert 200 == answer.status
    assert b"dify-exporter is healthy.\n" == answer.body
    assert "text/plain; charset=utf-8" == answer.headers["content-type"]


def test_unhealthy(start_app: StartApp) -> None:
    """When the loop hangs, health is 503 with the problem; readiness is independent."""
    request = start_app(unhealthy=lambda: "the schedule has not turned for 61 s").request

    answer = request("/-/healthy")

    assert 503 == answer.status
    assert b"the schedule has not turned for 61 s\n" == answer.body
    assert 200 == request("/-/ready").status


def test_ready_follows_the_check(start_app: StartApp) -> None:
    """Readiness is evaluated per request: 503 with the reason until the first cycle is done, then 200."""
    waiting: list[str] = ["not ready: 12 of 40 targets polled"]
    request = start_app(unready=lambda: waiting[0] if waiting else None).request

    before = request("/-/ready")
    waiting.clear()
    after = request("/-/ready")

    assert (503, b"not ready: 12 of 40 targets polled\n") == (before.status, before.body)
    assert (200, b"dify-exporter is ready.\n") == (after.status, after.body)


def test_landing_page(start_app: StartApp) -> None:
    """The landing page has the version, links that work behind a prefix, the verdicts and the facts."""
    request = start_app(
        telemetry_path="/probe/metrics",
        unready=lambda: "not ready: 1 of 2 targets polled",
        facts=lambda: {"Servers": 2, "Targets": 40},
    ).request

    answer = request("/")
    page = answer.body.decode()

    assert 200 == answer.status
    assert "text/html; charset=utf-8" == answer.headers["content-type"]
    assert f"dify-exporter <small>{__version__}</small>" in page
    assert '<dt><a href="./probe/metrics">Metrics</a></dt><dd>/probe/metrics</dd>' in page
    assert '<dt><a href="./-/healthy">Healthy</a></dt><dd><span class="good">yes</span></dd>' in page
    assert '<a href="./-/ready">Ready</a></dt><dd><span class="bad">not ready: 1 of 2 targets polled</span>' in page
    assert "<dt>Servers</dt><dd>2</dd>\n<dt>Targets</dt><dd>40</dd>" in page


def test_landing_page_loads_nothing(start_app: StartApp) -> None:
    """The headers forbid the browser to load resources, run scripts and guess types, and the page uses none of that."""
    answer = start_app().request("/")

    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "script-src" not in answer.headers["content-security-policy"]
    assert "nosniff" == answer.headers["x-content-type-options"]
    assert b"src=" not in answer.body
    assert b"http" not in answer.body
    assert b"url(" not in answer.body


def test_landing_page_escapes(start_app: StartApp) -> None:
    """Markup in displayed values is escaped."""
    markup = "<script>alert('x')</script>"
    request = start_app(unhealthy=lambda: markup, facts=lambda: {markup: markup}).request

    page = request("/").body

    assert b"<script" not in page
    assert 3 == page.count(b"&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;")


def test_head(start_app: StartApp) -> None:
    """HEAD returns the headers of GET without a body, on every page."""
    request = start_app().request

    for path in ("/", "/-/healthy", "/-/ready"):
        get, head = request(path), request(path, method="HEAD")
        assert (200, b"") == (head.status, head.body)
        assert get.headers | {"date": ""} == head.headers | {"date": ""}


def test_unknown_path(start_app: StartApp) -> None:
    """An unknown path is 404 in plain text, not a redirect."""
    request = start_app().request

    for path in ("/metricsx", "/metrics/", "/-/", "/-/reloads", "//", "/%00", "/../etc/passwd"):
        answer = request(path)
        assert (path, 404, b"Not Found\n") == (path, answer.status, answer.body)
        assert "text/plain; charset=utf-8" == answer.headers["content-type"]
        assert "nosniff" == answer.headers["x-content-type-options"]


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/-/ready"])
def test_wrong_method(start_app: StartApp, exposition: FakeExposition, path: str) -> None:
    """Methods other than GET and HEAD are 405 with Allow and make no page."""
    request = start_app().request

    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
        answer = request(path, method=method)
        assert (405, b"Method Not Allowed\n") == (answer.status, answer.body)
        assert "GET, HEAD" == answer.headers["allow"]
    assert [] == exposition.formats


def test_telemetry_path_replaces_the_landing_page(start_app: StartApp, exposition: FakeExposition) -> None:
    """With the telemetry path "/", the metrics replace the landing page."""
    answer = start_app(telemetry_path="/").request("/")

    assert exposition.text == answer.body


@pytest.mark.parametrize(
    "path", ["", "metrics", "/-/healthy", "/-/ready", "/-/reload", "/{x}", "/a b", "/x?y", "/ü", "/a\n"]
)
def test_invalid_telemetry_path(exposition: FakeExposition, path: str) -> None:
    """A telemetry path that is not a plain path, or belongs to another page, is refused when the app is created."""
    with pytest.raises(ValueError, match="telemetry path"):
        create_app(exposition.page, ExporterStatus(), telemetry_path=path)


def test_failing_check(start_app: StartApp, caplog: pytest.LogCaptureFixture) -> None:
    """An exception is answered with 500 without its text, which appears only in the log."""

    def broken() -> str | None:
        raise OSError("secret detail")

    client = start_app(unhealthy=broken)

    answer = client.request("/-/healthy")
    client.server.stop()  # the line is written after the answer

    assert (500, b"Internal Server Error: see the log for details.\n") == (answer.status, answer.body)
    assert "secret detail" in caplog.text
