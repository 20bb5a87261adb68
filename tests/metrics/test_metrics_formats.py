"""Content negotiation."""

from __future__ import annotations

import pytest

from exporter.metrics import Format, accepts_gzip, negotiate

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
PROMETHEUS_3_PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6," + PROMETHEUS_3
)
PROMETHEUS_3_TEXT_ONLY = "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
VICTORIA_METRICS = "text/plain;version=0.0.4;q=1,*/*;q=0.1"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (PROMETHEUS_2, Format.OPENMETRICS),
        (PROMETHEUS_3, Format.OPENMETRICS),
        (PROMETHEUS_3_PROTOBUF, Format.OPENMETRICS),
        (PROMETHEUS_3_TEXT_ONLY, Format.TEXT),
        (VICTORIA_METRICS, Format.TEXT),
        (None, Format.TEXT),
        ("", Format.TEXT),
        ("*/*", Format.TEXT),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Format.TEXT),
        ("application/openmetrics-text", Format.OPENMETRICS),
        ('Application/OpenMetrics-Text; Version="1.0.0"; Charset=UTF-8', Format.OPENMETRICS),
        ("application/openmetrics-text;q=0", Format.TEXT),
        ("application/openmetrics-text;q=0,*/*", Format.TEXT),
        ("application/openmetrics-text;version=0.0.1", Format.TEXT),
        (
            "application/openmetrics-text;version=2.0.0;q=0.9,application/openmetrics-text;version=1.0.0;q=0.1",
            Format.OPENMETRICS,
        ),
        ("application/openmetrics-text;q=0.4,text/plain;q=0.5", Format.TEXT),
        ("application/openmetrics-text;q=0.5,text/plain;q=0.5", Format.OPENMETRICS),
        ("application/openmetrics-text;q=0.5,text/*;q=0.6", Format.TEXT),
        ("application/openmetrics-text;q=0.5,text/plain;q=0.4,*/*;q=0.9", Format.OPENMETRICS),
        ("application/openmetrics-text;q=0.5,text/plain;q=0.9,text/plain;version=0.0.4;q=0.1", Format.OPENMETRICS),
        ("application/openmetrics-text;q=high", Format.TEXT),
        ("application/openmetrics-text;q=7", Format.TEXT),
        ("application/openmetrics-text;q=nan", Format.TEXT),
        (",;q=1,;", Format.TEXT),
    ],
)
def test_format(accept: str | None, expected: Format) -> None:
    """Clients that name OpenMetrics 1.0.0 with at least the weight of plain text get OpenMetrics; others get text."""
    assert expected is negotiate(accept)


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("gzip, deflate, br", True),
        ("deflate, gzip;q=0.5", True),
        ("*", True),
        ("br, *;q=0.1", True),
        ("gzip;q=0.001", True),
        ("gzip;q=1.0, identity;q=0.5", True),
        ("identity;q=0, gzip;q=0.1", True),
        (None, False),
        ("", False),
        ("identity", False),
        ("deflate, br", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("gzip;q=0.2, identity;q=0.8", False),
        ("gzip;q=x", False),
        ("notgzip", False),
    ],
)
def test_encoding(accept_encoding: str | None, expected: bool) -> None:
    """Gzip is sent if accepted by name or by ``*``, with a weight above 0 and not below that of identity."""
    assert expected is accepts_gzip(accept_encoding)


def test_content_types() -> None:
    """The content types are those by which Prometheus chooses its parser."""
    assert "text/plain; version=0.0.4; charset=utf-8" == Format.TEXT.content_type
    assert "application/openmetrics-text; version=1.0.0; charset=utf-8" == Format.OPENMETRICS.content_type
