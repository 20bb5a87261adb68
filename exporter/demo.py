"""The embedded Dify of ``demo`` and ``simulate``, and a configuration that shows all of it within a minute."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from exporter.clock import SystemClock
from exporter.config import Config, Polling, StallLimits, StateConfig, parse_listen_address
from exporter.simulator import Api, SimulatorServer, World, server_config
from exporter.web import ListenError
from exporter.yamlconf import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exporter.simulator import Scenario

POLLING = Polling(
    interval=2.0, max_interval=5.0, settled_interval=10.0, max_settled_interval=20.0, detail_interval=30.0
)

STALL = StallLimits(after=30.0, queued_after=40.0)

REQUESTS_PER_SECOND = 50.0


def watching(scenario: Scenario, url: str) -> Config:
    """A configuration that watches everything in ``scenario``, served at ``url``, and stores no state."""
    server = replace(server_config(scenario, url), requests_per_second=REQUESTS_PER_SECOND)
    return Config(servers=(server,), polling=POLLING, stall=STALL, state=StateConfig(None))


@contextmanager
def embedded(scenario: Scenario, listen: str) -> Iterator[SimulatorServer]:
    """An embedded Dify that serves requests for the duration of the context. ListenError if it cannot listen."""
    try:
        address = parse_listen_address(listen)
        dify = SimulatorServer(Api(World(scenario, SystemClock())), address.host or "127.0.0.1", address.port)
        dify.start()
    except Invalid as error:
        raise ListenError(f"cannot listen on {listen!r}: it {error}") from error
    except OSError as error:
        raise ListenError(f"cannot serve the embedded Dify on {listen}: {error.strerror or error}") from error
    try:
        yield dify
    finally:
        dify.stop()


def greeting(url: str) -> Callable[[int], str]:
    """The text to print once the port is known."""
    return lambda port: (
        f"\n  An embedded Dify is indexing documents at {url}, and this exporter polls it.\n\n"
        f"    http://127.0.0.1:{port}/          landing page\n"
        f"    http://127.0.0.1:{port}/metrics   metrics for Prometheus\n\n"
        f"    curl -s http://127.0.0.1:{port}/metrics | grep dify_batch_segments\n"
        f"    curl -s http://127.0.0.1:{port}/metrics | grep 'stalled.* 1$'      within a minute\n\n"
        "  Press Ctrl-C to stop.\n"
    )
