"""The knowledge API of a world and the simulator's control endpoints, without sockets."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from http import HTTPStatus
from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct

from exporter.dify.lenient import prepare
from exporter.dify.versions import CHECKS_DATASET_BEFORE_KEY, IGNORES_STATUS_FILTER
from exporter.simulator import answers
from exporter.simulator.faults import HTML, JSON, Faults, Response, apply
from exporter.simulator.scenario import Action, BatchPlan, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from exporter.simulator.documents import Document
    from exporter.simulator.world import World

    Query = dict[str, list[str]]
    _Handler = Callable[[Sequence[str], Query, float], object]

T = TypeVar("T")

_UUID = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
_DATASET = rf"/v1/datasets/({_UUID})"
_DOCUMENT = rf"{_DATASET}/documents/({_UUID})"
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
        self._routes: dict[str, tuple[re.Pattern[str], _Handler]] = {
            "indexing-status": (re.compile(rf"{_DATASET}/documents/([^/]+)/indexing-status"), self._indexing_status),
            "document": (re.compile(_DOCUMENT), self._document),
            "segments": (re.compile(rf"{_DOCUMENT}/segments"), self._segments),
            "documents": (re.compile(rf"{_DATASET}/documents"), self._documents),
            "dataset": (re.compile(_DATASET), self._dataset),
            "datasets": (re.compile(r"/v1/datasets"), self._datasets),
            "health": (re.compile(r"/health"), self._health),
        }

    def handle(self, method: str, path: str, query: str = "", headers: Mapping[str, str] | None = None) -> Response:
        """The response to a request. Header names are in lower case. For a HEAD request the caller omits the body."""
        authorization = (headers or {}).get("authorization")
        common = [("X-Version", self.world.scenario.version)]
        if authorization is not None:
            common.append(("Set-Cookie", f"x-token={authorization[7:]}; HttpOnly; Path=/"))
        endpoint, ids = self._route(path)
        with self.world.lock:
            self.requests[endpoint] += 1
            now = self.world.advance()
            response = self._answer(method, endpoint, ids, query=query, authorization=authorization, now=now)
        response = Response(response.status, (*response.headers, *common), response.body)
        for fault in self.faults.use(endpoint, ids, now - self.world.start):
            response = apply(fault, response, endpoint)
        return response

    def _route(self, path: str) -> tuple[str, tuple[str, ...]]:
        for endpoint, (pattern, _) in self._routes.items():
            if found := pattern.fullmatch(path):
                return endpoint, found.groups()
        return "", ()

    def _answer(
        self, method: str, endpoint: str, ids: Sequence[str], *, query: str, authorization: str | None, now: float
    ) -> Response:
        if not endpoint:
            return Response(404, (("Content-Type", HTML),), _NOT_FOUND)
        if method == "OPTIONS":
            return Response(200, (("Content-Type", HTML), ("Allow", "OPTIONS, HEAD, GET")))
        try:
            self._check_request(method, endpoint, ids, authorization)
            answer = self._routes[endpoint][1](ids, parse_qs(query, keep_blank_values=True), now)
        except _Refused as refused:
            kind = [("Content-Type", JSON)]
            if refused.status == HTTPStatus.UNAUTHORIZED:
                kind.append(("WWW-Authenticate", 'Bearer realm="api"'))
            return Response(refused.status, tuple(kind), refused.body)
        return _json(200, answer)

    def _check_request(self, method: str, endpoint: str, ids: Sequence[str], authorization: str | None) -> None:
        """Check the method, then dataset and key in the order that the version uses."""
        if method not in ("GET", "HEAD"):
            raise _Refused(405, "method_not_allowed", "The method is not allowed for the requested URL.")
        if endpoint == "health":
            return
        if self._dataset_first and ids:
            self._check_dataset(ids[0])
        scheme, _, key = (authorization or "").partition(" ")
        if not key:
            raise _Refused(401, "unauthorized", "Authorization header must be provided and start with 'Bearer'")
        if scheme.lower() != "bearer":
            raise _Refused(401, "unauthorized", "Authorization scheme must be 'Bearer'")
        if key.strip() != self._key:
            raise _Refused(401, "unauthorized", "Access token is invalid")
        if ids:
            self._check_dataset(ids[0])

    def _check_dataset(self, dataset_id: str) -> None:
        dataset = self.world.datasets.get(dataset_id)
        if dataset is None:
            raise _Refused(404, "not_found", "Dataset not found.")
        if not dataset.plan.api:
            raise _Refused(403, "forbidden", "Dataset api access is not enabled.")

    def _find(self, ids: Sequence[str]) -> Document:
        document = self.world.datasets[ids[0]].documents.get(ids[1])
        if document is None:
            raise _Refused(404, "not_found", "Document not found.")
        return document

    def _health(self, _ids: Sequence[str], _query: Query, _now: float) -> object:
        return {"pid": 1, "status": "ok", "version": self.world.scenario.version}

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
        found = list(reversed(self.world.datasets[ids[0]].documents.values()))
        status = query.get("status", [""])[0].lower()
        if self._filters and status in _FILTERS:
            wanted = _FILTERS[status] or status
            found = [each for each in found if each.display_status(each.row_at(now)) == wanted]
        return _page(found, query, lambda document: answers.listed(document, now, self._zone))

    def _dataset(self, ids: Sequence[str], _query: Query, now: float) -> object:
        return answers.dataset(self.world.datasets[ids[0]], now, self._zone)

    def _datasets(self, _ids: Sequence[str], query: Query, now: float) -> object:
        every = query.get("include_all", [""])[0].lower() == "true"
        found = [each for each in reversed(self.world.datasets.values()) if every or not each.plan.private]
        return _page(found, query, lambda dataset: answers.dataset(dataset, now, self._zone))

    def _segments(self, ids: Sequence[str], query: Query, now: float) -> object:
        document = self._find(ids)
        row = document.row_at(now)
        wanted = query.get("status")
        counts = {name: count for name, count in answers.segment_counts(row).items() if not wanted or name in wanted}
        names, ends = list(counts), list(accumulate(counts.values()))

        def segment(number: int) -> object:
            """Segments are grouped by status."""
            return answers.segment(document, row, number + 1, names[bisect_right(ends, number)], self._zone)

        page = _page(range(sum(counts.values())), query, segment, strict=False)
        return page | {"doc_form": answers.form(document)}


def _number(query: Query, name: str, default: int, *, strict: bool = True) -> int:
    text = query.get(name, [str(default)])[0]
    try:
        return int(text)
    except ValueError:
        if strict:
            raise _Refused(400, "invalid_param", f"{name}: invalid integer") from None
        return default


def _page(items: Sequence[T], query: Query, render: Callable[[T], object], *, strict: bool = True) -> dict[str, object]:
    """The requested page, with the server's limits: the default size for limits below 1, at most 100 items.

    ``has_more`` compares with the requested limit: true on a page that is exactly full.
    """
    page, limit = _number(query, "page", 1, strict=strict), _number(query, "limit", _PAGE, strict=strict)
    size = min(limit, _CAP) if limit >= 1 else _PAGE
    start = (max(page, 1) - 1) * size
    data = [render(item) for item in items[start : start + size]]
    return {"data": data, "has_more": len(data) == limit, "limit": limit, "total": len(items), "page": page}


class _ActionRequest(Struct, forbid_unknown_fields=True):
    dataset: str
    action: Action


class _BatchRequest(Struct, forbid_unknown_fields=True):
    dataset: str
    batch: BatchPlan


prepare(Fault, _ActionRequest, _BatchRequest)


class ControlApi:
    """The control endpoints of a running simulator, under ``/_simulator/``. The server accepts them from loopback only.

    - ``faults``: GET lists them, POST adds one fault or a list, DELETE clears them
    - ``actions``: POST ``{dataset, action}``; ``batches``: POST ``{dataset, batch}`` returns the id of the batch
    - ``requests``: GET returns the number of requests per endpoint
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    def handle(self, method: str, path: str, body: bytes) -> Response:
        """The response. 400 if the body does not match the schema, 404 for an unknown object or route."""
        routes = {
            "GET /_simulator/faults": self._list_faults,
            "POST /_simulator/faults": self._add_faults,
            "DELETE /_simulator/faults": self._clear_faults,
            "POST /_simulator/actions": self._act,
            "POST /_simulator/batches": self._upload,
            "GET /_simulator/requests": self._requests,
        }
        route = routes.get(f"{method} {path}")
        if route is None:
            return _json(404, {"message": f"no such route: {method} {path}", "routes": sorted(routes)})
        try:
            return _json(200, route(body))
        except msgspec.DecodeError as error:
            return _json(400, {"message": str(error)})
        except KeyError as error:
            return _json(404, {"message": f"not found: {error}"})

    def _list_faults(self, _body: bytes) -> object:
        return self._api.faults.list()

    def _add_faults(self, body: bytes) -> object:
        sent = msgspec.json.decode(body, type=Fault | list[Fault])
        for fault in sent if isinstance(sent, list) else [sent]:
            self._api.faults.add(fault)
        return self._api.faults.list()

    def _clear_faults(self, _body: bytes) -> object:
        self._api.faults.clear()
        return []

    def _act(self, body: bytes) -> object:
        request = msgspec.json.decode(body, type=_ActionRequest)
        self._api.world.act(request.dataset, request.action)
        return {}

    def _upload(self, body: bytes) -> object:
        request = msgspec.json.decode(body, type=_BatchRequest)
        return {"batch": self._api.world.add_batch(request.dataset, request.batch)}

    def _requests(self, _body: bytes) -> object:
        return dict(self._api.requests)


def _json(status: int, value: object) -> Response:
    return Response(status, (("Content-Type", JSON),), msgspec.json.encode(value))
