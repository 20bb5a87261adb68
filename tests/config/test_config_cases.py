"""Inputs that people really wrote, in ``tests/cases``: refused or warned of at startup, with the likely cause."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from exporter.config import Secret, from_environment, load, parse_api_key
from exporter.config.api_keys import read_api_key
from exporter.yamlconf import ConfigError, Invalid, tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.config import Config

    LoadText = Callable[..., Config]

CASES = Path(__file__).parents[1] / "cases"
KEYS, CONFIGS = CASES / "keys", CASES / "configs"
KEY = "dataset-AbCdEf0123456789AbCdEf01"
HEAD = "servers:\n  - name: main\n    url: http://api:5001/v1\n    discover: true\n"

WRONG_KEYS = {
    "app-key": "is an app's key: a knowledge key starts with dataset-; create one in Dify under Knowledge > Service",
    "assignment": "is an assignment (NAME=…): write the key alone, from dataset- on",
    "base64": "is a key in base64, as in a Kubernetes secret: decode it (base64 -d), or write it under",
    "empty": "is empty: write",
    "long": "is longer than 4096 characters, a key has some 32: is it the right text?",
    "quotes": "is in quotes, which an env file or a key file keeps as a part of the key: remove them",
    "two-lines": "has more than one line: write the key alone, in one line",
    "unbraced": "is the name of a variable, not its value: in the configuration file write ${NAME}, anywhere",
    "utf16": "is UTF-16: save it as UTF-8",
}
OF_OTHERS = "does not start with dataset-, as Dify's knowledge keys do: check it, unless a gateway in front of Dify has"


def test_every_case_has_a_test() -> None:
    """A case that is added requires an expectation."""
    assert {*WRONG_KEYS, "bom", "crlf"} == {file.name for file in KEYS.iterdir()}
    assert {*WRONG_CONFIGS, *DOUBTFUL_CONFIGS, "pattern-without-file"} == {file.stem for file in CONFIGS.iterdir()}


@pytest.mark.parametrize("name", ["bom", "crlf"])
def test_marks_and_line_ends_are_not_part_of_a_key(name: str, load_text: LoadText) -> None:
    """Editors on Windows add them, wherever the key is stored."""
    text = (KEYS / name).read_bytes().decode()
    assert Secret(KEY) == read_api_key(KEYS / name) == parse_api_key(text)
    assert Secret(KEY) == from_environment({"DIFY_API_KEY": text}).servers[0].api_key
    config = load_text(f'{HEAD}    api_key: "${{KEY}}"\n', KEY=text)
    assert (Secret(KEY), ()) == (config.servers[0].api_key, config.warnings)


@pytest.mark.parametrize(("name", "message"), WRONG_KEYS.items())
def test_what_is_not_a_key_is_refused_with_its_cause_wherever_it_is(
    name: str, message: str, load_text: LoadText
) -> None:
    """Files, variables and the configuration have the same messages, which show no part of the text."""
    content = (KEYS / name).read_bytes()
    attempts = [partial(load_text, f"{HEAD}    api_key_file: {KEYS / name}\n")]
    if name != "utf16":  # no environment variable can contain it
        text = content.decode()
        attempts.append(partial(load_text, f'{HEAD}    api_key: "${{KEY}}"\n', KEY=text))
        if text:
            attempts.append(partial(from_environment, {"DIFY_API_KEY": text}))
    for attempt in attempts:
        with pytest.raises(ConfigError) as caught:
            attempt()
        [problem] = caught.value.problems
        assert message in problem.message
        assert "AbCdEf" not in problem.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("'dataset-abc'", "is in quotes"),
        ("“dataset-abc”", "is in quotes"),
        ('dataset-abc"', "is in quotes"),
        ("${DIFY_API_KEY}", "is the name of a variable"),
        ("%DIFY_API_KEY%", "is the name of a variable"),
        ("export DIFY_API_KEY=abc", "is an assignment"),
        ("Bearer dataset-abc", "has something before the key"),
        ('{"key":"dataset-abc"}', "has something before the key"),
        ("dataset-abcdataset-def", "or is two keys"),
        ("dat...AbCdEf0123456789Ab", "is abbreviated"),
        ("dataset-********", "is abbreviated"),
        ("YXBwLUFiQ2RFZjAx", "is a key in base64"),
        ("WkdGMFlYTmxkQzFCWWtOa1JXWXdNVEl6TkRVMk56ZzVRV0pEWkVWbU1ERT0=", "is a key in base64"),
    ],
)
def test_other_forms_of_the_same_mistakes(text: str, message: str) -> None:
    """Other quotes, prefixes and encodings have the message of their kind."""
    with pytest.raises(Invalid, match=message):
        parse_api_key(text)


@pytest.mark.parametrize("text", ["sk-0123456789", "YWJjZA==", "eyJhbGciOiJIUzI1NiJ9.e30.abc", "user=", "a$b"])
def test_a_key_that_is_not_of_dify_is_used_with_a_warning(text: str, load_text: LoadText, tmp_path: Path) -> None:
    """Gateways have keys of any form, so the key is sent; the warning shows no part of it."""
    (tmp_path / "key").write_text(text)
    configs = [
        from_environment({"DIFY_API_KEY": text}),
        load_text(f'{HEAD}    api_key: "${{KEY}}"\n', KEY=text),
        load_text(f"{HEAD}    api_key_file: key\n"),
    ]
    for config, place in zip(configs, ["DIFY_API_KEY", "servers[0].api_key", "servers[0].api_key_file"], strict=True):
        [warning] = config.warnings
        assert place == warning.path
        assert OF_OTHERS in warning.message
        assert text not in str(warning)


DOUBTFUL_CONFIGS = {
    "uuid-as-batch": "'c23d659c-2dd9-43a9-9ba1-c2344a7f1127' is a document's ID, not a batch's: put it under documents",
    "float-batch": "'2.0261121173517669e+19' is a number whose last digits are lost: a batch ID has 20 digits; copy it",
    "two-in-one": "'20261121173517669864 20261121173517669865' contains more than one batch ID: write them as separate",
    "curly-quotes": "has something around the 20 digits of a batch ID, such as curly quotes: write the digits alone",
}


@pytest.mark.parametrize(("name", "message"), DOUBTFUL_CONFIGS.items())
def test_an_id_that_is_not_of_a_batch_has_a_warning(name: str, message: str) -> None:
    """Dify would answer each with a 404, as for a deleted batch; the warning has line, key and remedy."""
    [warning] = load(CONFIGS / f"{name}.yaml", {}).warnings
    assert (7, "servers[0].datasets[0].batches[0]") == (warning.line, warning.path)
    assert message in warning.message


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ("20261121173517669864", None),
        ("20261121173517670000", "may have been rounded by a program that reads it as a number"),
        ("2026112117351766986", "is not an ID of Dify's, which has 20 digits"),
        ("202611211735176698645", "has something around the 20 digits"),
        ("upload-17", "is not an ID of Dify's"),
    ],
)
def test_ids_of_another_form_have_a_warning(load_text: LoadText, batch: str, message: str | None) -> None:
    """A wrong number of digits and rounded digits are noticed; Dify's own form has no warning."""
    config = load_text(
        f"{HEAD}    api_key: {KEY}\n"
        f"    datasets: [{{id: 501756ed-cffa-44bb-b992-713f60113872, batches: ['{batch}']}}]\n"
    )
    assert [] == [warning for warning in config.warnings if message is None or message not in warning.message]
    assert (message is not None) == bool(config.warnings)


def test_a_batch_among_documents_is_refused(load_text: LoadText) -> None:
    """The message says where the ID belongs."""
    with pytest.raises(ConfigError, match="'20261121173517669864' is a batch's ID: put it under batches"):
        load_text(
            f"{HEAD}    api_key: {KEY}\n"
            "    datasets: [{id: 501756ed-cffa-44bb-b992-713f60113872, documents: ['20261121173517669864']}]\n"
        )


WRONG_CONFIGS = {
    "star-unquoted": (7, "put the value that starts with * in quotes"),
    "listen-unquoted": (4, "put the value that starts with [ in quotes"),
}


@pytest.mark.parametrize(("name", "expected"), WRONG_CONFIGS.items())
@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
def test_a_value_with_a_meaning_in_yaml_must_be_quoted(
    monkeypatch: pytest.MonkeyPatch, loader: str, name: str, expected: tuple[int, str]
) -> None:
    """The message says so, whichever parser there is."""
    monkeypatch.setattr(tree, "_Loader", getattr(yaml, loader))
    with pytest.raises(ConfigError) as caught:
        load(CONFIGS / f"{name}.yaml", {})
    [problem] = caught.value.problems
    assert (expected[0], True) == (problem.line, expected[1] in problem.message)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("a: @docs\n", "put the value that starts with @ in quotes"),
        ("a: [x, %docs]\n", "put the value that starts with % in quotes"),
        ("a: {b: ::1}\n", "put the value that starts with : in quotes"),
        ("a:\n  - [old] docs\n  - b\n", "put the value that starts with [ in quotes"),
        ("a:\n  - 'old' docs\n  - b\n", "put the whole value in quotes, not only its beginning"),
        ("a: !docs\n", "or put a value that starts with ! in quotes"),
        (f"{HEAD}    discover_include:\n      - #docs\n", "one that starts with # or & must be in quotes"),
        (f"{HEAD}    discover_include: [&docs]\n", "one that starts with # or & must be in quotes"),
    ],
)
def test_other_values_that_must_be_quoted(load_text: LoadText, text: str, remedy: str) -> None:
    """Whichever character it is, the remedy names it."""
    with pytest.raises(ConfigError) as caught:
        load_text(text)
    assert any(remedy in problem.message for problem in caught.value.problems), caught.value
