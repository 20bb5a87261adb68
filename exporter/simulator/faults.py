"""Faults on demand: which ones are active, and how they change an answer."""

from __future__ import annotations

import gzip
import io
import re
import threading
from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from exporter.simulator.documents import stable_id

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from exporter.simulator.scenario import Fault

JSON = "application/json"
HTML = "text/html; charset=utf-8"
_CHUNK = 65_536

_DATASETS = ("datasets", "dataset")
"""The endpoints that need the plugin daemon, and that fail without Redis."""

_REDIS_RETRIES, _REDIS_GIVEN_UP = 30.0, 45.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a response is sent.

    ``delay``: seconds before it; ``drip``: seconds between bytes; ``cut``: where the connection ends; ``length``: the
    length to announce instead of the real one; ``filler``: bytes to stream after the body; ``interim``: the status of
    an interim response before it, 0 for none.
    """

    delay: float = 0.0
    drip: float = 0.0
    cut: Literal["", "before", "headers", "body"] = ""
    length: int | None = None
    filler: int = 0
    interim: int = 0


@dataclass(frozen=True, slots=True)
class Response:
    """A response. ``headers`` lacks only length, date and connection."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    delivery: Delivery = field(default_factory=Delivery)

    def header(self, name: str) -> str | None:
        """The value of a header, or None."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class Faults:
    """The faults that were added. Thread-safe."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._lock = threading.Lock()
        self._faults: list[tuple[Fault, list[int]]] = []
        for fault in faults:
            self.add(fault)

    def add(self, fault: Fault) -> None:
        """Add a fault."""
        with self._lock:
            self._faults.append((fault, [0]))

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()

    def used(self) -> list[tuple[Fault, int]]:
        """The faults with the number of answers that each has changed."""
        with self._lock:
            return [(fault, used[0]) for fault, used in self._faults]

    def list(self) -> list[Fault]:
        """The faults that are not used up."""
        return [fault for fault, used in self.used() if fault.times is None or used < fault.times]

    def use(self, endpoint: str, ids: Collection[str], elapsed: float) -> tuple[Fault, ...]:
        """The faults for an answer about ``ids``, ``elapsed`` seconds after the start. Each one counts as used."""
        if not self._faults:
            return ()
        with self._lock:
            found = [
                (fault, used)
                for fault, used in self._faults
                if fault.endpoint in ("*", endpoint)
                and (not fault.id or fault.id in ids)
                and fault.begins <= elapsed < (inf if fault.ends is None else fault.ends)
                and (fault.times is None or used[0] < fault.times)
                and (endpoint in _DATASETS or fault.kind != "plugin_down")
            ]
            for _, used in found:
                used[0] += 1
            return tuple(fault for fault, _ in found)


def apply(fault: Fault, response: Response, endpoint: str) -> Response:
    """The response of ``endpoint`` as changed by a fault."""
    if fault.kind == "redis_down":
        return _without_redis(response, fault, endpoint)
    return _EFFECTS[fault.kind](response, fault)


def _without_redis(response: Response, fault: Fault, endpoint: str) -> Response:
    """Dify retries with back-off: documents are answered 21 to 39 s late, datasets with 500 after 37 to 54 s."""
    if endpoint not in _DATASETS:
        return _with_delivery(response, delay=response.delivery.delay + _REDIS_RETRIES * fault.seconds)
    failed = _EFFECTS["postgres_down"](response, fault)
    return _with_delivery(failed, delay=response.delivery.delay + _REDIS_GIVEN_UP * fault.seconds)


def _with_content(response: Response, status: int, kind: str, body: bytes) -> Response:
    """A response with other content but the same headers, except for the content type."""
    others = tuple(pair for pair in response.headers if pair[0] not in ("Content-Type", "WWW-Authenticate"))
    return Response(status, (("Content-Type", kind), *others), body, response.delivery)


def _with_delivery(response: Response, **settings: Any) -> Response:
    return replace(response, delivery=replace(response.delivery, **settings))


def _status(response: Response, fault: Fault) -> Response:
    answer = _with_content(response, fault.status or 503, fault.headers.get("Content-Type", JSON), fault.body.encode())
    more = tuple(pair for pair in fault.headers.items() if pair[0] != "Content-Type")
    return replace(answer, headers=(*answer.headers, *more))


def _html(response: Response, fault: Fault) -> Response:
    status = fault.status or 200
    page = fault.body or f"<html><head><title>{status}</title></head><body><center>nginx</center></body></html>\n"
    return Response(status, (("Content-Type", HTML), ("Server", "nginx")), page.encode(), response.delivery)


def _redirect(response: Response, fault: Fault) -> Response:
    return Response(fault.status or 302, (("Location", fault.location), ("Content-Type", HTML)), b"", response.delivery)


def _gzip_bomb(response: Response, fault: Fault) -> Response:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=9, mtime=0) as stream:
        for start in range(0, fault.size, _CHUNK):
            stream.write(b" " * min(_CHUNK, fault.size - start))
    return replace(response, headers=(*response.headers, ("Content-Encoding", "gzip")), body=packed.getvalue())


def _field(response: Response, fault: Fault) -> Response:
    """The response with another value in each field of that name. Objects and lists are not replaced."""
    pattern = rf'("{re.escape(fault.field)}":\s*)(?:"(?:[^"\\]|\\.)*"|[^\s"\[\]{{}},]+)'.encode()
    return replace(response, body=re.sub(pattern, lambda found: found[1] + fault.body.encode(), response.body))


def _error(status: int, code: str, message: str) -> Callable[[Response, Fault], Response]:
    body = msgspec.json.encode({"code": code, "message": message, "status": status})
    return lambda response, _fault: _with_content(response, status, JSON, body)


_EFFECTS: dict[str, Callable[[Response, Fault], Response]] = {
    "status": _status,
    "json": lambda response, fault: _with_content(response, fault.status or 200, JSON, fault.body.encode()),
    "html": _html,
    "empty": lambda response, _fault: replace(response, status=200, body=b""),
    "redirect": _redirect,
    "delay": lambda response, fault: _with_delivery(response, delay=response.delivery.delay + fault.seconds),
    "drip": lambda response, fault: _with_delivery(response, drip=fault.seconds),
    "cut": lambda response, fault: _with_delivery(response, cut=fault.where),
    "truncated": lambda response, _fault: replace(response, body=response.body[: len(response.body) // 2]),
    "huge": lambda response, fault: _with_delivery(response, filler=max(fault.size - len(response.body), 0)),
    "gzip_bomb": _gzip_bomb,
    "length": lambda response, fault: _with_delivery(response, length=fault.size),
    "interim": lambda response, fault: _with_delivery(response, interim=fault.status or 103),
    "field": _field,
    "plugin_down": _error(
        400, "invalid_param", f"Failed to request plugin daemon, url: plugin/{stable_id('workspace')}/management/models"
    ),
    "postgres_down": _error(500, "unknown", "Internal Server Error"),
}
