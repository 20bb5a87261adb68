"""Faults on demand: which ones are active, and how they change an answer."""

from __future__ import annotations

import gzip
import io
import threading
from dataclasses import dataclass, field
from dataclasses import replace as changed
from math import inf
from typing import TYPE_CHECKING, Literal

import msgspec

from exporter.simulator.documents import stable_id

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from exporter.simulator.scenario import Fault

JSON = "application/json"
HTML = "text/html; charset=utf-8"
_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a response is sent.

    ``delay``: seconds before it; ``drip``: seconds between bytes; ``cut``: where the connection ends; ``length``: the
    length to announce instead of the real one; ``filler``: bytes to stream after the body.
    """

    delay: float = 0.0
    drip: float = 0.0
    cut: Literal["", "before", "headers", "body"] = ""
    length: int | None = None
    filler: int = 0


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

    def list(self) -> list[Fault]:
        """The faults that are not used up."""
        with self._lock:
            return [fault for fault, used in self._faults if fault.times is None or used[0] < fault.times]

    def hold(self, endpoint: str, ids: Collection[str], elapsed: float) -> tuple[Fault, ...]:
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
                and (endpoint in ("datasets", "dataset") or fault.kind not in ("plugin_down", "redis_down"))
            ]
            for _, used in found:
                used[0] += 1
            return tuple(fault for fault, _ in found)


def spoil(response: Response, fault: Fault) -> Response:
    """The response as changed by a fault."""
    return _EFFECTS[fault.kind](response, fault)


def _answered(response: Response, status: int, kind: str, body: bytes) -> Response:
    """A response with other content but the same headers, except for the content type."""
    kept = tuple(pair for pair in response.headers if pair[0] not in ("Content-Type", "WWW-Authenticate"))
    return Response(status, (("Content-Type", kind), *kept), body, response.delivery)


def _error(response: Response, status: int, code: str, message: str) -> Response:
    body = msgspec.json.encode({"code": code, "message": message, "status": status})
    return _answered(response, status, JSON, body)


def _status(response: Response, fault: Fault) -> Response:
    answer = _answered(response, fault.status or 503, fault.headers.get("Content-Type", JSON), fault.body.encode())
    own = tuple(pair for pair in fault.headers.items() if pair[0] != "Content-Type")
    return changed(answer, headers=(*answer.headers, *own))


def _json(response: Response, fault: Fault) -> Response:
    return _answered(response, fault.status or 200, JSON, fault.body.encode())


def _html(response: Response, fault: Fault) -> Response:
    status = fault.status or 200
    page = fault.body or f"<html><head><title>{status}</title></head><body><center>nginx</center></body></html>\n"
    return Response(status, (("Content-Type", HTML), ("Server", "nginx")), page.encode(), response.delivery)


def _empty(response: Response, _fault: Fault) -> Response:
    return changed(response, status=200, body=b"")


def _redirect(response: Response, fault: Fault) -> Response:
    return Response(fault.status or 302, (("Location", fault.location), ("Content-Type", HTML)), b"", response.delivery)


def _delay(response: Response, fault: Fault) -> Response:
    delivery = response.delivery
    return changed(response, delivery=changed(delivery, delay=delivery.delay + fault.seconds))


def _drip(response: Response, fault: Fault) -> Response:
    return changed(response, delivery=changed(response.delivery, drip=fault.seconds))


def _cut(response: Response, fault: Fault) -> Response:
    return changed(response, delivery=changed(response.delivery, cut=fault.where))


def _truncated(response: Response, _fault: Fault) -> Response:
    return changed(response, body=response.body[: len(response.body) // 2])


def _huge(response: Response, fault: Fault) -> Response:
    filler = max(fault.size - len(response.body), 0)
    return changed(response, delivery=changed(response.delivery, filler=filler))


def _gzip_bomb(response: Response, fault: Fault) -> Response:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=9, mtime=0) as stream:
        for start in range(0, fault.size, _CHUNK):
            stream.write(b" " * min(_CHUNK, fault.size - start))
    return changed(response, headers=(*response.headers, ("Content-Encoding", "gzip")), body=packed.getvalue())


def _length(response: Response, fault: Fault) -> Response:
    return changed(response, delivery=changed(response.delivery, length=fault.size))


def _plugin_down(response: Response, _fault: Fault) -> Response:
    message = f"Failed to request plugin daemon, url: plugin/{stable_id('workspace')}/management/models"
    return _error(response, 400, "invalid_param", message)


def _internal(response: Response, _fault: Fault) -> Response:
    return _error(response, 500, "unknown", "Internal Server Error")


_EFFECTS: dict[str, Callable[[Response, Fault], Response]] = {
    "status": _status,
    "json": _json,
    "html": _html,
    "empty": _empty,
    "redirect": _redirect,
    "delay": _delay,
    "drip": _drip,
    "cut": _cut,
    "truncated": _truncated,
    "huge": _huge,
    "gzip_bomb": _gzip_bomb,
    "length": _length,
    "plugin_down": _plugin_down,
    "postgres_down": _internal,
    "redis_down": _internal,
}
