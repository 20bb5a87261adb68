"""Server availability, as logged."""

from __future__ import annotations

from structlog.testing import capture_logs

from exporter.dify import ServerFailed, TimedOut, Unauthorized
from exporter.polling.service import Service
from exporter.tracking.targets import Target

TARGETS = [Target("batch", "d", str(number)) for number in range(4)]
FAILED = ServerFailed("500")


def test_one_target_that_fails_alone_is_not_the_server() -> None:
    """A single failing target does not make the server unavailable while other targets are answered."""
    service = Service("main")
    with capture_logs() as log:
        for _ in range(5):
            service.fails(TARGETS[0], FAILED, 4)
            service.answers()
    assert [] == log
    assert "" == service.trouble


def test_three_targets_in_a_row_are_the_server() -> None:
    """An outage is logged once per reason, and its end once."""
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
    """With fewer than three targets, all of them have to fail."""
    service = Service("main")
    with capture_logs() as log:
        service.fails(TARGETS[0], FAILED, 1)
    assert [("Dify server unavailable", "main")] == [(line["event"], line["server"]) for line in log]


def test_a_refused_key_is_the_server() -> None:
    """A rejected key makes the server unavailable immediately."""
    service = Service("main")
    with capture_logs() as log:
        service.fails(TARGETS[0], Unauthorized("401"), 4)
    assert ["unauthorized"] == [line["reason"] for line in log]
