"""The API key is in no output, not even while everything fails, and not in reprs or tracebacks."""

from __future__ import annotations

import base64
import traceback
from typing import TYPE_CHECKING

import pytest

from exporter.clock import SystemClock
from exporter.config import Config, Secret, ServerConfig, StateConfig
from exporter.daemon.app import App
from exporter.dify import Client, DifyError
from exporter.metrics import SelfMetrics
from tests.faults.gates import Gates, Way
from tests.faults.rows import CANARY, Row, fault_rows

if TYPE_CHECKING:
    from tests.faults.stand import Evidence

FORMS = (CANARY.encode(), base64.b64encode(CANARY.encode()).rstrip(b"="), CANARY.encode().hex().encode())


def test_no_output_of_the_whole_run_has_the_key(evidence: Evidence) -> None:
    """Debug log, pages, state, `check` and `once`, with answers that repeat the key in cookies and texts."""
    assert {"stderr", "stdout", "state.db", "/metrics", "/", "check", "once"} <= set(evidence.outputs)
    assert all(evidence.outputs[name] for name in ("stderr", "state.db", "/metrics", "/", "check", "once"))
    assert [] == [name for name, said in evidence.outputs.items() if any(form in said for form in FORMS)]


def test_no_repr_has_the_key() -> None:
    """The reprs of the configuration, the client, the application and all their parts do not contain the key."""
    server = ServerConfig("main", "http://127.0.0.1:9/v1", api_key=Secret(CANARY))
    app = App(Config(servers=(server,), state=StateConfig(None)))
    seen: set[int] = set()
    waiting: list[object] = [app]
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, (type, str, bytes)):
            continue
        seen.add(id(each))
        assert not isinstance(each, Secret) or CANARY not in f"{each!r} {each}"
        if not isinstance(each, Secret):
            waiting += _parts(each)
    texts = [repr(app), repr(app.config), str(app.config), repr(app.monitors[0].client), repr(app.monitors[0])]
    assert len(seen) > 100
    assert [] == [text for text in texts if CANARY in text]


def _parts(each: object) -> list[object]:
    """The parts of an object, as far as the exporter created them."""
    if isinstance(each, dict):
        return [*each.keys(), *each.values()]
    if isinstance(each, (list, tuple, set, frozenset)):
        return list(each)
    if not type(each).__module__.startswith("exporter"):
        return []
    assert CANARY not in repr(each)
    slots = [getattr(each, name) for name in getattr(type(each), "__slots__", ()) if hasattr(each, name)]
    return [*slots, *getattr(each, "__dict__", {}).values()]


@pytest.mark.parametrize("row", [row for row in fault_rows() if row.way and not row.by_proxy], ids=lambda row: row.name)
def test_no_traceback_has_the_key(row: Row) -> None:
    """No traceback of a connection failure, with the local variables of every frame, contains the key."""
    assert row.way is not None
    with Gates() as gates:
        gate = gates.open(0, Way())
        gates.go(gate, row.way())
        server = ServerConfig("main", f"http://127.0.0.1:{gate.port}/v1", api_key=Secret(CANARY), timeout=0.3)
        client = Client(server, observer=SelfMetrics(), clock=SystemClock(), user_agent="test")
        with pytest.raises(DifyError) as caught:
            client.indexing_status("d", "b")
        told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        client.close_connections()
    assert CANARY not in "".join(told.format())
