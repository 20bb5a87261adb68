"""How close polling comes to the limit set by the server's latency, and its CPU time, compared with a plain loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from prometheus_client import CollectorRegistry, Gauge

from bench.dify import KEY, LATENCY, export, serve
from bench.knowledge import BATCH_SIZE, batch_id, dataset_id
from bench.results import Row, middle, seconds, show
from bench.side import side
from exporter.tracking import STATUSES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bench.side import Cost, Side

CONCURRENCY = 32
SLOWEST = 1.10
DEAREST = 0.001
"""CPU seconds per poll."""

_TIMES = ("processing_started_at", "parsing_completed_at", "splitting_completed_at", "completed_at")
_COUNTS = ("completed_segments", "total_segments")
_IDENTITY = ("dataset_id", "batch", "document_id")


def loop(url: str, batches: int) -> Mapping[str, Callable[[], Any]]:
    """The plain loop: one request after another, labelled gauges."""
    registry = CollectorRegistry()
    states = Gauge("dify_document_indexing_status", "Status.", (*_IDENTITY, "status"), registry=registry)
    values = {name: Gauge(f"dify_document_{name}", name, _IDENTITY, registry=registry) for name in (*_TIMES, *_COUNTS)}

    def cycle() -> None:
        for number in range(batches):
            dataset, batch = dataset_id(number), batch_id(number)
            answer = requests.get(
                f"{url}/datasets/{dataset}/documents/{batch}/indexing-status",
                headers={"Authorization": f"Bearer {KEY}"},
                timeout=10,
            )
            answer.raise_for_status()
            for item in answer.json()["data"]:
                identity = (dataset, batch, item["id"])
                for status in STATUSES:
                    states.labels(*identity, status).set(item["indexing_status"] == status)
                for name, gauge in values.items():
                    if item[name] is not None:
                        gauge.labels(*identity).set(item[name])

    return {"cycle": cycle}


def bare(url: str, batches: int) -> Mapping[str, Callable[[], Any]]:
    """A client that only sends and reads, on as many connections: the limit of server and machine."""
    parts = urlsplit(url)

    async def connection(numbers: Iterator[int]) -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        for number in numbers:
            path = f"{parts.path}/datasets/{dataset_id(number)}/documents/{batch_id(number)}/indexing-status"
            writer.write(f"GET {path} HTTP/1.1\r\nHost: dify\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            _, _, length = head.lower().partition(b"content-length:")
            await reader.readexactly(int(length.split(b"\r\n")[0]))
        writer.close()

    async def cycle() -> None:
        numbers = iter(range(batches))
        await asyncio.gather(*(connection(numbers) for _ in range(CONCURRENCY)))

    return {"cycle": lambda: asyncio.run(cycle())}


def measure(batches: int = 1_000, rounds: int = 5, slice_: int = 50) -> list[Row]:
    """Two rows: the first cycle, with the details of all documents, and a later one. The loop polls only a subset."""
    firsts: list[tuple[Cost, int]] = []
    laters: list[tuple[Cost, int]] = []
    plain: list[Cost] = []
    bounds: list[float] = []
    with side(serve, batches) as dify:
        dify.ask("make")
        url = dify.ask("url").value
        with (
            side(export, url, batches, CONCURRENCY) as ours,
            side(loop, url, slice_) as other,
            side(bare, url, batches) as least,
        ):
            for each in (ours, other, least):
                each.ask("make")
            firsts.append(_counted(dify, ours, "first"))
            for _ in range(rounds):
                completed = dify.ask("move").value
                plain.append(other.ask("cycle"))
                bounds.append(least.ask("cycle").wall)
                laters.append(_counted(dify, ours, "again"))
                if (seen := ours.ask("completed").value) != completed:
                    raise RuntimeError(f"{completed} segments are completed, but the exporter has seen {seen}")
    whole = middle([cost.wall for cost in plain]) / slice_ * batches
    cpu = middle([cost.cpu for cost in plain]) / slice_
    bound = middle(bounds) / batches
    loop_ = f"; plain loop {seconds(whole)}, CPU {seconds(cpu)} per poll (from {slice_} batches)"
    size = f"{batches:,} batches × {BATCH_SIZE} documents"
    return [
        _row(f"first poll of {size}, with every detail", firsts, bound, ""),
        _row(f"poll of {size}, all of them changed", laters, bound, loop_),
    ]


def _counted(dify: Side, ours: Side, command: str) -> tuple[Cost, int]:
    before = dify.ask("requests").value
    cost = ours.ask(command)
    return cost, dify.ask("requests").value - before


def _row(what: str, found: list[tuple[Cost, int]], bound: float, more: str) -> Row:
    """``bound``: seconds per request of a client that only sends and reads."""
    wall = middle([cost.wall for cost, _ in found])
    count = found[0][1]
    floor = count / CONCURRENCY * LATENCY
    cpu = middle([cost.cpu / count for cost, count in found])
    other = f"floor {seconds(floor)}; a client that only sends and reads {seconds(bound * count)}{more}"
    return Row(
        f"{what}: {count:,} requests, the server takes {seconds(LATENCY)}, concurrency {CONCURRENCY}",
        f"{seconds(wall)}, CPU {seconds(cpu)} per poll",
        other,
        f"{wall / floor:.3f} × floor, CPU {seconds(cpu)} per poll",
        f"≤ {SLOWEST:.2f} × floor, CPU ≤ {seconds(DEAREST)} per poll",
        wall <= SLOWEST * floor and cpu <= DEAREST,
    )


if __name__ == "__main__":
    show(measure())
