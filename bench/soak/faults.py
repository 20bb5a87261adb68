"""The faults of the misbehaving server, and the order in which they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from exporter.simulator import Fault

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from random import Random

LONGEST_FAULT: Final = 4.0
"""Seconds. Between two rounds of faults, the exporter, whose backoff is about ten seconds, reads everything once."""

ANY: Final = ("*", "*", "indexing-status", "document", "documents", "datasets")
FIRST_GROUP: Final = 6
LOOKUPS: Final = ("dataset", "documents", "datasets")
"""Endpoints that a gateway hides while the two documented ones answer."""

_FORBIDDEN: Final = '{"code": "forbidden", "message": "No permission.", "status": 403}'
_NOT_FOUND: Final = '{"code": "not_found", "message": "Dataset not found.", "status": 404}'
_UNAUTHORIZED: Final = '{"code": "unauthorized", "message": "Access token is invalid", "status": 401}'
_ODD_VALUE: Final = (
    '{"code": "invalid_param", "message": "\'weird\' is not a valid DocumentCreatedFrom", "status": 400}'
)


class Trouble(NamedTuple):
    """A kind of fault, and the endpoints that it may concern. ``times``: the number of answers, None: all."""

    settings: dict[str, Any]
    endpoints: tuple[str, ...] = ANY
    times: int | None = None

    def draw(self, random: Random, taken: Collection[str] = ()) -> Fault:
        """The fault on one of its endpoints, if possible none that is ``taken``."""
        endpoint = random.choice([each for each in self.endpoints if each not in taken] or self.endpoints)
        settings: dict[str, Any] = {"endpoint": endpoint, "times": self.times, **self.settings}
        return Fault(**settings)


def _status(status: int, body: str = "", **headers: str) -> dict[str, Any]:
    return {
        "kind": "status",
        "status": status,
        "body": body,
        "headers": {k.replace("_", "-"): v for k, v in headers.items()},
    }


LARGE: Final = tuple(
    Trouble({"kind": kind, "size": 40_000_000, "times": 3}, ("*", "indexing-status", "documents"))
    for kind in ("huge", "gzip_bomb")
)
"""The largest answers, which come first, so that their memory is part of the warm-up."""

SERVER: Final = (
    Trouble(_status(500, '{"message": "Internal Server Error", "code": "unknown", "status": 500}')),
    Trouble(_status(503)),
    Trouble(_status(429, Retry_After="1")),
    Trouble(_status(503, Retry_After="2")),
    Trouble(_status(401, _UNAUTHORIZED)),
    Trouble(_status(403, _FORBIDDEN)),
    Trouble({"kind": "html", "status": 404}),
    Trouble({"kind": "html", "status": 502}),
    Trouble({"kind": "html"}),
    Trouble({"kind": "json", "body": '{"data": 5}'}),
    Trouble({"kind": "json", "body": '{"data": [{"id": null}], "total": 1e400}'}),
    Trouble({"kind": "empty"}),
    Trouble({"kind": "redirect"}),
    Trouble({"kind": "delay", "seconds": 3.0}),
    Trouble({"kind": "delay", "seconds": 0.5}),
    Trouble({"kind": "drip", "seconds": 0.5}),
    Trouble({"kind": "cut", "where": "before"}),
    Trouble({"kind": "cut", "where": "headers"}),
    Trouble({"kind": "cut", "where": "body"}),
    Trouble({"kind": "truncated"}),
    Trouble({"kind": "length", "size": 100_000}),
    Trouble({"kind": "plugin_down"}, ("*", "datasets", "dataset")),
    Trouble({"kind": "postgres_down"}),
    Trouble({"kind": "redis_down", "seconds": 0.05}, ("*", "datasets", "documents")),
)
"""Faults of the whole server, or of any endpoint."""

PARTIAL: Final = (
    *(Trouble(_status(404, _NOT_FOUND), (endpoint,)) for endpoint in LOOKUPS),
    *(Trouble({"kind": "html", "status": 404}, (endpoint,)) for endpoint in LOOKUPS),
    *(Trouble(_status(status), LOOKUPS) for status in (405, 501)),
    *(Trouble(_status(status, _FORBIDDEN if status == 403 else ""), ("document",)) for status in (403, 404, 429)),
    Trouble(_status(401, _UNAUTHORIZED), ("document",)),
    *(Trouble(_status(status), ("segments",)) for status in (401, 403, 404, 501)),
    Trouble(_status(403, _FORBIDDEN), ("documents",)),
    Trouble(_status(500), ("indexing-status",)),
    Trouble(_status(404, _NOT_FOUND), ("indexing-status",), times=1),
    Trouble(_status(404, _NOT_FOUND), ("indexing-status",)),
    Trouble(_status(400, _ODD_VALUE), ("documents",)),
    Trouble(_status(400, _ODD_VALUE), ("indexing-status", "document")),
)
"""Faults of one endpoint while the others answer."""

ODD: Final = (
    *(Trouble({"kind": "interim", "status": status}) for status in (102, 103)),
    *(
        Trouble({"kind": "field", "field": name, "body": body}, ("*",))
        for name, body in (
            ("total_segments", "1.7e308"),
            ("completed_segments", "1e400"),
            ("processing_started_at", "1.7e308"),
            ("completed_at", "-1e300"),
            ("splitting_completed_at", "9" * 300),
            ("stopped_at", "true"),
            ("tokens", "-5"),
            ("word_count", "1.7e308"),
            ("indexing_latency", "1e300"),
            ("chunk_overlap", '"50"'),
            ("created_at", "1e300"),
            ("updated_at", '"yesterday"'),
            ("total", "1.7e308"),
            ("position", "1e400"),
            ("error", "7"),
            ("name", "{}"),
        )
    ),
)
"""Odd answers that are none of the server's failures."""

ALL: Final = (*LARGE, *SERVER, *PARTIAL, *ODD)


def rounds(random: Random) -> Iterator[list[Fault]]:
    """Endless rounds of faults that are active together; every fault comes once before one comes again.

    At first, ``FIRST_GROUP`` come together, each on one endpoint, so that a short run has every one of them. Later they
    come in threes, and in every second cycle a fault that may concern the whole server is alone.
    """
    yield from ([each.draw(random)] for each in LARGE)
    yield from _cycle(random, [*SERVER, *PARTIAL, *ODD], FIRST_GROUP)
    while True:
        yield from _cycle(random, [*PARTIAL, *ODD], 3, alone=SERVER)
        yield from _cycle(random, [*SERVER, *PARTIAL, *ODD], 3)


def _cycle(
    random: Random, together: list[Trouble], size: int, *, alone: Sequence[Trouble] = ()
) -> Iterator[list[Fault]]:
    """Every fault once, in random order; those of ``together`` in groups of ``size``."""
    random.shuffle(together)
    groups = [together[start : start + size] for start in range(0, len(together), size)] + [[each] for each in alone]
    for group in random.sample(groups, len(groups)):
        faults: list[Fault] = []
        for each in group:
            taken = {"*", *(fault.endpoint for fault in faults)} if len(group) > 1 else ()
            faults.append(each.draw(random, taken))
        yield faults


def name_of(fault: Fault) -> str:
    """What is wrong, wherever it is."""
    details = (str(fault.status or ""), fault.where if fault.kind == "cut" else "", fault.field, fault.body[:24])
    return " ".join(filter(None, (fault.kind, *details)))


def describe(fault: Fault) -> str:
    """What is wrong and where."""
    return f"{name_of(fault)} on {fault.endpoint}"
