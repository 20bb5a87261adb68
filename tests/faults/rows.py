"""The fault matrix: one row per fault. ``stand.py`` runs them all at once, ``test_fault_matrix.py`` checks each one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Literal

from exporter.simulator import Fault
from tests.faults import scripts
from tests.faults.gates import Way

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.certificates import Certificates
    from tests.faults.gates import Script

CANARY = "dataset-CanaryThatMustNeverShow"
"""The API key of every row."""

DIFY = {"Content-Type": "application/json"}
TEXT = {"Content-Type": "text/html"}
NO_TLS = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
DEEP = 100_000
SURROGATE = r"\ud800"


@dataclass(frozen=True)
class Row:
    """A fault. ``reason``: the failure reason under which its polls are counted.

    Exactly one of the next four fields says what is broken: answers of the embedded Dify, the connection to it, its
    TLS, or the exporter's key. ``scope``: what the fault affects; with ``batch``, a second batch of the same knowledge
    base has to stay readable; with ``stop``, the exporter stops polling the whole server. ``kept``: objects keep their
    values; False if Dify itself says that they do not exist. ``retry_after``: seconds that the server asks to wait,
    during which no poll may happen.
    """

    name: str
    reason: str
    fault: Fault | None = None
    way: Callable[[], Way] | None = None
    tls: Callable[[Certificates], Way] | None = None
    wrong_key: bool = False
    scope: Literal["batch", "stop", "dataset", "server"] = "batch"
    kept: bool = True
    by_proxy: bool = False
    retry_after: float = 0.0


def fault_rows(now: float = 0.0, elsewhere: str = "") -> list[Row]:
    """Every row. ``now`` (Unix seconds): the base of a Retry-After that is a date; ``elsewhere``: URL for redirects."""
    return [*_connections(), *_streams(), *_bodies(), *_statuses(elsewhere), *_waits(now), *_tls()]


def _connections() -> list[Row]:
    return [
        Row("connection-refused", "connect", way=lambda: Way(shut=True), scope="server"),
        Row("connect-times-out", "timeout", way=lambda: Way(full=True), scope="server"),
        _script("accepts-and-never-answers", "timeout", lambda: scripts.silence),
        _script("reset", "connect", lambda: scripts.reset),
        _script("not-http", "connect", lambda: scripts.blurts(b"SSH-2.0-OpenSSH_9.6\r\n")),
        Row("proxy-is-down", "connect", way=lambda: Way(shut=True), scope="server", by_proxy=True),
        Row("late-answer", "timeout", Fault(kind="delay", seconds=60)),
        Row("hangs-up-before-the-answer", "connect", Fault(kind="cut", where="before")),
    ]


def _streams() -> list[Row]:
    cut = scripts.head("Content-Length: 1000")
    chunked = scripts.head("Transfer-Encoding: chunked")
    return [
        _script("a-byte-a-second", "timeout", scripts.drip),
        Row("a-byte-now-and-then", "timeout", Fault(kind="drip", seconds=0.1)),
        _script("cut-in-the-headers", "connect", lambda: scripts.hangs_up_after(cut[:30])),
        _script("headers-without-end", "connect", scripts.headers_without_end),
        _script("header-line-without-end", "connect", lambda: scripts.says(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000)),
        Row("cut-in-the-body", "connect", Fault(kind="cut", where="body")),
        _script("cut-in-a-chunk", "connect", lambda: scripts.hangs_up_after(chunked + b"ff\r\n{")),
        _script("rubbish-as-a-chunk-length", "connect", lambda: scripts.hangs_up_after(chunked + b"zz\r\n{}")),
        _script("cut-in-a-gzip-stream", "connect", scripts.gzip_is_cut),
        _script("gzip-ends-early", "decode", scripts.gzip_ends_early),
        _script("gzip-that-is-none", "decode", lambda: scripts.says(scripts.not_gzip())),
        Row("length-too-long", "timeout", Fault(kind="length", size=1_000_000)),
        Row("length-too-short", "decode", Fault(kind="length", size=20)),
        _script("body-without-end", "too_large", scripts.endless),
        _script("200-MiB-announced", "too_large", scripts.flood),
        _script("200-MiB-in-chunks", "too_large", scripts.large),
        _script("gzip-bomb", "too_large", scripts.bomb),
    ]


def _bodies() -> list[Row]:
    return [
        Row("html-200", "decode", Fault(kind="html")),
        Row("empty-200", "decode", Fault(kind="empty")),
        Row("truncated-json", "decode", Fault(kind="truncated")),
        _json("nested-without-end", "decode", '{"deep": ' + "[" * DEEP),
        _json("null", "schema", "null"),
        _json("list-for-object", "schema", "[]"),
        _json("object-for-list", "schema", '{"data": {}}'),
        _json("no-id", "schema", '{"data": [{"indexing_status": "waiting"}]}'),
        _json("number-for-id", "schema", '{"data": [{"id": 7, "indexing_status": "waiting"}]}'),
        _json("nan", "decode", _item(total_segments="NaN")),
        _json("infinity", "decode", _item(completed_at="Infinity")),
        _json("lone-surrogate", "decode", _item(error=rf'"{SURROGATE}"')),
    ]


def _statuses(elsewhere: str) -> list[Row]:
    no_access = "Dataset api access is not enabled."
    limit = "Sorry, you have reached the knowledge base request rate limit of your subscription."
    return [
        Row("redirect-to-another-host", "server", Fault(kind="redirect", status=301, location=elsewhere)),
        _refused("bad-request", "server", 400, code="invalid_param", message="plugin daemon"),
        _refused("unauthorized", "unauthorized", 401, scope="dataset", message=f"no such key: {CANARY}"),
        Row("key-is-wrong-until-rotated", "unauthorized", wrong_key=True, scope="server"),
        _refused("forbidden", "forbidden", 403, scope="dataset", code="forbidden", message=no_access),
        _refused("forbidden-by-the-rate-limit", "rate_limited", 403, scope="dataset", code="forbidden", message=limit),
        _refused("batch-not-found", "not_found", 404, kept=False, code="not_found", message="Documents not found."),
        _refused("dataset-not-found", "not_found", 404, kept=False, code="not_found", message="Dataset not found."),
        Row("route-not-found", "not_found", Fault(kind="status", status=404, body="<h1>Not Found</h1>", headers=TEXT)),
        Row("html-404", "not_found", Fault(kind="html", status=404)),
        _refused("method-not-allowed", "not_found", 405, code="method_not_allowed"),
        _refused("request-timeout", "server", 408),
        _refused("internal-server-error", "server", 500),
        Row("html-502", "server", Fault(kind="html", status=502)),
        _refused("unavailable", "server", 503),
        _refused("status-that-nobody-knows", "server", 799),
    ]


def _waits(now: float) -> list[Row]:
    seconds, date = 7.0, formatdate(now + 12.0, usegmt=True)
    return [
        _refused("too-many-requests", "rate_limited", 429, scope="stop"),
        _refused("retry-after-seconds", "rate_limited", 429, scope="stop", retry_after=seconds, wait="7"),
        _refused("retry-after-a-date", "rate_limited", 429, scope="stop", retry_after=5.0, wait=date),
        _refused("retry-after-rubbish", "rate_limited", 429, scope="stop", wait="soon\x01, -1, 1e9"),
        _refused("unavailable-with-retry-after", "server", 503, retry_after=seconds, wait="7"),
    ]


def _tls() -> list[Row]:
    return [
        Row("certificate-expired", "tls", tls=lambda made: Way(tls=made.expired), scope="server"),
        Row("certificate-of-another-name", "tls", tls=lambda made: Way(tls=made.misnamed), scope="server"),
        Row("certificate-of-an-unknown-authority", "tls", tls=lambda made: Way(tls=made.stranger), scope="server"),
        Row("no-tls-where-it-was", "tls", tls=lambda _: Way(scripts.blurts(NO_TLS)), scope="server"),
        Row("tls-handshake-hangs", "timeout", tls=lambda _: Way(scripts.silence), scope="server"),
    ]


def _refused(
    name: str,
    reason: str,
    status: int,
    *,
    code: str = "unknown",
    message: str = "",
    scope: Literal["batch", "stop", "dataset"] = "batch",
    kept: bool = True,
    retry_after: float = 0.0,
    wait: str = "",
) -> Row:
    body = json.dumps({"code": code, "message": message or name, "status": status})
    headers = {**DIFY, **({"Retry-After": wait} if wait else {})}
    fault = Fault(kind="status", status=status, body=body, headers=headers)
    return Row(name, reason, fault, scope=scope, kept=kept, retry_after=retry_after)


def _json(name: str, reason: str, body: str) -> Row:
    return Row(name, reason, Fault(kind="json", body=body))


def _script(name: str, reason: str, make: Callable[[], Script]) -> Row:
    return Row(name, reason, way=lambda: Way(make()), scope="server")


def _item(**fields: str) -> str:
    """An answer about one document; the values are literal JSON."""
    pairs = {"id": '"a"', "indexing_status": '"waiting"', **fields}
    return '{"data": [{' + ", ".join(f'"{name}": {value}' for name, value in pairs.items()) + "}]}"
