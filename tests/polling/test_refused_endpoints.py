"""One endpoint that fails, in every way and for any time, beside others that answer."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

import pytest

from exporter.config import DatasetConfig
from exporter.dify import (
    BadRequest,
    DecodeFailed,
    DifyError,
    Forbidden,
    NotFound,
    RateLimited,
    ServerFailed,
    TimedOut,
    Unauthorized,
)
from exporter.tracking import ServerStatus
from tests.polling.discovery_server import discovering, listed
from tests.polling.fake_server import DATASET, PollerHarness, item

if TYPE_CHECKING:
    from collections.abc import Callable

BATCHES = tuple(f"2026112109300010000{number}" for number in range(10))
FOUND = "5f1d9a2e-6c0b-4d5e-9a43-000000000001"

TEN_MINUTES = 590.0
HALF_AN_HOUR = 1_800.0

MOST_REQUESTS = 20
"""Requests in half an hour to an endpoint that fails: three, then one per backoff of 15, 30, … 300 s; heartbeats."""

PER_OBJECT = frozenset({"400", "404 of a gateway", "405"})
"""Failures that may concern one object each: each is requested again after its own backoff."""

ENDPOINTS = ("document", "segments", "documents", "dataset", "datasets", "batch")


def failures() -> dict[str, Callable[[], DifyError]]:
    """Every way in which an endpoint may fail."""
    return {
        "400": lambda: BadRequest("400", status=400, by_dify=True),
        "401": lambda: Unauthorized("401", status=401, by_dify=True),
        "401 of a gateway": lambda: Unauthorized("401", status=401),
        "403": lambda: Forbidden("403", status=403, by_dify=True),
        "403 of a gateway": lambda: Forbidden("403", status=403),
        "404 of a gateway": lambda: NotFound("404"),
        "405": lambda: NotFound("405", status=405, by_dify=True),
        "429": lambda: RateLimited("429", status=429),
        "429 with Retry-After": lambda: RateLimited("429", status=429, retry_after=100.0),
        "500": lambda: ServerFailed("500", status=500),
        "501": lambda: ServerFailed("501", status=501),
        "time-out": lambda: TimedOut("late"),
        "200 with HTML": lambda: DecodeFailed("HTML", status=200),
    }


class Run(NamedTuple):
    """What happened in half an hour: the requests by endpoint, and every value of ``dify_up``."""

    harness: PollerHarness
    requests: dict[str, int]
    up: list[bool | None]


def run(endpoint: str = "", error: Callable[[], DifyError] | None = None, *, lasts: float = 0.0) -> Run:
    """Half an hour in which ``endpoint`` fails until second ``lasts``; 0: once. Half of the batches have finished."""
    harness = discovering(DatasetConfig(DATASET, batches=BATCHES))
    client = harness.client
    errors = [] if error is None else [error]

    def move(_: str = "") -> None:
        done = int(harness.clock.monotonic())
        client.segments[FOUND] = done
        for name in BATCHES[:5]:
            client.batches[name] = [item(f"d{name}", "indexing", done, 10_000)]

    def refuse(asked: str) -> None:
        if asked == endpoint and errors and harness.clock.monotonic() <= lasts:
            found = errors[0] if lasts else errors.pop()
            raise found()

    move()
    client.batches |= {name: [item(f"d{name}", "completed", 9, 9)] for name in BATCHES[5:]}
    client.listed = {DATASET: [listed(FOUND, "indexing", "indexing")]}
    client.before_answer = move
    client.refuse = refuse
    harness.poll()
    harness.pass_time(HALF_AN_HOUR, tick=5.0)
    changes = [new for call in harness.listener.calls for _, new in call]
    up = [new.up for new in changes if isinstance(new, ServerStatus)]
    return Run(harness, {kind: client.count(kind) for kind in ENDPOINTS}, up)


@pytest.fixture(scope="module")
def healthy() -> dict[str, int]:
    """The requests by endpoint when nothing fails."""
    return run().requests


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("name", failures())
@pytest.mark.parametrize("lasts", [0.0, TEN_MINUTES, inf], ids=["once", "ten minutes", "for ever"])
def test_an_endpoint_that_fails_stops_no_other(healthy: dict[str, int], endpoint: str, name: str, lasts: float) -> None:
    """Batches are read at their usual interval, ``dify_up`` stays 1, and what fails is requested rarely."""
    harness, requests, up = run(endpoint, failures()[name], lasts=lasts)
    assert up[up.index(True) :] == [True]
    assert False not in up
    if endpoint != "batch":
        assert abs(requests["batch"] - healthy["batch"]) <= len(BATCHES)
    if lasts == inf:
        assert requests[endpoint] <= MOST_REQUESTS * (len(BATCHES) if name in PER_OBJECT else 1)
    else:
        assert all(status.success for status in harness.statuses.all().values())
        assert all(document.detail for document in harness.store.documents)
        found = harness.store.document(DATASET, FOUND)
        assert found is not None
        assert found.progress.completed_segments
