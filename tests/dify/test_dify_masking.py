"""The API key in answers: nothing that a server sends carries it further."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import Secret
from exporter.dify.transport.masking import MASK, mask, mask_body
from tests.dify.conftest import BATCH, DATASET, DOCUMENT, KEY, always, http_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.dify.conftest import MakeClient, Upstream

ODD = "dataset-a/b+c=d~%\\\"e'f"
"""A key with characters that URLs and JSON encode."""

FORMS: dict[str, Callable[[str], str]] = {
    "plain": lambda key: key,
    "lower case": str.lower,
    "upper case": str.upper,
    "URL": lambda key: quote(key, safe=""),
    "path": quote,
}


@pytest.mark.parametrize("key", [KEY, ODD])
@pytest.mark.parametrize("form", FORMS)
def test_a_name_or_an_id_with_the_key(form: str, key: str, upstream: Upstream, connect: MakeClient) -> None:
    """A key in a name, an id or a text of an answer is replaced; the rest of it stays."""
    text = f"a {FORMS[form](key)} b"
    client = connect(api_key=Secret(key))
    document = {"id": text, "indexing_status": "error", "error": text, "name": text}
    upstream.play(always(http_answer(200, {**document, "data": [document], "total": 1})))
    item = client.indexing_status(DATASET, BATCH).value
    detail = client.document(DATASET, DOCUMENT).value
    listed = client.documents(DATASET, "error").data[0]
    dataset, page = client.dataset(DATASET), client.datasets(1)

    assert item is not None
    assert detail is not None
    found = [item[0].id, item[0].error, detail.name, detail.error, listed.id, dataset.name, page.data[0].name]
    assert {form: {f"a {MASK} b"}} == {form: {*found}}


@pytest.mark.parametrize("key", [KEY, ODD])
@pytest.mark.parametrize("encode", [lambda c: f"\\u{ord(c):04x}", lambda c: f"\\u{ord(c):04X}"])
def test_an_answer_with_escapes(key: str, encode: object, upstream: Upstream, connect: MakeClient) -> None:
    """The decoder does not restore a key that JSON escapes hide."""
    assert callable(encode)
    body = f'{{"id": "x", "name": "{"".join(map(encode, key))}"}}'
    assert key == json.loads(body)["name"]
    upstream.play(always(http_answer(200, body)))

    assert MASK == connect(api_key=Secret(key)).dataset(DATASET).name


def test_a_version_with_the_key(upstream: Upstream, connect: MakeClient) -> None:
    """A header with the key does not become the version of the server."""
    upstream.play(always(http_answer(200, {"id": "x"}, {"X-Version": KEY.lower()})))
    client = connect()
    client.dataset(DATASET)

    assert "" == client.version


@given(st.text(max_size=50), st.text(max_size=50))
def test_any_text_is_free_of_the_key(before: str, after: str) -> None:
    """Whatever surrounds it, the key is replaced in every form, and nothing else is."""
    for form in (*(form(KEY) for form in FORMS.values()), "".join(f"%{ord(c):02X}" for c in KEY)):
        assert f"{before}{MASK}{after}" == mask(f"{before}{form}{after}", Secret(KEY))


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20)))
def test_other_answers_stay_as_they_are(content: dict[str, str]) -> None:
    """An answer without the key is the same bytes afterwards, also for a key so short that it is part of words."""
    for body in (json.dumps(content).encode(), json.dumps(content, ensure_ascii=False).encode(errors="replace")):
        assert body == mask_body(body, Secret(KEY))
        assert body == mask_body(body, Secret("e"))
        assert body == mask_body(body, None)
