"""Control endpoints of a running simulator, under ``/_simulator/``: faults, actions, new batches, request counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from exporter.simulator.faults import JSON, Response
from exporter.simulator.scenario import Action, BatchPlan, Fault

if TYPE_CHECKING:
    from exporter.simulator.api import Api


class _Act(Struct, forbid_unknown_fields=True):
    dataset: str
    action: Action


class _Upload(Struct, forbid_unknown_fields=True):
    dataset: str
    batch: BatchPlan


class Admin:
    """Handles the requests under ``/_simulator/``. The server accepts them from loopback only.

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
            return _answer(404, {"message": f"no such route: {method} {path}", "routes": sorted(routes)})
        try:
            return _answer(200, route(body))
        except msgspec.DecodeError as error:
            return _answer(400, {"message": str(error)})
        except KeyError as error:
            return _answer(404, {"message": f"not found: {error}"})

    def _list_faults(self, _body: bytes) -> object:
        return self._api.faults.list()

    def _add_faults(self, body: bytes) -> object:
        given = msgspec.json.decode(body, type=Fault | list[Fault])
        for fault in given if isinstance(given, list) else [given]:
            self._api.faults.add(fault)
        return self._api.faults.list()

    def _clear_faults(self, _body: bytes) -> object:
        self._api.faults.clear()
        return []

    def _act(self, body: bytes) -> object:
        wish = msgspec.json.decode(body, type=_Act)
        self._api.world.act(wish.dataset, wish.action)
        return {}

    def _upload(self, body: bytes) -> object:
        wish = msgspec.json.decode(body, type=_Upload)
        return {"batch": self._api.world.add_batch(wish.dataset, wish.batch)}

    def _requests(self, _body: bytes) -> object:
        return dict(self._api.requests)


def _answer(status: int, value: object) -> Response:
    return Response(status, (("Content-Type", JSON),), msgspec.json.encode(value))
