"""The knowledge API of a world, without sockets: routes, credentials and the quirks of a real server."""

from __future__ import annotations

import re
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qs

import msgspec

from exporter.dify.versions import CHECKS_DATASET_BEFORE_KEY, IGNORES_STATUS_FILTER
from exporter.simulator import answers, faults, segments
from exporter.simulator.faults import HTML, JSON, Faults, Response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from exporter.simulator.documents import DatasetState, Document
    from exporter.simulator.world import World

    Query = dict[str, list[str]]

T = TypeVar("T")

_UUID = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
_ROUTES = (
    ("indexing-status", re.compile(rf"/v1/datasets/({_UUID})/documents/([^/]+)/indexing-status")),
    ("document", re.compile(rf"/v1/datasets/({_UUID})/documents/({_UUID})")),
    ("segments", re.compile(rf"/v1/datasets/({_UUID})/documents/({_UUID})/segments")),
    ("documents", re.compile(rf"/v1/datasets/({_UUID})/documents")),
    ("dataset", re.compile(rf"/v1/datasets/({_UUID})")),
    ("datasets", re.compile(r"/v1/datasets")),
    ("welcome", re.compile(r"/v1/")),
)
_NOT_FOUND = (
    b"<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n"
    b"<p>The requested URL was not found on the server. If you entered the URL manually please check your spelling and"
    b" try again.</p>\n"
)
_FILTERS = {
    **dict.fromkeys(("queuing", "indexing", "paused", "error", "available", "disabled", "archived")),
    "active": "available",
    "enabled": "available",
}
_PAGE = 20
_CAP = 100


class _Refused(Exception):
    """The request is answered with an error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = msgspec.json.encode({"code": code, "message": message, "status": status})


class Api:
    """Answers requests about a world. The scenario sets version and key. Thread-safe.

    ``requests`` counts requests per endpoint. ``old_list``: whether the document list ignores ``status``, as before
    1.10.1; None: as the version does.
    """

    def __init__(self, world: World, *, old_list: bool | None = None) -> None:
        self.world = world
        self.faults = Faults(world.scenario.faults)
        self.requests: Counter[str] = Counter()
        self._key = world.scenario.key
        self._zone = world.scenario.zone_offset * 3600
        version = world.scenario.version
        self._filters = not (IGNORES_STATUS_FILTER.affects(version) if old_list is None else old_list)
        self._dataset_first = CHECKS_DATASET_BEFORE_KEY.affects(version)
        self._handlers: dict[str, Callable[[Sequence[str], Query, float], object]] = {
            "indexing-status": self._indexing_status,
            "document": self._document,
            "segments": self._segments,
            "documents": self._documents,
            "dataset": self._dataset,
            "datasets": self._datasets,
            "welcome": self._welcome,
        }

    def handle(self, method: str, path: str, query: str = "", headers: Mapping[str, str] | None = None) -> Response:
        """The response to a request. Header names are in lower case. For a HEAD request the caller omits the body."""
        authorization = (headers or {}).get("authorization")
        common = [("X-Version", self.world.scenario.version)]
        if authorization is not None:
            common.append(("Set-Cookie", f"x-token={authorization[7:]}; HttpOnly; Path=/"))
        endpoint, ids = _route(path)
        with self.world.lock:
            self.requests[endpoint] += 1
            now = self.world.advance()
            response = self._answer(method, endpoint, ids, query=query, authorization=authorization, now=now)
        response = Response(response.status, (*response.headers, *common), response.body)
        for fault in self.faults.hold(endpoint, ids, now - self.world.start):
            response = faults.spoil(response, fault)
        return response

    def _answer(
        self, method: str, endpoint: str, ids: Sequence[str], *, query: str, authorization: str | None, now: float
    ) -> Response:
        if not endpoint:
            return Response(404, (("Content-Type", HTML),), _NOT_FOUND)
        if method == "OPTIONS":
            return Response(200, (("Content-Type", HTML), ("Allow", "OPTIONS, HEAD, GET")))
        try:
            _allow(method)
            if endpoint != "welcome":
                self._admit(ids, authorization)
            answer = self._handlers[endpoint](ids, parse_qs(query, keep_blank_values=True), now)
        except _Refused as refused:
            kind = [("Content-Type", JSON)]
            if refused.status == HTTPStatus.UNAUTHORIZED:
                kind.append(("WWW-Authenticate", 'Bearer realm="api"'))
            return Response(refused.status, tuple(kind), refused.body)
        return Response(200, (("Content-Type", JSON),), msgspec.json.encode(answer))

    def _admit(self, ids: Sequence[str], authorization: str | None) -> None:
        """Check dataset and key, in the order that the version uses."""
        if self._dataset_first and ids:
            self._open(ids[0])
        scheme, _, key = (authorization or "").partition(" ")
        if not key:
            raise _Refused(401, "unauthorized", "Authorization header must be provided and start with 'Bearer'")
        if scheme.lower() != "bearer":
            raise _Refused(401, "unauthorized", "Authorization scheme must be 'Bearer'")
        if key.strip() != self._key:
            raise _Refused(401, "unauthorized", "Access token is invalid")
        if ids:
            self._open(ids[0])

    def _open(self, dataset_id: str) -> DatasetState:
        dataset = self.world.datasets.get(dataset_id)
        if dataset is None:
            raise _Refused(404, "not_found", "Dataset not found.")
        if not dataset.plan.api:
            raise _Refused(403, "forbidden", "Dataset api access is not enabled.")
        return dataset

    def _find(self, ids: Sequence[str]) -> Document:
        document = self.world.datasets[ids[0]].documents.get(ids[1])
        if document is None:
            raise _Refused(404, "not_found", "Document not found.")
        return document

    def _welcome(self, _ids: Sequence[str], _query: Query, _now: float) -> object:
        return {"welcome": "Dify OpenAPI", "api_version": "v1", "server_version": self.world.scenario.version}

    def _indexing_status(self, ids: Sequence[str], _query: Query, now: float) -> object:
        documents = self.world.datasets[ids[0]].batches.get(ids[1])
        if not documents:
            raise _Refused(404, "not_found", "Documents not found.")
        return answers.indexing_status(documents, now, self._zone)

    def _document(self, ids: Sequence[str], query: Query, now: float) -> object:
        document = self._find(ids)
        metadata = query.get("metadata", ["all"])[0]
        if metadata not in ("all", "only", "without"):
            raise _Refused(400, "invalid_metadata", f"Invalid metadata value: {metadata}")
        return answers.detail(document, now, self._zone, metadata)

    def _documents(self, ids: Sequence[str], query: Query, now: float) -> object:
        page, limit = _number(query, "page", 1), _number(query, "limit", _PAGE)
        found = list(reversed(self.world.datasets[ids[0]].documents.values()))
        status = query.get("status", [""])[0].lower()
        if self._filters and status in _FILTERS:
            wanted = _FILTERS[status] or status
            found = [each for each in found if each.display_status(each.row_now(now)) == wanted]
        shown = _page(found, page, limit)
        return _listing([answers.listed(each, now, self._zone) for each in shown], len(found), page, limit)

    def _dataset(self, ids: Sequence[str], _query: Query, now: float) -> object:
        return answers.dataset(self.world.datasets[ids[0]], now, self._zone)

    def _datasets(self, _ids: Sequence[str], query: Query, now: float) -> object:
        page, limit = _number(query, "page", 1), _number(query, "limit", _PAGE)
        found = list(reversed(self.world.datasets.values()))
        shown = _page(found, page, limit)
        return _listing([answers.dataset(each, now, self._zone) for each in shown], len(found), page, limit)

    def _segments(self, ids: Sequence[str], query: Query, now: float) -> object:
        document = self._find(ids)
        page, limit = _number(query, "page", 1, strict=False), _number(query, "limit", _PAGE, strict=False)
        row = document.row_now(now)
        wanted = query.get("status")
        chosen = [(name, count) for name, count in segments.by_status(row).items() if wanted is None or name in wanted]
        total = sum(count for _, count in chosen)
        data = [
            segments.segment(document, row, number + 1, _nth(chosen, number), self._zone)
            for number in _page(range(total), page, limit)
        ]
        return _listing(data, total, page, limit) | {"doc_form": answers.form(document)}


def _allow(method: str) -> None:
    if method not in ("GET", "HEAD"):
        raise _Refused(405, "method_not_allowed", "The method is not allowed for the requested URL.")


def _route(path: str) -> tuple[str, tuple[str, ...]]:
    for endpoint, pattern in _ROUTES:
        if found := pattern.fullmatch(path):
            return endpoint, found.groups()
    return "", ()


def _number(query: Query, name: str, default: int, *, strict: bool = True) -> int:
    text = query.get(name, [str(default)])[0]
    try:
        return int(text)
    except ValueError:
        if strict:
            raise _Refused(400, "invalid_param", f"{name}: invalid integer") from None
        return default


def _page(items: Sequence[T], page: int, limit: int) -> Sequence[T]:
    """A page with the server's limits: the default size for limits below 1, at most 100 items."""
    size = min(limit, _CAP) if limit >= 1 else _PAGE
    start = (max(page, 1) - 1) * size
    return items[start : start + size]


def _listing(data: list[dict[str, object]], total: int, page: int, limit: int) -> dict[str, object]:
    """The page object. ``has_more`` compares with the requested limit: true on a page that is exactly full."""
    return {"data": data, "has_more": len(data) == limit, "limit": limit, "total": total, "page": page}


def _nth(chosen: Sequence[tuple[str, int]], number: int) -> str:
    """The status of segment ``number`` (from 0) when the segments are grouped by status as in ``chosen``."""
    for name, count in chosen:
        if number < count:
            return name
        number -= count
    raise IndexError(number)
