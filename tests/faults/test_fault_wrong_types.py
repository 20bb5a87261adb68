"""JSON of the wrong type in every field of every answer, generated from the wire structs."""

from __future__ import annotations

import json
import types
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import pytest
from msgspec import Struct

from exporter.clock import ManualClock
from exporter.config import Polling, Secret, ServerConfig
from exporter.dify import Client, SchemaMismatch
from exporter.dify import answers as wire
from exporter.metrics import Exposition, Format, SelfMetrics
from exporter.polling import BATCH_STATUS, Poller, ServerHealth, Target, TargetStatuses
from exporter.simulator import Api, Fault, SimulatorServer
from exporter.tracking import Store
from tests.faults.page import batches, dataset, document
from tests.faults.rows import CANARY
from tests.faults.stand import world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "types"
ENDPOINTS: dict[str, tuple[type[Struct], Callable[[Client], object]]] = {
    "indexing-status": (wire.IndexingStatus, lambda client: client.indexing_status("d", "b").value),
    "document": (wire.DocumentDetail, lambda client: client.document("d", "x").value),
    "datasets": (wire.DatasetPage, lambda client: client.datasets(1)),
    "dataset": (wire.DatasetAnswer, lambda client: client.dataset("d")),
    "documents": (wire.DocumentPage, lambda client: client.documents("d", "error")),
    "segments": (wire.SegmentPage, lambda client: client.completed_segments("d", "x")),
    "welcome": (wire.Welcome, lambda client: client.welcome()),
}
WRONG: dict[str, object] = {
    "null": None,
    "true": True,
    "number": 7,
    "fraction": 0.5,
    "text": "12",
    "empty-text": "",
    "list": [],
    "nested-list": [[1]],
    "object": {},
    "2-to-the-63": 2**63,
    "below-minus-2-to-the-63": -(2**63) - 1,
}


class Case(NamedTuple):
    """One wrong value in one place. ``well``: the type allows the value after all, such as null if optional."""

    endpoint: str
    place: str
    word: str
    body: str
    well: bool


def _kinds(hint: Any) -> set[type]:
    """The JSON types that a hint allows."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return set().union(*(_kinds(each) for each in get_args(hint)))
    if hasattr(hint, "__metadata__"):
        return _kinds(hint.__origin__)
    if origin is list:
        return {list}
    if isinstance(hint, type) and issubclass(hint, Struct):
        return {dict}
    return {hint}


def _allows(hint: Any, value: object) -> bool:
    kinds = _kinds(hint)
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return False
    if isinstance(value, list) and value:
        return False
    if isinstance(value, dict):
        nested = _structs(hint)
        return bool(nested) and all(not _required(each) for each in nested)
    return type(value) in kinds


def _structs(hint: Any) -> list[type[Struct]]:
    if isinstance(hint, type) and issubclass(hint, Struct):
        return [hint]
    return [found for each in get_args(hint) for found in _structs(each)] if get_origin(hint) is not list else []


def _required(struct: type[Struct]) -> set[str]:
    return set(struct.__struct_fields__[: len(struct.__struct_fields__) - len(struct.__struct_defaults__)])


def _valid(hint: Any) -> Any:
    """The smallest value that a hint allows."""
    kinds = _kinds(hint)
    if dict in kinds:
        return _least(_structs(hint)[0])
    if list in kinds:
        return [_valid(get_args(hint)[0])]
    return {str: "x", int: 1, bool: True}[next(kind for kind in (str, int, bool) if kind in kinds)]


def _least(struct: type[Struct]) -> dict[str, Any]:
    hints = get_type_hints(struct, include_extras=True)
    return {name: _valid(hints[name]) for name in struct.__struct_fields__ if name in _required(struct)}


def _places(
    struct: type[Struct], wrap: Callable[[Any], Any], place: str
) -> Iterator[tuple[str, Any, Callable[[Any], Any]]]:
    """Every field below ``struct``: its name, its type, and a function that builds a whole answer around its value."""
    hints = get_type_hints(struct, include_extras=True)
    for name, hint in hints.items():
        if name not in struct.__struct_fields__:
            continue

        def put(value: Any, name: str = name) -> Any:
            return wrap({**_least(struct), name: value})

        yield f"{place}{name}", hint, put
        for nested in _structs(hint):
            yield from _places(nested, put, f"{place}{name}.")
        if get_origin(hint) is list:
            (item,) = get_args(hint)

            def put_first(value: Any, put: Callable[[Any], Any] = put) -> Any:
                return put([value])

            yield f"{place}{name}[0]", item, put_first
            for nested in _structs(item):
                yield from _places(nested, put_first, f"{place}{name}[0].")


def _itself(value: Any) -> Any:
    return value


def _cases() -> Iterator[Case]:
    for endpoint, (struct, _) in ENDPOINTS.items():
        places = [("$", struct, _itself), *_places(struct, _itself, "")]
        for place, hint, put in places:
            for word, value in WRONG.items():
                yield Case(endpoint, place, word, json.dumps(put(value)), _allows(hint, value))


CASES = list(_cases())


@pytest.fixture(scope="module")
def dify() -> Iterator[SimulatorServer]:
    """An embedded Dify in which one batch waits forever."""
    with SimulatorServer(Api(world([NAME])), connections=None) as server:
        yield server


@pytest.fixture(scope="module")
def client(dify: SimulatorServer) -> Iterator[Client]:
    """A client of ``dify``."""
    server = ServerConfig(NAME, dify.url, api_key=Secret(CANARY), requests_per_second=1e6)
    made = Client(server, observer=SelfMetrics(), clock=ManualClock(), user_agent="test")
    yield made
    made.close_connections()


def test_every_field_has_its_cases() -> None:
    """Every field of every wire struct is covered, in each place where it occurs."""
    fields = {case.place.rpartition(".")[2].removesuffix("[0]") for case in CASES} - {"$"}
    structs = [each for each in vars(wire).values() if isinstance(each, type) and issubclass(each, Struct)]
    known = {name for struct in structs for name in struct.__struct_fields__} - {"code", "message"}
    assert known == fields
    assert len(CASES) > 600
    assert 0 < sum(case.well for case in CASES) < len(CASES) / 2


def _names(message: str, place: str) -> bool:
    """Whether a message names the place or something below it."""
    return place == "$" or f"$.{place}" in message.replace("[...]", "[0]")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_wrong_types_are_refused(dify: SimulatorServer, client: Client, endpoint: str) -> None:
    """A value of the wrong type raises SchemaMismatch with its place and nothing else; a valid one is accepted."""
    ask = ENDPOINTS[endpoint][1]
    surprises: list[tuple[Case, str]] = []
    for case in CASES:
        if case.endpoint != endpoint:
            continue
        dify.api.faults.clear()
        dify.api.faults.add(Fault(kind="json", body=case.body))
        try:
            ask(client)
        except SchemaMismatch as error:
            if case.well or not _names(str(error), case.place):
                surprises.append((case, str(error)))
        else:
            if not case.well:
                surprises.append((case, "was read"))
    assert [] == surprises


def test_the_poller_takes_every_one_of_them_for_a_failed_poll(dify: SimulatorServer, client: Client) -> None:
    """No wrong type gets past the client: the poll fails with its reason, never as a bug, and values stay."""
    self_metrics, clock = SelfMetrics(), ManualClock()
    server = ServerConfig(NAME, dify.url)
    exposition = Exposition(self_metrics=self_metrics, document_name=True, monotonic=clock.monotonic)
    statuses = TargetStatuses(NAME, listener=exposition)
    store = Store(NAME, statuses.watched, listeners=(exposition,), unknown=lambda _: None, clock=clock)
    polling = Polling()
    health = ServerHealth(NAME, dify.url, listener=exposition, polling=polling, random=lambda: 0.5)
    poller = Poller(
        server,
        client,
        store,
        statuses,
        health,
        polling=polling,
        observer=self_metrics,
        clock=clock,
        jitter=lambda: 0.5,
    )
    target = Target(BATCH_STATUS, dataset(NAME), batches(NAME)[0])
    dify.api.faults.clear()
    poller.watch([target])
    poller.work(Event())
    before = store.document(dataset(NAME), document(NAME))
    assert before is not None
    for case in CASES:
        if case.endpoint == "indexing-status" and not case.well:
            dify.api.faults.clear()
            dify.api.faults.add(Fault(kind="json", endpoint="indexing-status", body=case.body))
            clock.advance(3600)
            poller.work(Event())
            status = statuses.get(target)
            assert (False, before) == (
                status.success if status else None,
                store.document(dataset(NAME), document(NAME)),
            )
    assert 'reason="internal"' not in self_metrics.render(Format.TEXT).decode()
