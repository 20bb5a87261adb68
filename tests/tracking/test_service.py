"""Whether a server serves at all, as its log tells it."""

from __future__ import annotations

from structlog.testing import capture_logs

from exporter.dify import ServerFailed, TimedOut, Unauthorized
from exporter.tracking.service import Service
from exporter.tracking.targets import Target

TARGETS = [Target("batch", "d", str(number)) for number in range(4)]
FAILED = ServerFailed("500")


def test_one_target_that_fails_alone_is_not_the_server() -> None:
    """However often: between its failures the server answers others."""
    service = Service("main")
    with capture_logs() as log:
        for _ in range(5):
            service.fails(TARGETS[0], FAILED, 4)
            service.answers()
    assert [] == log
    assert "" == service.trouble


def test_three_targets_in_a_row_are_the_server() -> None:
    """Told once for each reason of an outage, and once when it is over."""
    service = Service("main")
    with capture_logs() as log:
        for target in TARGETS * 2:
            service.fails(target, FAILED, 4)
            service.fails(target, TimedOut("late"), 4)
        assert "timeout" == service.trouble
        service.answers()
        service.answers()
    told = [(line["event"], line.get("reason")) for line in log]
    expected = [
        ("Dify server unavailable", "server"),
        ("Dify server unavailable", "timeout"),
        ("Dify server available again", None),
    ]
    assert expected == told


def test_all_targets_are_the_server_when_there_are_fewer() -> None:
    """A server of which one batch is watched has no third target to wait for."""
    service = Service("main")
    with capture_logs() as log:
        service.fails(TARGETS[0], FAILED, 1)
    assert [("Dify server unavailable", "main")] == [(line["event"], line["server"]) for line in log]


def test_a_refused_key_is_the_server() -> None:
    """No other target will fare better."""
    service = Service("main")
    with capture_logs() as log:
        service.fails(TARGETS[0], Unauthorized("401"), 4)
    assert ["unauthorized"] == [line["reason"] for line in log]
