"""Whether a server answers: ``dify_up``, the log, the breaker."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from structlog.testing import capture_logs

from exporter.config import Polling
from exporter.dify import (
    BadRequest,
    ConnectFailed,
    DecodeFailed,
    DifyError,
    Forbidden,
    NotFound,
    RateLimited,
    SchemaMismatch,
    ServerFailed,
    TimedOut,
    TLSFailed,
    TooLarge,
    Unauthorized,
)
from exporter.polling import BATCH_STATUS, DATASET_SCAN, HEARTBEAT, ServerHealth, Target
from exporter.polling.health import Watched
from exporter.tracking import ServerStatus
from tests.polling.fake_server import RecordingListener

A, B, C, D = (Target(BATCH_STATUS, "one", name) for name in "abcd")
OTHER = Target(BATCH_STATUS, "two", "e")
WATCHED = 5


class Server:
    """A server whose polls are reported at monotonic second 0 unless the test says otherwise."""

    def __init__(self) -> None:
        self.listener = RecordingListener()
        self.health = ServerHealth("main", "http://x/v1", listener=self.listener, polling=Polling(), random=lambda: 0.5)

    def succeed(self, *targets: Target) -> None:
        """Report an answer about each target."""
        for target in targets:
            self.health.succeeded(target, version="1.12.1", now=0.0)

    def fail(self, error: DifyError, *targets: Target, now: float = 0.0, watched: int = WATCHED) -> None:
        """Report the failure for each target. No target of another type can show that the server answers."""
        for target in targets:
            self.health.failed(target, error, version="", now=now, watched=Watched(watched, watched))
            self.health.confirm_outage(self.health.doubted)

    @property
    def blocks(self) -> tuple[bool, bool]:
        """Whether the breaker stops the polls of batches in the dataset that failed, and in another dataset."""
        return tuple(self.health.blocked_until(target, 0.0) is not None for target in (D, OTHER))  # type: ignore[return-value]


@pytest.fixture
def server() -> Server:
    """A server that has answered once."""
    server = Server()
    server.succeed(D)
    return server


def by_dify(error: DifyError) -> DifyError:
    """The same error, answered by Dify itself."""
    error.by_dify = True
    return error


class Row(NamedTuple):
    """What failures lead to.

    ``state``: "up", "down" (``dify_up`` 0) or "out" (logged as an outage, too). ``blocks``: what the breaker stops.
    ``before``: ``dify_up`` as it was when every failure but a refusal set it to 0.
    """

    error: DifyError
    targets: tuple[Target, ...]
    state: str
    blocks: str
    before: bool | None = None


ROWS = {
    "one 500 among answers": Row(ServerFailed("500"), (A,), "up", "nothing", before=False),
    "the same target 500 three times": Row(ServerFailed("500"), (A, A, A), "up", "nothing", before=False),
    "three targets 500": Row(ServerFailed("500"), (A, B, C), "out", "type"),
    "one time-out": Row(TimedOut("late"), (A,), "up", "nothing", before=False),
    "three targets time out": Row(TimedOut("late"), (A, B, C), "out", "type"),
    "one refused connection": Row(ConnectFailed("refused"), (A,), "down", "nothing"),
    "three refused connections": Row(ConnectFailed("refused"), (A, B, C), "out", "type"),
    "a certificate that is not trusted": Row(TLSFailed("expired"), (A,), "down", "nothing"),
    "401": Row(by_dify(Unauthorized("401")), (A,), "out", "type"),
    "403 from Dify": Row(by_dify(Forbidden("403")), (A,), "up", "dataset"),
    "403 from a proxy": Row(Forbidden("403"), (A,), "out", "dataset", before=True),
    "403 from a proxy for three targets": Row(Forbidden("403"), (A, B, C), "out", "type", before=True),
    "429": Row(RateLimited("429"), (A,), "up", "type"),
    "404 from Dify": Row(by_dify(NotFound("404", gone=True)), (A,), "up", "nothing"),
    "404 from a gateway for three targets": Row(NotFound("404"), (A, B, C), "up", "nothing"),
    "400 from Dify": Row(by_dify(BadRequest("400")), (A, B, C), "up", "nothing"),
    "an odd document": Row(by_dify(SchemaMismatch("odd")), (A,), "up", "nothing", before=False),
    "three odd documents": Row(by_dify(SchemaMismatch("odd")), (A, B, C), "up", "nothing", before=False),
    "an answer that is too large": Row(by_dify(TooLarge("17 MiB")), (A,), "up", "nothing", before=False),
    "one HTML page": Row(DecodeFailed("HTML"), (A,), "up", "nothing", before=False),
    "HTML pages for three targets": Row(DecodeFailed("HTML"), (A, B, C), "out", "type"),
}


@pytest.mark.parametrize("name", ROWS)
def test_what_failures_say_about_the_server(server: Server, name: str) -> None:
    """A failing object leaves the server up; a server that does not answer, or refuses the key, is down."""
    row = ROWS[name]
    server.fail(row.error, *row.targets)
    state = "up" if server.health.status.up else "out" if server.health.unavailable else "down"
    blocks = {(False, False): "nothing", (True, False): "dataset", (True, True): "type"}[server.blocks]
    assert (row.state, row.blocks) == (state, blocks)


def test_rows_that_changed_are_marked() -> None:
    """``before`` is noted only where ``dify_up`` differs from what it was."""
    assert all(row.before is not (row.state == "up") for row in ROWS.values())


@pytest.mark.parametrize("error", [ServerFailed("500"), TimedOut("late"), ConnectFailed("refused")])
def test_one_bad_object_among_good_ones(server: Server, error: DifyError) -> None:
    """However often one target fails, answers about others in between keep the server available."""
    with capture_logs() as log:
        for _ in range(5):
            server.fail(error, A, B)
            server.succeed(C)
    assert [] == log
    assert server.health.status.up is True
    assert (False, False) == server.blocks


def test_an_outage_is_one_line_and_its_end_another(server: Server) -> None:
    """One line per reason of an outage, and one when it is over; meanwhile targets have no lines of their own."""
    with capture_logs() as log:
        server.fail(ServerFailed("500"), A, B, C, D)
        server.fail(TimedOut("late"), A, B, now=100.0)
        server.fail(ServerFailed("500"), A, B, now=200.0)
        assert not server.health.is_own_failure(A)
        server.succeed(A, B)
    lines = [(line["event"], line.get("reason")) for line in log]
    expected = [
        ("Dify server unavailable", "server"),
        ("Dify server unavailable", "timeout"),
        ("Dify server available again", None),
    ]
    assert expected == lines


def test_recovery_is_logged_for_a_target_whose_failure_was_logged(server: Server) -> None:
    """A target that failed alone has a line when it recovers; one that failed with the server has none."""
    server.fail(ServerFailed("500"), A)
    assert server.health.is_own_failure(A)
    assert server.health.succeeded(A, version="", now=0.0)
    server.fail(ConnectFailed("refused"), A, B, C)
    assert not server.health.is_own_failure(B)
    assert not server.health.succeeded(B, version="", now=0.0)


def test_fewer_targets_are_enough_where_there_are_fewer() -> None:
    """A server with one watched batch has no third target to wait for."""
    server = Server()
    with capture_logs() as log:
        server.fail(ServerFailed("500"), A, watched=1)
    assert [("Dify server unavailable", "main")] == [(line["event"], line["server"]) for line in log]
    assert server.health.status.up is False


@pytest.mark.parametrize("error", [Unauthorized("x"), RateLimited("x")])
def test_a_refusal_stops_every_target_of_the_type(server: Server, error: DifyError) -> None:
    """A wrong key or a rate limit is the same for all batches; other endpoints are polled."""
    server.fail(error, A, now=100.0)
    assert server.health.blocked_until(Target(DATASET_SCAN, "one", "one"), 100.0) is None
    assert 115.0 == server.health.blocked_until(OTHER, 100.0)
    assert server.health.blocked_until(OTHER, 115.0) is None


def test_each_failed_probe_waits_longer_and_late_answers_do_not_count(server: Server) -> None:
    """Requests under way when the refusal came do not lengthen the wait; a failed probe does."""
    server.fail(Unauthorized("x"), A)
    server.fail(Unauthorized("x"), B, now=1.0)
    assert 15.0 == server.health.blocked_until(A, 1.0)
    server.fail(Unauthorized("x"), A, now=16.0)
    assert 46.0 == server.health.blocked_until(A, 16.0)
    server.succeed(A)
    assert server.health.blocked_until(A, 17.0) is None


def test_retry_after_is_obeyed(server: Server) -> None:
    """The wait that the server asks for counts when it is longer."""
    server.fail(RateLimited("x", retry_after=120.0), A)
    assert 120.0 == server.health.blocked_until(OTHER, 0.0)


def test_an_answer_from_dify_between_time_outs_starts_the_count_again(server: Server) -> None:
    """A 404 of Dify's shows that the server is at work, although it says nothing about the key."""
    server.fail(TimedOut("x"), A, B)
    server.fail(by_dify(NotFound("404", gone=True)), D)
    server.fail(TimedOut("x"), A, B)
    assert (False, False) == server.blocks


@pytest.mark.parametrize("error", [ServerFailed("500"), TimedOut("late")])
def test_a_failed_heartbeat_is_an_outage(server: Server, error: DifyError) -> None:
    """It concerns no object: a server of which one target is polled is known to be down at once."""
    server.fail(error, A, now=100.0)
    assert server.health.needs_heartbeat(100.0)
    server.fail(error, Target(HEARTBEAT, "one", ""), now=100.0)
    assert server.health.status.up is False
    assert error.reason == server.health.unavailable
    server.fail(error, B, now=100.0)
    assert server.health.blocked_until(OTHER, 100.0) == 115.0
    assert not server.health.needs_heartbeat(200.0)


def test_a_heartbeat_is_needed_only_when_nothing_was_answered_for_a_while(server: Server) -> None:
    """Recent answers about other targets tell as much; without a failure there is nothing to tell."""
    assert not server.health.needs_heartbeat(100.0)
    server.fail(ServerFailed("500"), A, now=59.0)
    assert not server.health.needs_heartbeat(59.0)
    assert server.health.needs_heartbeat(60.0)
    server.health.succeeded(B, version="", now=60.0)
    assert not server.health.needs_heartbeat(200.0)


def test_a_gateway_that_refuses_the_heartbeat_is_no_outage(server: Server) -> None:
    """It may let only the documented endpoints through: a target of another type is polled before it is an outage."""
    heartbeat = Target(HEARTBEAT, "one", "")
    with capture_logs() as log:
        server.health.failed(heartbeat, Forbidden("403"), version="", now=100.0, watched=Watched(WATCHED, WATCHED))
        assert {HEARTBEAT} == server.health.doubted
        server.succeed(D)
        server.health.confirm_outage(frozenset({HEARTBEAT}))
    assert [] == log
    assert server.health.status.up is True


def test_the_version_stays_when_an_answer_has_none(server: Server) -> None:
    """A failure without a version keeps the version."""
    server.fail(ConnectFailed("x"), A)
    assert ServerStatus("main", "http://x/v1", "1.12.1", up=False) == server.health.status
    assert [server.health.status] == server.listener.of(ServerStatus)


def test_a_new_configuration_is_tried_at_once(server: Server) -> None:
    """Another key or URL may be accepted: the breaker of the former one is closed."""
    server.fail(Unauthorized("x"), A)
    server.health.reconfigure("http://y/v1", Polling())
    assert (False, False) == server.blocks
    assert "http://y/v1" == server.health.status.url


def test_a_closed_server_has_no_series(server: Server) -> None:
    """Late reports about a server that left the configuration reach nobody."""
    server.health.close()
    server.succeed(A)
    assert [] == server.listener.of(ServerStatus)


def test_why_a_target_is_not_read(server: Server) -> None:
    """Its own failure first, then that of its dataset or of the server."""
    server.fail(by_dify(Forbidden("API access is off")), A)
    assert "API access is off" == server.health.problem(A)
    assert "API access is off" == server.health.problem(B)
    assert "" == server.health.problem(OTHER)
    server.fail(Unauthorized("key refused"), Target(DATASET_SCAN, "two", "two"))
    assert "unauthorized" == server.health.problem(OTHER)
    assert {"forbidden", "unauthorized"} == server.health.failure_reasons()
