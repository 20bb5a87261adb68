"""Switches of a running simulator, below ``/_simulator/``: faults, actions, new batches, how much was asked."""

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
    """Handles the requests below ``/_simulator/``. The server lets only loopback in.

    - ``faults``: GET lists, POST adds one fault or a list, DELETE clears
    - ``actions``: POST ``{dataset, action}``; ``batches``: POST ``{dataset, batch}`` answers the batch's id
    - ``requests``: GET the number of requests by endpoint
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    def handle(self, method: str, path: str, body: bytes) -> Response:
        """The answer. 400 for a body of another shape, 404 for an unknown thing or route."""
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
            return _answer(404, {"message": f"no such thing: {error}"})

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
