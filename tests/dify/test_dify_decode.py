"""Bodies of answers: valid and invalid JSON, size, compression and truncation."""

from __future__ import annotations

import contextlib
import gc
import gzip
import json
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.dify import (
    BadAnswer,
    ConnectFailed,
    DatasetAnswer,
    DecodeFailed,
    DifyError,
    DocumentDetail,
    IndexingItem,
    ProcessRuleAnswer,
    SchemaMismatch,
    TooLarge,
)
from exporter.dify.answers import DatasetPage, IndexingStatus, Rules, Segmentation
from exporter.dify.transport.failures import UNDECODABLE, undecodable
from exporter.dify.transport.messages import LARGEST, Reply, Request
from tests.dify.conftest import (
    BATCH,
    DATASET,
    DOCUMENT,
    KEY,
    MakeClient,
    Peer,
    RecordingObserver,
    Upstream,
    always,
    http_answer,
    once,
)

REQUEST = Request("document", "")
ITEM = {"id": "a", "indexing_status": "waiting"}


def item(field: str, text: str) -> bytes:
    """An indexing-status of one document, with ``text`` as the value of one field."""
    return f'{{"data": [{{"id": "a", "indexing_status": "waiting", "{field}": {text}}}]}}'.encode()


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"", DecodeFailed, "the answer is empty"),
        (b" \n", DecodeFailed, "the answer is empty"),
        (b"<!DOCTYPE html><title>Dify</title>", DecodeFailed, "HTML instead of JSON"),
        (b'{"data": [', DecodeFailed, "not JSON: Input data was truncated"),
        (b"void", DecodeFailed, "not JSON"),
        (b'\xef\xbb\xbf{"data": []}', DecodeFailed, "not JSON"),
        (b'{"data": []}{}', DecodeFailed, "trailing characters"),
        (b'{"x": ' + b"[" * 100_000 + b'"data": []}', DecodeFailed, "nested too deeply"),
        (item("error", '"\xff"').replace(b"\xc3\xbf", b"\xff"), DecodeFailed, "not UTF-8"),
        (item("error", r'"\ud800"'), DecodeFailed, "not JSON: unpaired surrogate in a string"),
        (item("completed_segments", "NaN"), DecodeFailed, "not JSON"),
        (item("completed_segments", "-Infinity"), DecodeFailed, "not JSON"),
        (b'{"data": null}', SchemaMismatch, r"Expected `array`, got `null` - at `\$\.data`"),
        (b'{"data": {}}', SchemaMismatch, r"at `\$\.data`"),
        (b'{"data": [null]}', SchemaMismatch, "Expected `object`, got `null`"),
        (b'{"data": [{"indexing_status": "x"}]}', SchemaMismatch, r"missing required field `id` - at `\$\.data\[0\]`"),
        (b'{"data": [{"id": "a"}, {"id": 5}]}', SchemaMismatch, r"got `int` - at `\$\.data\[1\]\.id`"),
        (item("error", "{}").replace(b'"a"', b"7"), SchemaMismatch, r"at `\$\.data\[0\]\.id`"),
        (item("error", r'{}, "x": [\ud800]'), DecodeFailed, "not JSON"),
        (item("completed_at", r'{}, "error": "\ud800"'), DecodeFailed, "not JSON"),
        (b"{}", SchemaMismatch, "missing required field `data`"),
        (b"[]", SchemaMismatch, "Expected `object`, got `array`"),
        (b"null", SchemaMismatch, "got `null`"),
    ],
)
def test_a_200_that_does_not_conform_to_the_api_is_an_error(  # noqa: PLR0917 - the columns of a table
    body: bytes, kind: type[BadAnswer], said: str, upstream: Upstream, connect: MakeClient, observer: RecordingObserver
) -> None:
    """Any invalid body is a DecodeFailed or a SchemaMismatch, never another exception."""
    upstream.play(always(http_answer(200, body)))
    with pytest.raises(kind, match=said) as caught:
        connect().indexing_status(DATASET, BATCH)
    assert 200 == caught.value.status
    assert [("main", "indexing_status", "200")] == observer.requests


@pytest.mark.parametrize(
    ("field", "text"),
    [
        *(
            (field, text)
            for field in ("completed_segments", "completed_at")
            for text in (
                "1e400",
                "1.7e308",
                "-1e300",
                str(-(10**11)),
                str(2**63),
                str(-(2**63) - 1),
                "9" * 400,
                "9" * 5000,
            )
        ),
        ("completed_segments", str(2**53 + 1)),
        ("completed_at", "-31536001"),
        ("completed_at", "253402300800"),
        ("completed_segments", '"3"'),
        ("completed_segments", "true"),
        ("completed_at", "{}"),
        ("error", "5"),
        ("error", "{}"),
    ],
)
def test_an_odd_value_of_an_item_is_lost_alone(
    field: str, text: str, upstream: Upstream, connect: MakeClient, observer: RecordingObserver
) -> None:
    """The odd value is null and counted once; the rest of the item and the other items stay."""
    body = item(field, text).replace(b'"waiting"', b'"waiting", "total_segments": 9')
    upstream.play(always(http_answer(200, body.replace(b"}]", b'}, {"id": "b", "indexing_status": "parsing"}]'))))
    value = connect().indexing_status(DATASET, BATCH).value
    assert [IndexingItem("a", "waiting", total_segments=9), IndexingItem("b", "parsing")] == value
    assert [field] == observer.unknown


@pytest.mark.parametrize("text", ["7", "null", "[]", "{}"])
def test_an_item_with_an_odd_status_stays_in_its_batch(text: str, upstream: Upstream, connect: MakeClient) -> None:
    """Without the item, its document would seem deleted; the empty status counts as unknown."""
    body = f'{{"data": [{{"id": "a", "indexing_status": {text}, "total_segments": 9}}]}}'
    upstream.play(always(http_answer(200, body)))
    assert [IndexingItem("a", "", total_segments=9)] == connect().indexing_status(DATASET, BATCH).value


def test_odd_fields_of_a_detail_are_lost_alone(
    upstream: Upstream, connect: MakeClient, observer: RecordingObserver
) -> None:
    """Odd fields are null at any depth; each is counted under its own name."""
    odd = {"name": 5, "tokens": [], "error": {}, "enabled": 1, "created_at": "2026-11-21T17:35:17Z"}
    segmentation = {"max_tokens": 500, "chunk_overlap": "50"}
    rule = {"mode": "automatic", "rules": {"segmentation": segmentation, "parent_mode": 1}}
    rest = {"id": "a", "hit_count": 3, "document_process_rule": rule, "dataset_process_rule": {"rules": []}}
    upstream.play(always(http_answer(200, odd | rest)))
    expected = DocumentDetail(
        "a",
        hit_count=3,
        document_process_rule=ProcessRuleAnswer("automatic", Rules(Segmentation(max_tokens=500))),
        dataset_process_rule=ProcessRuleAnswer(),
    )
    assert expected == connect().document(DATASET, DOCUMENT).value
    assert sorted([*odd, "chunk_overlap", "parent_mode", "rules"]) == sorted(observer.unknown)


def test_an_odd_item_of_a_list_is_dropped_alone(
    upstream: Upstream, connect: MakeClient, observer: RecordingObserver
) -> None:
    """A list is read without its odd items, unless none is valid."""
    client = connect()
    upstream.play(
        once(http_answer(200, {"data": [{"id": 5}, {"id": "a", "name": "A"}, None], "total": "3"})),
        always(http_answer(200, {"data": [None, {"id": 5}], "total": 2})),
    )
    assert DatasetPage([DatasetAnswer("a", "A")]) == client.datasets(1)
    assert ["data", "data", "total"] == observer.unknown
    with pytest.raises(SchemaMismatch, match=r"got `null` - at `\$\.data\[0\]`"):
        client.documents(DATASET, "")


@given(st.binary(max_size=300))
def test_any_bytes_decode_or_raise_an_error_of_the_tree(body: bytes) -> None:
    """The decoder raises only exceptions that the client handles, and each is mapped to an error of the tree."""
    for shape in (IndexingStatus, DocumentDetail):
        leaf: DifyError = DecodeFailed("")
        try:
            msgspec.json.decode(body, type=shape)
        except UNDECODABLE as error:
            leaf = undecodable(REQUEST, Reply(200, {}, body), error)
        assert isinstance(leaf, DecodeFailed | SchemaMismatch)


@given(st.lists(st.sampled_from([r"\ud83d", r"\ude00", r"\\", "ud83d", "a", r"\n", r"\u0041", r"\""])))
def test_an_unpaired_surrogate_is_named_as_the_cause(pieces: list[str]) -> None:
    """An unpaired surrogate is named as the cause at any position, but not for truncated answers or earlier errors."""
    text = "".join(pieces)
    half = any("\ud800" <= character <= "\udfff" for character in json.loads(f'"{text}"'))
    whole = f'{{"data": [], "x": "{text}"'
    for body, expected in ((f"{whole}}}", half), (whole, half), (f'{{"data": NaN, "x": "{text}"}}', False)):
        said = ""
        try:
            msgspec.json.decode(body.encode(), type=IndexingStatus)
        except msgspec.DecodeError as error:
            said = str(undecodable(REQUEST, Reply(200, {}, body.encode()), error))
        assert expected == ("unpaired surrogate in a string" in said)


@pytest.mark.parametrize("length", range(1, 13))
def test_an_answer_truncated_within_a_pair_is_called_truncated(length: int) -> None:
    """An answer truncated within a surrogate pair is reported as truncated: the other half may follow."""
    body = b'{"x": "' + rb"\ud83d\ude00"[:length]
    error = undecodable(REQUEST, Reply(200, {}, body), msgspec.DecodeError("Input data was truncated"))
    assert "not JSON: Input data was truncated" in str(error)


@pytest.mark.parametrize(("headers", "frontend"), [({"X-Version": "1.12.1"}, False), ({}, True)])
def test_html_without_a_version_points_to_the_url(headers: dict[str, str], frontend: bool) -> None:
    """The web frontend answers 200 with HTML; an answer of Dify's API would have the version header."""
    error = undecodable(REQUEST, Reply(200, headers, b"<html>"), ValueError())
    assert frontend == ("does url end in /v1?" in str(error))


def test_floats_ints_nulls_absent_and_unknown_fields_are_accepted(upstream: Upstream, connect: MakeClient) -> None:
    """The API documentation and real servers differ here, and both are accepted; duplicate IDs are passed on."""
    items = [
        ITEM | {"completed_at": 1795282998, "completed_segments": 3},
        ITEM | {"completed_at": 1795282998.25, "completed_segments": 3.0, "total_segments": None, "new": {"x": [1]}},
        ITEM | {"indexing_status": "some word of tomorrow", "error": "\u0000 \U0001f600"},
    ]
    upstream.play(always(http_answer(200, {"data": items})))
    value = connect().indexing_status(DATASET, BATCH).value
    assert value is not None
    assert [1795282998, 1795282998.25, None] == [each.completed_at for each in value]
    assert [3, 3.0, None] == [each.completed_segments for each in value]
    assert ["\u0000 \U0001f600"] == [each.error for each in value if each.error]


def test_both_names_of_the_separator_are_read(upstream: Upstream, connect: MakeClient) -> None:
    """The API documentation has ``separator``, automatic rules of real servers ``delimiter``; rules may be empty."""
    rule = {"mode": "custom", "rules": {"segmentation": {"separator": "##", "delimiter": "\n", "max_tokens": 5}}}
    upstream.play(always(http_answer(200, {"id": "a", "dataset_process_rule": rule, "document_process_rule": {}})))
    value = connect().document(DATASET, DOCUMENT).value
    assert isinstance(value, DocumentDetail)
    assert value.dataset_process_rule is not None
    assert value.dataset_process_rule.rules is not None
    segmentation = value.dataset_process_rule.rules.segmentation
    assert segmentation is not None
    assert ("##", "\n", 5) == (segmentation.separator, segmentation.delimiter, segmentation.max_tokens)


BODY = json.dumps({"data": [ITEM | {"error": "é" * 3000}]}).encode()
COMPRESSED = gzip.compress(BODY)


def chunked(body: bytes) -> bytes:
    """The body in three chunks."""
    third = len(body) // 3
    pieces = (body[:third], body[third : 2 * third], body[2 * third :])
    return b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (BODY, {"Content-Encoding": "identity"}),
        (COMPRESSED, {"Content-Encoding": "gzip"}),
        (gzip.compress(BODY[:100]) + gzip.compress(BODY[100:]), {"Content-Encoding": "x-gzip"}),
        (chunked(BODY), {"Transfer-Encoding": "chunked"}),
        (chunked(COMPRESSED), {"Transfer-Encoding": "chunked", "Content-Encoding": "GZIP"}),
    ],
)
def test_a_body_may_be_compressed_and_chunked(
    body: bytes, headers: dict[str, str], upstream: Upstream, connect: MakeClient
) -> None:
    """Compression and chunking by proxies do not change the value, and the connection is reusable."""
    upstream.play(always(http_answer(200, body, headers)))
    client = connect()
    for _ in range(2):
        value = client.indexing_status(DATASET, BATCH).value
        assert value is not None
        assert "é" * 3000 == value[0].error
    assert 1 == upstream.connections


@pytest.mark.parametrize(
    ("body", "headers", "kind", "code"),
    [
        (BODY[:-5], {"Content-Length": str(len(BODY))}, ConnectFailed, "connect"),
        (chunked(BODY)[:-10], {"Transfer-Encoding": "chunked"}, ConnectFailed, "connect"),
        (b"zz\r\n", {"Transfer-Encoding": "chunked"}, ConnectFailed, "connect"),
        (COMPRESSED[:-12], {"Content-Encoding": "gzip"}, DecodeFailed, "200"),
        (COMPRESSED[:-8], {"Content-Encoding": "gzip"}, DecodeFailed, "200"),  # whole JSON, no checksum
        (COMPRESSED[:40] + b"????" + COMPRESSED[44:], {"Content-Encoding": "gzip"}, DecodeFailed, "200"),
        (COMPRESSED + b"tail", {"Content-Encoding": "gzip"}, DecodeFailed, "200"),
        (BODY, {"Content-Encoding": "gzip"}, DecodeFailed, "200"),
        (b"", {"Content-Encoding": "gzip"}, DecodeFailed, "200"),
        (BODY, {"Content-Encoding": "gzip, gzip"}, DecodeFailed, "200"),
        (BODY, {"Content-Encoding": "br"}, DecodeFailed, "200"),
        (BODY, {"Content-Length": "5, 7"}, ConnectFailed, "connect"),
    ],
)
def test_a_truncated_body_is_connect_failed_and_a_damaged_one_decode_failed(  # noqa: PLR0917 - the columns of a table
    body: bytes,
    headers: dict[str, str],
    kind: type[DifyError],
    code: str,
    upstream: Upstream,
    connect: MakeClient,
    observer: RecordingObserver,
) -> None:
    """A body that HTTP framing shows as truncated is a ConnectFailed; a complete but invalid one is a DecodeFailed."""
    upstream.play(once(http_answer(200, body, headers)))
    with pytest.raises(kind):
        connect().indexing_status(DATASET, BATCH)
    assert [("main", "indexing_status", code)] == observer.requests


def test_a_content_length_above_the_cap_is_refused_at_once(upstream: Upstream, connect: MakeClient) -> None:
    """The client does not wait for any byte of such a body."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(http_answer(200, b"", {"Content-Length": "9" * 30}))
        peer.send_nothing()

    upstream.play(script)
    with pytest.raises(TooLarge, match="indexing_status: the answer is larger than 16384 KiB"):
        connect(timeout=60.0).indexing_status(DATASET, BATCH)


def gzip_above_the_limit() -> bytes:
    """A gzip body that is one byte above the limit when decompressed."""
    return gzip.compress(b" " * (LARGEST + 1))


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (gzip_above_the_limit(), {"Content-Encoding": "gzip"}),
        (chunked(b" " * (LARGEST + 1)), {"Transfer-Encoding": "chunked"}),
    ],
    ids=["gzip", "chunked"],
)
def test_a_body_above_the_cap_is_too_large(
    body: bytes, headers: dict[str, str], upstream: Upstream, connect: MakeClient, observer: RecordingObserver
) -> None:
    """The limit counts decompressed bytes, with or without a Content-Length; the connection is not reused."""
    upstream.play(once(http_answer(200, body, headers)), always(http_answer(200, {"data": []})))
    client = connect()
    with pytest.raises(TooLarge):
        client.indexing_status(DATASET, BATCH)
    assert [] == client.indexing_status(DATASET, BATCH).value
    assert [("main", "indexing_status", "200")] * 2 == observer.requests
    assert 2 == upstream.connections


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (gzip_above_the_limit(), {"Content-Encoding": "gzip"}),
        (b"no gzip", {"Content-Encoding": "gzip"}),
        (b'{"data": ', {}),
        (b'{"data": [{"id": 5, "error": 5}]}', {}),
        (b"", {"Content-Length": "10"}),
    ],
    ids=["too large", "damaged", "not JSON", "no id", "truncated"],
)
def test_a_body_is_freed_with_its_error(
    body: bytes, headers: dict[str, str], upstream: Upstream, connect: MakeClient
) -> None:
    """The body is freed without garbage collection, which is infrequent: large answers would accumulate in memory."""
    upstream.play(once(http_answer(200, body, headers)))
    client = connect()
    gc.disable()
    try:
        before = exporter_errors()
        with contextlib.suppress(DifyError):
            client.indexing_status(DATASET, BATCH)
        left = exporter_errors()
    finally:
        gc.enable()
    assert [] == [each for each in left if not any(each is other for other in before)]


def exporter_errors() -> list[object]:
    """All exceptions of the exporter in memory, including those of other tests."""
    found = [each for each in gc.get_objects() if issubclass(type(each), Exception)]
    return [each for each in found if type(each).__module__.startswith("exporter.")]


def test_a_body_of_exactly_the_cap_is_read(upstream: Upstream, connect: MakeClient) -> None:
    """A body of exactly the maximum size is accepted."""
    body = b'{"data": []}'
    upstream.play(
        always(http_answer(200, gzip.compress(body + b" " * (LARGEST - len(body))), {"Content-Encoding": "gzip"}))
    )
    assert [] == connect().indexing_status(DATASET, BATCH).value


def test_random_damage_raises_errors_of_the_tree(upstream: Upstream, connect: MakeClient) -> None:
    """An answer with random changes, including its headers, is read or raises a DifyError without the key."""
    rng = random.Random(7)  # noqa: S311 - reproducible damage
    whole = http_answer(
        200, COMPRESSED, {"Content-Encoding": "gzip", "Connection": "close", "Set-Cookie": f"x-token={KEY}"}
    )
    client = connect(timeout=0.3)
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 6)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        upstream.play(once(bytes(damaged)))
        said = ""
        try:
            client.indexing_status(DATASET, BATCH)
        except DifyError as error:
            said = str(error)
        assert KEY not in said
