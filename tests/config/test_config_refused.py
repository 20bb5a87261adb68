"""Invalid files: every error is reported with its line, its path and the remedy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from exporter.yamlconf import reader, show_path, tree
from exporter.yamlconf.files import MAX_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    Refuse = Callable[..., list[str]]
    RefuseFile = Callable[[Path], list[str]]

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
DATASET = "501756ed-cffa-44bb-b992-713f60113872"
KEY = "dataset-0123456789"
HEAD = "servers:\n  - name: main\n    url: https://api.dify.ai/v1\n"
SERVER = f"{HEAD}    api_key: {KEY}\n    datasets:\n"


def test_all_problems_at_once_in_the_order_of_the_file(refuse: Refuse) -> None:
    """A single run reports all problems of a file."""
    text = f"""\
polling:
  interval: 2m
  intervall: 3s
servers:
  - name: main
    url: https://api.dify.ai
    concurrency: 0
    datasets:
      - id: 5017
        batches: [20261121173517669864, 017, a/b, ok, ok]
      - {{id: {DATASET}}}
      - {{id: {DATASET.upper()}, batchs: []}}
  - name: main
    url: http://api:5001/v1
    api_key: {KEY}
    api_key: {KEY}
    api_key_file: key
log: {{level: INFO, level: debug}}
"""
    expected = f"""\
2: polling.interval: is more than max_interval (default 1m): set that to 2m or more
3: polling: unknown key 'intervall'; did you mean 'interval'?
5: servers[0]: has no API key: add api_key_file, or api_key: ${{DIFY_API_KEY}}
6: servers[0].url: must end in /v1, such as https://api.dify.ai/v1: without it the web frontend answers
7: servers[0].concurrency: '0' must be a whole number from 1 to 64
9: servers[0].datasets[0].id: '5017' is not a UUID; copy it from the knowledge base's URL, …/datasets/<id>
10: servers[0].datasets[0].batches[0]: '20261121173517669864' is a number in YAML: put it in quotes
10: servers[0].datasets[0].batches[1]: '017' is a number in YAML: put it in quotes
10: servers[0].datasets[0].batches[2]: 'a/b' is not a batch ID; copy it from the answer to the upload
10: servers[0].datasets[0].batches[4]: 'ok' occurs twice, first in line 10: values must be unique
12: servers[0].datasets[2].id: '{DATASET.upper()}' occurs twice, first in line 11: values must be unique
12: servers[0].datasets[2]: unknown key 'batchs'; did you mean 'batches'?
13: servers[1].name: 'main' occurs twice, first in line 5: values must be unique
16: servers[1].api_key: duplicates the key in line 15: keep one
17: servers[1].api_key_file: names a file that does not exist; relative paths start at the folder of the configuration
17: servers[1].api_key_file: conflicts with api_key: keep one of the two
18: log.level: 'INFO' must be one of debug, info, warning, error
18: log.level: duplicates the key in line 18: keep one
"""
    assert expected.splitlines() == [line.removeprefix("config.yaml:") for line in refuse(text)]


def test_the_sample_of_the_page_is_actual_output(refuse: Refuse) -> None:
    """The sample messages in docs/configuration.md are the program's actual output."""
    text = f"{HEAD}    api_key: ${{KEY}}\n    datasets:\n      - id: 5017\npolling: {{intervall: 1s}}\n"
    assert PAGE.read_text().split("```\n")[1].splitlines() == refuse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "config.yaml: is empty; write a file such as"),
        ("# nothing\n", "config.yaml: is empty; write a file such as"),
        ("--- ~\n", "config.yaml:1: servers: is missing"),
        ("- a\n", "config.yaml:1: must be a mapping, with lines of key: value (keys: servers, polling, "),
        ("just text\n", "config.yaml:1: must be a mapping"),
        ("log: {level: info}\n", "config.yaml:1: servers: is missing"),
        ("servers: []\n", "config.yaml:1: servers: is empty: name at least one server"),
        ("servers:\n", "config.yaml:1: servers: is empty: name at least one server"),
        ("servers: main\n", "config.yaml:1: servers: must be a list: one item per line"),
        ("servers: {name: main}\n", "config.yaml:1: servers: must be a list"),
        (
            f"{SERVER}      - {DATASET}\n",
            "config.yaml:6: servers[0].datasets[0]: must be a mapping, with lines of key: value",
        ),
        (f"{SERVER}      -\n", "config.yaml:6: servers[0].datasets[0].id: is missing"),
        (f"{SERVER}      - id: [a]\n", "config.yaml:6: servers[0].datasets[0].id: is a list: write one value (UUID)"),
        (
            f"{SERVER}      - id: {{a: b}}\n",
            "config.yaml:6: servers[0].datasets[0].id: is a mapping: write one value (UUID)",
        ),
        (f"{SERVER}      - id:\n", "config.yaml:6: servers[0].datasets[0].id: has no value: give it one or remove it"),
        (
            f"{SERVER}\nlabels: {{document_name: 1}}",
            "labels.document_name: '1' is a number; expected: true or false",
        ),
        (f"{SERVER}\nlabels: {{document_name: 'yes'}}", "'yes' is text: write it without quotes (true or false)"),
        (f"{HEAD}    concurrency: '5'\n", "'5' is text: write it without quotes (whole number, 1 to 64)"),
        (f"{HEAD}    concurrency: many\n", "servers[0].concurrency: 'many' must be a whole number from 1 to 64"),
        (f"{HEAD}    concurrency: '99'\n", "servers[0].concurrency: '99' must be a whole number from 1 to 64"),
        (f"{HEAD}    requests_per_second: fast\n", "requests_per_second: 'fast' must be a number from 0.001 to 10000"),
        (f"{HEAD}    requests_per_second: '2.5'\n", "'2.5' is text: write it without quotes (number, 0.001 to 10000)"),
        (f"{HEAD}    concurrency: yes\n", "'yes' is a boolean; expected: whole number, 1 to 64"),
        (f"{HEAD}    timeout: 15\n", "config.yaml:4: servers[0].timeout: '15' has no unit: write 15s"),
        (f"{HEAD}    timeout: 1:30\n", "'1:30' is not a duration"),
        (f"{HEAD}    timeout: 0s\n", "'0s' must be from 1ms to 10m"),
        (f"{SERVER}\npolling: {{interval: 500ms}}", "polling.interval: '500ms' must be from 1s to 365d"),
        (
            f"{SERVER}\npolling: {{max_interval: 2s}}",
            "polling.max_interval: is less than interval: raise it to 15s or more",
        ),
        (
            f"{SERVER}\npolling: {{settled_interval: 7h}}",
            "polling.settled_interval: is more than max_settled_interval (default 6h)",
        ),
        (f"{SERVER}\nstall: {{after: 0s}}", "stall.after: '0s' must be from 1s to 365d"),
        (f"{SERVER}\nlimits: {{documents: 0}}", "limits.documents: '0' must be a whole number from 1 to 1000000"),
        (f"{SERVER}\nlimits: {{documents: 1000001}}", "must be a whole number from 1 to 1000000"),
        (f"{SERVER}\nstate: {{path: }}", "state.path: has no value: give it one or remove it"),
        (
            f"{SERVER}\nerror_reasons: [{{pattern: 'a(b', reason: quota}}]",
            "error_reasons[0].pattern: 'a(b' is not a regular expression: missing )",
        ),
        (
            f"{SERVER}\nerror_reasons: [{{pattern: a, reason: rate}}]",
            "error_reasons[0].reason: 'rate' must be one of rate_li",
        ),
        (f"{SERVER}\nerror_reasons: [{{pattern: a}}]", "error_reasons[0].reason: is missing"),
        (
            f"{SERVER}\nerror_reasons: [{{pattern: a, reason: quota}}, {{pattern: a, reason: model}}]",
            "error_reasons[1].pattern: 'a' occurs twice",
        ),
        (f"{HEAD}    discover_include: [*]\n", "is not valid YAML"),
        (f"{HEAD}    discover_include: ['']\n", "servers[0].discover_include[0]: is not a pattern: it is empty"),
        (f"{HEAD}    discover: yes please\n", "'yes please' must be true or false"),
        (f"{HEAD}    batch_files: batches/*.yaml\n", "servers[0].batch_files: must be a list"),
        (
            f"{HEAD}    batch_files: [a/**/b.yaml]\n",
            "batch_files[0]: 'a/**/b.yaml' contains **, which is not supported",
        ),
        (f"{HEAD}    batch_files: [.]\n", "batch_files[0]: '.' names a directory: name the files in it"),
        (f"{HEAD}    batch_files: [{'x' * 300}]\n", "is not a valid path (File name too long)"),
        ("servers:\n  - {name: on}\n", "config.yaml:2: servers[0].name: 'on' is a boolean in YAML: put it in quotes"),
        ("servers:\n  - {name: 2026-11-21}\n", "'2026-11-21' is a date in YAML: put it in quotes"),
        ("servers:\n  - {name: <<}\n", "'<<' is not text in YAML: put it in quotes"),
        (
            "servers:\n  - {<<: {a: b}}\n",
            "config.yaml:2: servers[0]: has a key that is not plain text (merge keys, <<, are",
        ),
        ("[a]: b\n", "config.yaml:1: has a key that is not plain text"),
        (
            "servers: []\nelephant: true\n",
            "config.yaml:2: unknown key 'elephant'; the keys here are servers, polling, stall",
        ),
        ("x" * 1000 + ": 1\n", "config.yaml:1: unknown key 'xxxxxx"),
        (
            "servers: &a\n  - name: x\n    datasets: *a\n",
            "config.yaml:3: refers to an anchor (*…) that contains the reference itself",
        ),
        ("a: *b\n", "config.yaml:1: refers to an anchor (*…) that is not defined above"),
        ("a: !secret b\n", "config.yaml:1: has a YAML tag (!…): remove it"),
        ("a: !secret [b]\n", "config.yaml:1: has a YAML tag (!…): remove it"),
        ("a: 1\n---\nb: 2\n", "config.yaml:2: a second YAML document starts here: remove the ---"),
        ("a:\n\tb: c\n", "config.yaml:2: is not valid YAML: found character"),
        ("a:\n\tb: c\n", "indent with spaces, not with tabs"),
        ("a: b: c\n", "config.yaml:1: is not valid YAML: mapping values are not allowed"),
        ("a:\n  - 'b\n", "is not valid YAML: found unexpected end of stream while scanning a quoted scalar; check"),
        ("a: \x07\n", "config.yaml:1: contains a control character (U+0007)"),
        ("[" * 100_000, "config.yaml:1: is nested deeper than 32 levels"),
        ("- " * 100_000, "config.yaml:1: is nested deeper than 32 levels"),
        (b"a: b\nc: \xff\n", "config.yaml: is not UTF-8 (line 2): save it as UTF-8"),
        ("servers: []\n".encode("utf-16"), "config.yaml: is UTF-16: save it as UTF-8 (in PowerShell: Out-File"),
        ("servers: []\n".encode("utf-16-be"), "config.yaml: is UTF-16: save it as UTF-8"),
        (b"#" * (MAX_SIZE + 1), "config.yaml: is larger than 16 MiB: is it the right file?"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_each_error_has_its_message(refuse: Refuse, text: str | bytes, message: str) -> None:
    """The message has the line and the remedy."""
    assert any(message in line for line in refuse(text)), refuse(text)


def test_exceptions_of_the_pure_python_parser_are_reported(refuse: Refuse, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML's pure Python parser raises other exceptions for some input; they are reported as problems too."""
    monkeypatch.setattr(tree, "_Loader", yaml.SafeLoader)
    assert ["config.yaml: is not valid YAML"] == refuse('a: "\\UFFFFFFFF"\n')


def test_the_tag_for_text_has_the_effect_of_quotes(refuse: Refuse) -> None:
    """!!str has the same effect as quotes."""
    problems = refuse(f"{SERVER}      - {{id: {DATASET}, batches: [!!str 1, 2]}}\n")
    assert ["servers[0].datasets[0].batches[1]"] == [line.split(": ")[1] for line in problems]


def test_unset_variables_and_bytes_that_are_not_text(refuse: Refuse) -> None:
    """The message shows the reference, never the value of the variable."""
    text = f"{SERVER}      - {{id: '${{ID}}', batches: ['${{NOPE}}', '${{RAW}}']}}\n"
    expected = """\
servers[0].datasets[0].id: '${ID}' is not a UUID; copy it from the knowledge base's URL, …/datasets/<id>
servers[0].datasets[0].batches[0]: '${NOPE}' needs the environment variable NOPE, which is not set: set it or write …
servers[0].datasets[0].batches[1]: '${RAW}' cannot be encoded as UTF-8: check its escapes and variables
""".replace("…\n", "${NOPE:-default}\n")
    problems = refuse(text, ID="hidden", RAW="\udcff")
    assert expected.splitlines() == [line.removeprefix("config.yaml:6: ") for line in problems]


def test_the_number_of_problems_is_limited(refuse: Refuse) -> None:
    """The number of problems reported for a file is limited."""
    problems = refuse("".join(f"key{number}: 1\n" for number in range(5000)))
    assert reader.MAX_PROBLEMS + 1 == len(problems)
    assert "config.yaml: more than 1000 problems: the rest is not shown" == problems[-1]


def test_the_expansion_of_anchors_is_limited(refuse: Refuse, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file whose anchors expand to a huge one is rejected early."""
    monkeypatch.setattr(reader, "MAX_VALUES", 1000)
    dataset = f"&d {{id: {DATASET}, batches: [{', '.join('x' for _ in range(50))}]}}"
    problems = refuse(f"{SERVER}      - {dataset}\n" + "      - *d\n" * 100)
    assert any("contains more than 1000 values, counting each use of an anchor" in line for line in problems)


@pytest.mark.parametrize(
    "key", ["dataset-a bc", '"dataset-a\\nbc"', "'dataset-你bc'", "[dataset-abc]", "{dataset-abc: 1}"]
)
def test_a_wrong_key_is_not_shown(refuse: Refuse, key: str) -> None:
    """No error about a key shows any part of it."""
    [problem] = refuse(f"{HEAD}    api_key: {key}\n")
    assert "config.yaml:4: servers[0].api_key: " in problem
    assert "bc" not in problem.removeprefix("config.yaml:4: servers[0].api_key: ")


@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD}    api_key: *{KEY}\n",
        f"{HEAD}    api_key: !{KEY} x\n",
        f"{HEAD}    api_key: !{KEY}!x y\n",
        f"{HEAD}    api_key: a: {KEY}\n",
        f"{HEAD}    api_key: '{KEY}\n",
        f"{HEAD}    api_key_file: {KEY}\n",
        f"{HEAD}    {KEY}: api_key\n",
        f"{HEAD}    timeout: {KEY}\n",
        f"{HEAD}    timeout: ${{T:-{KEY}}}\n",
        f"{HEAD}    timeout: ${{{KEY}}}\n",
        f"{HEAD}    timeout: ${{KEY}}\n",
        f"{HEAD}    datasets: {KEY}\n",
        f"{HEAD}    ca_file: ${{KEY}}\n",
        f"{KEY}\n",
        HEAD.replace("https://", f"https://{KEY}@"),
        HEAD.replace("/v1", f"/v1?key={KEY}"),
    ],
)
@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
def test_a_key_in_the_wrong_place_is_not_shown(
    refuse: Refuse, monkeypatch: pytest.MonkeyPatch, text: str, loader: str
) -> None:
    """The key is hidden with libyaml and with PyYAML's pure Python parser, whose errors quote the file."""
    monkeypatch.setattr(tree, "_Loader", getattr(yaml, loader))
    assert KEY not in "\n".join(refuse(text, KEY=KEY))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "names a file that is empty: write the API key to it"),
        (b" \n", "names a file that is empty"),
        (b"dataset-a\xff", "names a file that is not an API key: it contains white space, control or non-ASCII"),
        (b"x" * 70_000, "names a file that is larger than 64 KiB: is it the right file?"),
    ],
)
def test_key_files_are_examined(refuse: Refuse, tmp_path: Path, content: bytes, message: str) -> None:
    """The content must be a key; otherwise the message says what is wrong without showing it."""
    (tmp_path / "key").write_bytes(content)
    [problem] = refuse(f"{HEAD}    api_key_file: key\n")
    assert problem.startswith(f"config.yaml:4: servers[0].api_key_file: {message}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nope.pem", "'nope.pem' names a file that does not exist; relative paths start at the folder"),
        (".", "'.' names a file that is not a regular file but a directory, pipe or device"),
        ("key.pem", "'key.pem' names a file without a certificate: it must be PEM"),
        ("''", "is not a path"),
        ('"a\\0b"', "is not a path"),
    ],
)
def test_ca_files_are_examined(refuse: Refuse, tmp_path: Path, name: str, message: str) -> None:
    """An unusable CA bundle is detected at startup."""
    (tmp_path / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    problems = refuse(f"{HEAD}    api_key: {KEY}\n    ca_file: {name}\n")
    assert any(message in problem for problem in problems), problems


def test_files_that_cannot_be_opened(refuse_file: RefuseFile, tmp_path: Path) -> None:
    """A missing file, a directory, a symlink loop and an invalid path are each reported in one line."""
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    assert refuse_file(tmp_path / "nope.yaml")[0].startswith("nope.yaml: does not exist; write a file such as")
    assert [
        f"{tmp_path.name}: is not a regular file but a directory, pipe or device: name only regular files"
    ] == refuse_file(tmp_path)
    assert ["loop.yaml: cannot be read: Too many levels of symbolic links"] == refuse_file(tmp_path / "loop.yaml")
    assert refuse_file(tmp_path / "a\0b")[0].endswith(": cannot be read: not a path")


def test_a_file_of_another_user(refuse_file: RefuseFile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The message names missing permission as the cause."""

    def denied(_path: Path, _flags: int) -> None:
        raise PermissionError(13, os.strerror(13))

    (tmp_path / "config.yaml").touch()
    monkeypatch.setattr(os, "open", denied)
    assert ["config.yaml: is not readable by this user: change its owner or mode"] == refuse_file(
        tmp_path / "config.yaml"
    )


def test_paths_are_shown_on_one_line() -> None:
    """A name with control characters cannot fake a line of a message."""
    assert show_path(Path("etc/config.yaml")) == "etc/config.yaml"
    assert show_path(Path("a\nb")) == r"'a\nb'"
