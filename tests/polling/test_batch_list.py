"""Parsing lists of batches: what is accepted, what is rejected, and with which messages."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from exporter.clock import ManualClock
from exporter.polling.batch_files import BatchFiles, BatchRef, read_list
from exporter.yamlconf import ConfigError, read_text, reader

A = "501756ed-cffa-44bb-b992-713f60113872"
B = "c23d659c-2dd9-43a9-9ba1-c2344a7f1127"
ONE = "20261121173517669864"
TWO = "20261121173519410388"
KEY = "dataset-0123456789"


def _problems(file: str, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_list(file, text)
    return [str(problem) for problem in caught.value.problems]


def test_a_list_in_yaml() -> None:
    """Single batches and several per dataset can be mixed; the order of the file is kept."""
    text = f"""\
# written by upload.py
- dataset_id: {A.upper()}
  batch: "{ONE}"
- {{dataset_id: {B}, batches: ["{TWO}", b], uploaded_by: [me, {{a: b}}]}}
- {{dataset_id: {A}, batch: x, batches: [y]}}
- {{dataset_id: {A}, batches: []}}
"""
    expected = [(A, ONE), (B, TWO), (B, "b"), (A, "x"), (A, "y")]
    assert [BatchRef(*pair) for pair in expected] == read_list("a.yaml", text).batches


@pytest.mark.parametrize("indent", [None, 2, "\t"])
def test_a_list_in_json(indent: int | str | None) -> None:
    """JSON as programs write it: tabs, emoji as escaped surrogate pairs, unknown keys."""
    value = [
        {"dataset_id": A, "batch": ONE, "name": "\U0001f600", "size": 1.5, "ok": True, "more": [[{"a": None}]]},
        {"dataset_id": B, "batches": [TWO, "b"]},
    ]
    assert [(A, ONE), (B, TWO), (B, "b")] == read_list("a.JSON", json.dumps(value, indent=indent)).batches


@pytest.mark.parametrize("file", ["a.yaml", "a.json"])
def test_a_number_of_twenty_digits_is_a_batch(file: str) -> None:
    """An unquoted batch id keeps all its digits."""
    assert [(A, ONE), (A, TWO)] == read_list(file, f'[{{"dataset_id": "{A}", "batches": [{ONE}, {TWO}]}}]').batches


@pytest.mark.parametrize("file", ["a.yaml", "a.json"])
def test_an_empty_list_is_valid(file: str) -> None:
    """An empty list is valid: the program has nothing to watch at the moment."""
    assert [] == read_list(file, "[]\n").batches


def test_variables_are_not_substituted() -> None:
    """Variables are not substituted: another program's file must not access the secrets of the exporter."""
    assert [(A, "${DIFY_API_KEY}")] == read_list(
        "a.yaml", f"- {{dataset_id: {A}, batch: '${{DIFY_API_KEY}}'}}\n"
    ).batches


def test_all_problems_are_reported_with_their_place() -> None:
    """One invalid item rejects the whole list, and all problems are reported with their location."""
    text = f"""\
- {{dataset_id: {A}, batch: ok}}
- {A}
- {{dataset_id: 5017, batch: a/b}}
- {{dataset_id: {A}, batches: {ONE}}}
- {{batch: 2026}}
- {{dataset_id: {A}}}
- {{dataset_id: [{A}], batch: {{}}}}
- dataset_id: {A}
  dataset_id: {A}
  batches: [~, 1.5, '', {ONE}0]
"""
    expected = f"""\
2: [1]: must be a mapping, with lines of key: value (keys: dataset_id, batch, batches)
3: [2].dataset_id: '5017' is not a UUID; copy it from the knowledge base's URL, …/datasets/<id>
3: [2].batch: 'a/b' is not a batch ID; copy it from the answer to the upload
4: [3].batches: must be a list: one item per line, each after a dash (batch ID)
5: [4].batch: '2026' is a number in YAML: put it in quotes
5: [4].dataset_id: is missing: add it; Dify's answer to an upload does not contain it
6: [5].batch: is missing: set batch or batches
7: [6].dataset_id: is a list: write one value (UUID)
7: [6].batch: is a mapping: write one value (batch ID)
9: [7].dataset_id: duplicates the key in line 8: keep one
10: [7].batches[0]: '~' has no value: give it one or remove it
10: [7].batches[1]: '1.5' is a number in YAML: put it in quotes
10: [7].batches[2]: is not a batch ID; copy it from the answer to the upload
10: [7].batches[3]: '{ONE}0' is a number in YAML: put it in quotes
"""
    assert expected.splitlines() == [line.removeprefix("a.yaml:") for line in _problems("a.yaml", text)]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("a.yaml", "", "a.yaml: is empty: write [] for no batches, write a new file and rename it over the old one"),
        (
            "a.yaml",
            f"dataset_id: {A}\n",
            "a.yaml:1: must be a list: one item per line, each after a dash (keys: dataset_id, batch, b",
        ),
        ("a.yaml", "~\n", "a.yaml:1: must be a list"),
        ("a.yaml", "- {a: b\n", "a.yaml:2: is not valid YAML"),
        ("a.yaml", f"- dataset_id: {A}\n  batch: '2026\n", "is not valid YAML"),
        ("a.json", "", "a.json:1: is not valid JSON: Expecting value; write a new file and rename it over the old one"),
        ("a.json", f'[\n{{"dataset_id": "{A}", ', "a.json:2: is not valid JSON: "),
        ("a.json", "{}", "a.json: must be a list"),
        ("a.json", "null", "a.json: must be a list"),
        (
            "a.json",
            f'{{"dataset_id": "{A}"}}\n{{"dataset_id": "{A}"}}\n',
            "Extra data; put several values into one",
        ),
        ("a.json", "[" * 100_000, "a.json: is nested too deeply"),
        (
            "a.json",
            f'[{{"dataset_id": "{A}", "batch": true}}]',
            "a.json: [0].batch: 'true' is a boolean in YAML: put it in quotes",
        ),
        ("a.json", f'[{{"dataset_id": "{A}", "batch": null}}]', "a.json: [0].batch: 'null' has no value: give it one"),
        (
            "a.json",
            f'[{{"dataset_id": "{A}", "batch": NaN}}]',
            "a.json: [0].batch: 'NaN' is a number in YAML: put it in quotes",
        ),
        ("a.json", f'[{{"dataset_id": "{A}", "batch": "\\ud800"}}]', "[0].batch: '\\ud800' cannot be encoded as UTF-8"),
        (
            "a.json",
            f'[{{"dataset_id": "{A}", "batches": [["a"]]}}]',
            "a.json: [0].batches[0]: is a list: write one value (batch ID)",
        ),
        ("a.yaml", f"- {{dataset_id: {A}, batches: ~}}", "a.yaml:1: [0].batches: must be a list"),
        (
            "a.json",
            f'[{{"dataset_id": 1, "dataset_id": "{A}", "batch": "a"}}]',
            "a.json: [0].dataset_id: duplicates the key: keep one",
        ),
    ],
)
def test_each_error_has_its_message(file: str, text: str, message: str) -> None:
    """Each problem is reported with its remedy, and with a line number if there is one."""
    assert any(message in problem for problem in _problems(file, text)), _problems(file, text)


CASES = Path(__file__).parents[1] / "cases" / "batch-lists"


def test_a_byte_order_mark_is_not_part_of_a_list() -> None:
    """Programs on Windows write it."""
    assert [(A, ONE)] == read_list("bom.json", read_text(CASES / "bom.json")).batches


def test_an_odd_id_is_polled_with_a_warning(tmp_path: Path) -> None:
    """Another program may know a form of ids that Dify does not have today; the log names each list once."""
    (tmp_path / "a.yaml").write_text(f"- {{dataset_id: {A}, batches: ['{B}', '{ONE} {TWO}', '{ONE}']}}\n")
    files = BatchFiles([tmp_path / "*"], clock=ManualClock())
    with capture_logs() as logs:
        assert [(A, B), (A, f"{ONE} {TWO}"), (A, ONE)] == files.update()
        files.update()
    expected = f"{tmp_path}/a.yaml:1: [0].batches[0]: '{B}' is a document's ID, not a batch's: put it under documents"
    [line] = logs
    assert (True, True) == (line["problem"].startswith(expected), line["problem"].endswith("(and 1 more)"))
    assert ([line["problem"]], 0) == (files.warnings, files.problem_count)


def test_a_key_in_the_wrong_place_is_masked() -> None:
    """An API key put into a list by mistake is not quoted in the message."""
    text = f"- {{dataset_id: {KEY}, batch: '{KEY}/'}}\n- {KEY}\n- {{dataset_id: '{KEY}\n"
    assert KEY not in "\n".join(_problems("a.yaml", text) + _problems("a.yaml", text[:-30]) + _problems("a.json", text))


def test_the_number_of_problems_is_limited() -> None:
    """The number of reported problems is limited."""
    assert len(_problems("a.yaml", "- x\n" * 2000)) == reader.MAX_PROBLEMS + 1


def test_the_expansion_of_anchors_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file that expands to a huge list is rejected before it is expanded."""
    monkeypatch.setattr(reader, "MAX_VALUES", 1000)
    text = f"- &a {{dataset_id: {A}, batches: [{', '.join('x' for _ in range(100))}]}}\n" + "- *a\n" * 10
    problems = _problems("a.yaml", text)
    assert any("contains more than 1000 values, counting each use of an anchor" in line for line in problems)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([A, ONE, KEY]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["dataset_id", "batch", "batches", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES | st.text(max_size=20), st.sampled_from(["a.yaml", "a.json"]))
def test_any_text_is_read_or_refused(value: object, file: str) -> None:
    """Any text is either parsed or rejected with ``ConfigError``; no other exception occurs."""
    for text in (json.dumps(value), yaml.safe_dump(value), str(value)):
        batches: list[BatchRef] = []
        with contextlib.suppress(ConfigError):
            batches = read_list(file, text).batches
        assert all(batch.dataset_id == A for batch in batches)
