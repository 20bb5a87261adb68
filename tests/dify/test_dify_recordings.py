"""Recorded answers of a real server, replayed to the client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from exporter.dify import BadRequest, DifyError, Forbidden, NotFound, ServerFailed, Unauthorized
from tests.dify.conftest import BATCH, DATASET, DOCUMENT, KEY, MakeClient, Upstream, always, http_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.dify import Answer, Client

RECORDINGS = Path(__file__).parents[1] / "recordings"
SKIPPED = {
    "err--indexing-status--head",  # the client sends GET only
    "err--indexing-status--options",
}


def recordings(*patterns: str) -> list[Any]:
    """The cases whose file names match."""
    files = sorted(file for pattern in patterns for file in RECORDINGS.glob(f"{pattern}.json"))
    assert files
    records = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return [pytest.param(record, id=record["case"]) for record in records if record["case"] not in SKIPPED]


def replay(upstream: Upstream, record: Any) -> None:
    """Serve the recorded answer with the key in the cookie, as the real server does."""
    headers = {name: value.replace("dataset-REDACTED", KEY) for name, value in record["headers"].items()}
    body = json.dumps(record["json"], ensure_ascii=False) if "json" in record else record["text"]
    upstream.play(always(http_answer(record["status"], body, headers)))


def fetch(client: Client, path: str) -> Callable[..., Answer[Any]]:
    """The client method for the recorded endpoint."""
    if path.endswith("/indexing-status"):
        return lambda: client.indexing_status(DATASET, BATCH)
    return lambda: client.document(DATASET, DOCUMENT)


def holds(value: Any, recorded: Any) -> None:
    """Assert that each decoded field equals the recording, None if it is absent there."""
    if isinstance(value, dict):
        for name, inner in value.items():
            holds(inner, recorded.get(name))
    elif isinstance(value, list):
        assert len(recorded) == len(value)
        for inner, outer in zip(value, recorded, strict=True):
            holds(inner, outer)
    elif recorded == {}:
        assert value is None
    else:
        assert recorded == value


def is_good(record: Any) -> bool:
    """Whether the recorded status is 200."""
    status: int = record.values[0]["status"]
    return status == 200


INDEXING = recordings("indexing-status--*", "outage--*indexing-status*", "err--indexing-status--*")
DETAIL = recordings("document--*")
FAILURES = recordings("err--*", "outage--*", "indexing-status--*", "document--*")


@pytest.mark.parametrize("record", [record for record in INDEXING if is_good(record)])
def test_a_recorded_status_is_decoded_completely(record: Any, upstream: Upstream, connect: MakeClient) -> None:
    """Every item and every field of each recorded indexing-status is decoded unchanged."""
    replay(upstream, record)
    client = connect()
    value = client.indexing_status(DATASET, BATCH).value
    assert value is not None
    holds(msgspec.to_builtins(value), record["json"]["data"])
    assert record["headers"]["x-version"] == client.version


@pytest.mark.parametrize("record", [record for record in DETAIL if is_good(record)])
def test_a_recorded_detail_is_decoded_completely(record: Any, upstream: Upstream, connect: MakeClient) -> None:
    """Every field that the client uses of each recorded detail is decoded unchanged."""
    replay(upstream, record)
    value = connect().document(DATASET, DOCUMENT).value
    assert value is not None
    holds(msgspec.to_builtins(value), record["json"])


def expectation(record: Any) -> tuple[type[DifyError], bool]:
    """The error class, and whether Dify itself reports that the object does not exist."""
    code = record.get("json", {}).get("code")
    match record["status"]:
        case 400:
            return BadRequest, False
        case 401:
            return Unauthorized, False
        case 403:
            return Forbidden, False
        case 404 | 405:
            return NotFound, code == "not_found"
        case _:
            return ServerFailed, False


@pytest.mark.parametrize("record", [record for record in FAILURES if not is_good(record)])
def test_a_recorded_failure_becomes_its_error(record: Any, upstream: Upstream, connect: MakeClient) -> None:
    """Each recorded failure has its error class, its status and Dify's message, and never contains the key."""
    replay(upstream, record)
    kind, gone = expectation(record)
    with pytest.raises(DifyError) as caught:
        fetch(connect(), record["path"])()
    assert kind is type(caught.value)
    assert record["status"] == caught.value.status
    assert gone == getattr(caught.value, "gone", False)
    assert record.get("json", {}).get("message", "").strip() in str(caught.value)
    assert KEY not in str(caught.value)
