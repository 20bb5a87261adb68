"""Hundreds of clients, fast ones and ones that never finish."""

from __future__ import annotations

import contextlib
import socket
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from exporter.clock import SystemClock
from exporter.simulator import Api, SimulatorServer, World, dataset_configs, demo_scenario
from tests.faults.page import MAIN, Page
from tests.integration.harness import get, until

if TYPE_CHECKING:
    from tests.faults.conftest import Launch

SLOW = 500


def test_200_scrapes_at_once_while_all_batches_change(launch: Launch) -> None:
    """Every scrape returns a complete, valid page; polling continues."""
    scenario = demo_scenario()
    with SimulatorServer(Api(World(scenario, SystemClock(), speed=20)), connections=None) as dify:
        program = launch(
            server={"url": dify.url, "concurrency": 8}, key=scenario.key, datasets=dataset_configs(scenario)
        )
        port = program.port()
        until(lambda: get(port, "/-/ready").status == 200)
        with ThreadPoolExecutor(50) as crowd:
            answers = list(crowd.map(lambda _: get(port, "/metrics"), range(200)))
        assert [200] * 200 == [answer.status for answer in answers]
        assert len({answer.body for answer in answers}) > 1
        for answer in answers[::20]:
            assert len(list(text_string_to_metric_families(answer.body.decode()))) > 50
        polls = Page.of(port).polls(MAIN)
        until(lambda: Page.of(port).polls(MAIN) > polls)
        assert "Traceback" not in program.log
        assert 0 == program.stop()


def test_500_clients_that_never_finish(launch: Launch) -> None:
    """Half never end their request, half never read their answer: another scrape still takes less than a second."""
    program = launch()
    port = program.port()
    until(lambda: Page.of(port).is_known(MAIN))
    with contextlib.ExitStack() as held:
        for number in range(SLOW):
            sock = held.enter_context(contextlib.closing(socket.socket()))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            sock.connect(("127.0.0.1", port))
            end = "\r\n" if number % 2 else ""
            sock.sendall(f"GET /metrics HTTP/1.1\r\nHost: slow\r\n{end}".encode())
        until(lambda: get(port, "/metrics").status == 200)  # behind all of them in the accept queue
        seconds: list[float] = []
        for _ in range(5):
            started = time.monotonic()
            assert 200 == get(port, "/metrics").status
            seconds.append(time.monotonic() - started)
        assert statistics.median(seconds) < 1.0
        assert max(seconds) < 5.0  # on a busy machine too; one that waited for a slow client would take 10 s
        polls = Page.of(port).polls(MAIN)
        until(lambda: Page.of(port).polls(MAIN) >= polls + 2)
        assert "Traceback" not in program.log
    assert 0 == program.stop()
