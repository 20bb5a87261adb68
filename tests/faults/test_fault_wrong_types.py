"""JSON of a wrong type or out of range in every field of every answer, generated from the wire structs."""

from __future__ import annotations

import json
import types
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import pytest
from msgspec import NODEFAULT, Meta, Struct
from msgspec.structs import fields

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
    "negative": -(10**11),
    "above-2-to-the-53": 2**53 + 1,
    "300-digits": 10**299,
    "huge": 1.7e308,
    "hugely-negative": -1e300,
}


class Case(NamedTuple):
    """One value in one place.

    ``well``: the type allows the value after all, such as null if optional. ``default``: what an odd value becomes;
    NODEFAULT if it refuses the answer.
    """

    endpoint: str
    place: str
    word: str
    body: str
    well: bool
    default: object


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
    if isinstance(value, int | float) and not isinstance(value, bool):
        return type(value) in kinds and all(_in_range(meta, value) for each in get_args(hint) for meta in _metas(each))
    if isinstance(value, list) and value:
        return False
    if isinstance(value, dict):
        nested = _structs(hint)
        return bool(nested) and all(not _required(each) for each in nested)
    return type(value) in kinds


def _metas(hint: Any) -> tuple[Meta, ...]:
    return getattr(hint, "__metadata__", ())


def _in_range(meta: Meta, value: float) -> bool:
    return (
        (meta.gt is None or value > meta.gt)
        and (meta.ge is None or value >= meta.ge)
        and (meta.le is None or value <= meta.le)
    )


def _hints(struct: type[Struct]) -> dict[str, Any]:
    """The types of the fields. Annotations of lists are left out."""
    hints = get_type_hints(struct, include_extras=True)
    found = {name: hints[name] for name in struct.__struct_fields__}
    return {name: hint.__origin__ if _kinds(hint) == {list} and _metas(hint) else hint for name, hint in found.items()}


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
    hints = _hints(struct)
    return {name: _valid(hints[name]) for name in _required(struct)}


def _places(
    struct: type[Struct], wrap: Callable[[Any], Any], place: str
) -> Iterator[tuple[str, Any, object, Callable[[Any], Any]]]:
    """Every field below ``struct``: name, type, default, and a function that builds a whole answer around its value."""
    defaults = {field.name: field.default for field in fields(struct)}
    for name, hint in _hints(struct).items():

        def put(value: Any, name: str = name) -> Any:
            return wrap({**_least(struct), name: value})

        yield f"{place}{name}", hint, defaults[name], put
        for nested in _structs(hint):
            yield from _places(nested, put, f"{place}{name}.")
        if get_origin(hint) is list:
            (item,) = get_args(hint)

            def put_first(value: Any, put: Callable[[Any], Any] = put) -> Any:
                return put([value])

            yield f"{place}{name}[0]", item, NODEFAULT, put_first
            for nested in _structs(item):
                yield from _places(nested, put_first, f"{place}{name}[0].")


def _itself(value: Any) -> Any:
    return value


def _cases() -> Iterator[Case]:
    for endpoint, (struct, _) in ENDPOINTS.items():
        places = [("$", struct, NODEFAULT, _itself), *_places(struct, _itself, "")]
        for place, hint, default, put in places:
            for word, value in WRONG.items():
                yield Case(endpoint, place, word, json.dumps(put(value)), _allows(hint, value), default)


CASES = list(_cases())


@pytest.fixture(scope="module")
def dify() -> Iterator[SimulatorServer]:
    """An embedded Dify in which one batch waits forever."""
    with SimulatorServer(Api(world([NAME])), connections=None) as server:
        yield server


class Ignored(SelfMetrics):
    """Metrics that record which values were ignored, by field."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: list[str] = []

    def unknown_value(self, server: str, field: str) -> None:
        """Record the field."""
        assert server == NAME
        self.fields.append(field)


@pytest.fixture(scope="module")
def ignored() -> Ignored:
    """The metrics of ``client``."""
    return Ignored()


@pytest.fixture(scope="module")
def client(dify: SimulatorServer, ignored: Ignored) -> Iterator[Client]:
    """A client of ``dify``."""
    server = ServerConfig(NAME, dify.url, api_key=Secret(CANARY), requests_per_second=1e6)
    made = Client(server, observer=ignored, clock=ManualClock(), user_agent="test")
    yield made
    made.close_connections()


def test_every_field_has_its_cases() -> None:
    """Every field of every wire struct is covered, in each place where it occurs."""
    covered = {case.place.rpartition(".")[2].removesuffix("[0]") for case in CASES} - {"$"}
    structs = [each for each in vars(wire).values() if isinstance(each, type) and issubclass(each, Struct)]
    known = {name for struct in structs for name in struct.__struct_fields__} - {"code", "message", "status"}
    assert known == covered
    assert len(CASES) > 600
    assert 0 < sum(case.well for case in CASES) < len(CASES) / 2


def _names(message: str, place: str) -> bool:
    """Whether a message names the place or something below it."""
    return place == "$" or f"$.{place}" in message.replace("[...]", "[0]")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_an_odd_value_is_lost_alone(dify: SimulatorServer, client: Client, ignored: Ignored, endpoint: str) -> None:
    """An odd value of a field that may be null is null, and counted; another one is a SchemaMismatch with its place."""
    ask = ENDPOINTS[endpoint][1]
    surprises: list[tuple[Case, str]] = []
    for case in CASES:
        if case.endpoint != endpoint:
            continue
        dify.api.faults.clear()
        dify.api.faults.add(Fault(kind="json", body=case.body))
        ignored.fields.clear()
        try:
            ask(client)
        except SchemaMismatch as error:
            if case.well or case.default is not NODEFAULT or not _names(str(error), case.place):
                surprises.append((case, str(error)))
        else:
            lost = [] if case.well or case.default is not None else [case.place.rpartition(".")[2]]
            if case.default is NODEFAULT and not case.well:
                surprises.append((case, "was accepted"))
            elif lost != ignored.fields:
                surprises.append((case, f"counted {ignored.fields}"))
    assert [] == surprises


def test_no_odd_value_stops_the_poller(dify: SimulatorServer, client: Client) -> None:
    """A poll succeeds without the odd value, or fails with its reason and values stay: it is never a bug."""
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
    answers = [case for case in CASES if case.endpoint == "indexing-status" and not case.well]
    for case in sorted(answers, key=lambda case: case.default is not NODEFAULT):
        dify.api.faults.clear()
        dify.api.faults.add(Fault(kind="json", endpoint="indexing-status", body=case.body))
        clock.advance(3600)
        poller.work(Event())
        status = statuses.get(target)
        assert status is not None
        assert (case, case.default is not NODEFAULT) == (case, status.success)
        if not status.success:
            assert before == store.document(dataset(NAME), document(NAME))
    page = self_metrics.render(Format.TEXT).decode()
    assert 'reason="internal"' not in page
