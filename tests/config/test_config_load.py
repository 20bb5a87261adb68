"""Loading a configuration from a file, the environment and the command line."""

from __future__ import annotations

import dataclasses
import glob
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.config import (
    Config,
    DatasetConfig,
    ErrorReason,
    Labels,
    Limits,
    Log,
    Polling,
    Retention,
    Secret,
    ServerConfig,
    StallLimits,
    StateConfig,
    Web,
    from_environment,
    load,
    override,
)
from exporter.config.values import search_pattern
from exporter.yamlconf import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    LoadText = Callable[..., Config]

DATASET = "501756ed-cffa-44bb-b992-713f60113872"
OTHER = "c23d659c-2dd9-43a9-9ba1-c2344a7f1127"
BATCHES = ("20261121173517669864", "20261121173517669865")
KEY = "dataset-0123456789"
SERVER = f"""\
servers:
  - name: main
    url: https://api.dify.ai/v1
    api_key: {KEY}
    datasets:
      - id: {DATASET}
        batches: ["1"]
"""


def test_each_key_sets_its_field(load_text: LoadText, tmp_path: Path) -> None:
    """Each key sets its field, in the unit of the field."""
    (tmp_path / "key").write_text(f" {KEY}\n")
    (tmp_path / "ca.pem").write_text("text\n-----BEGIN CERTIFICATE-----\n")
    config = load_text(
        f"""\
servers:
  - name: one
    url: https://dify.example/v1/
    api_key_file: key
    ca_file: ca.pem
    requests_per_second: 0.5
    concurrency: 4
    timeout: 2s
    discover: true
    discover_include: ["*"]
    discover_exclude: [a?, b]
    datasets:
      - id: {DATASET.upper()}
        batches: ["20261121173517669864", "20261121173517669865"]
        documents: [{OTHER}]
        discover: false
      - {{id: {OTHER}, batches: ["20261121173517669864"]}}
    batch_files: [batches/*.yaml, /run/batches.json]
  - {{name: two, url: http://api:5001/v1, api_key: "${{KEY}}", datasets: [{{id: {DATASET}, documents: [{OTHER}]}}]}}
polling:
  {{interval: 1s, max_interval: 2s, settled_interval: 3s, max_settled_interval: 4s, detail_interval: 5s,
  discovery_interval: 6s}}
stall: {{after: 7s, queued_after: 8s}}
retention: {{finished: 9s}}
limits: {{documents: 10}}
error_reasons: [{{pattern: 'credit\\b', reason: quota}}, {{pattern: 429, reason: rate_limit}}]
labels: {{document_name: no}}
state: {{path: data/state.db}}
web: {{listen_address: ":1", telemetry_path: /m}}
log: {{level: debug, format: json}}
""",
        KEY=KEY,
    )
    expected = Config(
        servers=(
            ServerConfig(
                "one",
                "https://dify.example/v1",
                api_key_file=tmp_path / "key",
                ca_file=tmp_path / "ca.pem",
                requests_per_second=0.5,
                concurrency=4,
                timeout=2.0,
                discover=True,
                discover_include=("*",),
                discover_exclude=("a?", "b"),
                datasets=(
                    DatasetConfig(DATASET, BATCHES, (OTHER,), discover=False),
                    DatasetConfig(OTHER, BATCHES[:1]),
                ),
                batch_files=(f"{tmp_path}/batches/*.yaml", "/run/batches.json"),
            ),
            ServerConfig("two", "http://api:5001/v1", Secret(KEY), datasets=(DatasetConfig(DATASET, (), (OTHER,)),)),
        ),
        polling=Polling(1.0, 2.0, 3.0, 4.0, detail_interval=5.0, discovery_interval=6.0),
        stall=StallLimits(7.0, 8.0),
        retention=Retention(9.0),
        limits=Limits(10),
        error_reasons=(
            ErrorReason(search_pattern("credit\\b"), "quota"),
            ErrorReason(search_pattern("429"), "rate_limit"),
        ),
        labels=Labels(document_name=False),
        state=StateConfig(tmp_path / "data/state.db"),
        web=Web((":1",), "/m"),
        log=Log("debug", "json"),
    )
    assert expected == config
    assert config.warnings == ()


def test_absent_and_empty_sections_have_the_defaults(load_text: LoadText) -> None:
    """A section whose keys are all commented out is equivalent to no section."""
    assert load_text(SERVER) == load_text(SERVER + "polling:\nlabels: {}\nweb: ~\nstate:\n")


def test_variables_may_be_numbers_durations_and_booleans(load_text: LoadText) -> None:
    """A value that is text in YAML because of its reference is converted to the type of its key."""
    config = load_text(
        SERVER.replace("    datasets", "    concurrency: ${N}\n    timeout: ${T:-3s}\n    datasets")
        + "labels: {document_name: '${B}'}\n",
        N="7",
        B="false",
    )
    assert (7, 3.0) == (config.servers[0].concurrency, config.servers[0].timeout)
    assert config.labels == Labels(document_name=False)


def test_values_of_variables_are_not_parsed_as_yaml(load_text: LoadText) -> None:
    """Variables are substituted after parsing: a value that looks like YAML is text."""
    config = load_text(SERVER.replace("name: main", "name: ${NAME}"), NAME='a: [b, "c"] # ${X}')
    assert config.servers[0].name == 'a: [b, "c"] # ${X}'


def test_aliases_work(load_text: LoadText) -> None:
    """Settings shared by two servers can be written once."""
    text = SERVER.replace("    datasets:", "    datasets: &all") + (
        f"  - name: second\n    url: http://api:5001/v1\n    api_key: {KEY}\n    datasets: *all\n"
    )
    first, second = load_text(text).servers
    assert first.datasets == second.datasets


def test_a_byte_order_mark_is_skipped(load_text: LoadText) -> None:
    """Windows editors write a byte order mark and CRLF."""
    assert load_text(SERVER) == load_text(b"\xef\xbb\xbf" + SERVER.replace("\n", "\r\n").encode())


def test_warnings_are_ignored_in_comparisons(load_text: LoadText) -> None:
    """A reload that changes only warnings is not a change."""
    plain = load_text(SERVER)
    noisy = load_text(SERVER + f"      - {{id: {OTHER}}}\n")
    assert noisy.warnings
    assert dataclasses.replace(noisy, servers=plain.servers) == plain


def test_the_default_state_path_is_next_to_the_file(load_text: LoadText, tmp_path: Path) -> None:
    """A relative path starts at the folder of the file, an absolute one is unchanged, an empty one means no state."""
    assert StateConfig(tmp_path / "state.db") == load_text(SERVER).state
    assert StateConfig(Path("/data/s.db")) == load_text(SERVER + "state: {path: /data/s.db}\n").state
    assert StateConfig(None) == load_text(SERVER + 'state: {path: ""}\n').state


def test_wildcards_in_the_name_of_the_folder_are_escaped(tmp_path: Path) -> None:
    """Wildcard characters count only in batch_files itself, not in the folder of the file."""
    folder = tmp_path / "[team] a*"
    (folder / "lists").mkdir(parents=True)
    (folder / "lists" / "1.yaml").touch()
    (folder / "config.yaml").write_text(SERVER + "    batch_files: ['lists/*.yaml']\n")
    [pattern] = load(folder / "config.yaml", {}).servers[0].batch_files
    assert [str(folder / "lists" / "1.yaml")] == glob.glob(pattern)  # noqa: PTH207 Path has no absolute patterns


def test_an_api_key_in_the_environment_is_sufficient() -> None:
    """The defaults without a file are Dify Cloud, discovery on, and no state file."""
    config = from_environment({"DIFY_API_KEY": f"{KEY}\n"})
    server = ServerConfig("dify", "https://api.dify.ai/v1", Secret(KEY), discover=True)
    assert Config(servers=(server,), state=StateConfig(None)) == config


def test_the_environment_names_another_server_and_the_state() -> None:
    """The URL is checked as in a file; the state path is used as it is."""
    config = from_environment(
        {"DIFY_API_KEY": KEY, "DIFY_BASE_URL": "http://api:5001/v1/", "DIFY_EXPORTER_STATE_PATH": "state.db"}
    )
    assert ("http://api:5001/v1", StateConfig(Path("state.db"))) == (config.servers[0].url, config.state)


@pytest.mark.parametrize("text", ["", "state:\n", "state: {}\n"])
def test_a_default_path_of_the_state(load_text: LoadText, text: str) -> None:
    """The image's default applies if the file names no path; without a file, a variable can override it."""
    default = {"DIFY_EXPORTER_DEFAULT_STATE_PATH": "/data/state.db"}
    assert StateConfig(Path("/data/state.db")) == load_text(SERVER + text, **default).state
    assert StateConfig(Path("/data/state.db")) == from_environment({"DIFY_API_KEY": KEY, **default}).state
    named = {"DIFY_API_KEY": KEY, "DIFY_EXPORTER_STATE_PATH": "s.db", **default}
    assert StateConfig(Path("s.db")) == from_environment(named).state


@pytest.mark.parametrize(("text", "expected"), [('""', None), ("state.db", "state.db"), ("/x/s.db", "/x/s.db")])
def test_the_file_overrides_the_default_state_path(
    load_text: LoadText, tmp_path: Path, text: str, expected: str | None
) -> None:
    """A path in the file takes precedence over the image's default, even if it is empty or ``state.db``."""
    config = load_text(f"{SERVER}state: {{path: {text}}}\n", DIFY_EXPORTER_DEFAULT_STATE_PATH="/data/state.db")
    assert StateConfig(None if expected is None else tmp_path / expected) == config.state


def test_an_invalid_default_state_path_is_refused(load_text: LoadText) -> None:
    """The error names the variable."""
    with pytest.raises(ConfigError, match="environment: DIFY_EXPORTER_DEFAULT_STATE_PATH: is not a path"):
        load_text(SERVER, DIFY_EXPORTER_DEFAULT_STATE_PATH="a\nb")


def test_without_an_api_key_the_message_shows_how_to_write_a_file() -> None:
    """The error message has the remedy; an empty key counts as none."""
    with pytest.raises(ConfigError, match="no configuration: set DIFY_API_KEY, or write a file such as"):
        from_environment({"DIFY_API_KEY": ""})
    with pytest.raises(ConfigError, match="DIFY_BASE_URL is set, but DIFY_API_KEY is not: set it too, or write a file"):
        from_environment({"DIFY_BASE_URL": "http://api:5001/v1"})


def test_all_problems_of_the_environment_are_reported_without_their_values() -> None:
    """Each problem names its variable; neither the key nor a password in the URL is shown."""
    with pytest.raises(ConfigError) as caught:
        from_environment(
            {
                "DIFY_API_KEY": "dataset-a bc",
                "DIFY_BASE_URL": "https://me:bc@api.dify.ai/v1",
                "DIFY_EXPORTER_STATE_PATH": "a\nbc",
            }
        )
    assert ["DIFY_API_KEY", "DIFY_BASE_URL", "DIFY_EXPORTER_STATE_PATH"] == [
        problem.path for problem in caught.value.problems
    ]
    assert "bc" not in str(caught.value)


def test_the_file_that_the_message_proposes_loads(tmp_path: Path) -> None:
    """The example in the error message is a valid configuration."""
    with pytest.raises(ConfigError) as caught:
        from_environment({})
    lines = str(caught.value).splitlines()[1:-1]
    (tmp_path / "config.yaml").write_text("\n".join(lines))
    assert load(tmp_path / "config.yaml", {"DIFY_API_KEY": KEY}).warnings == ()


def test_the_command_line_overrides_the_file(load_text: LoadText) -> None:
    """Option values are checked like those of the file; other settings are unchanged."""
    config = load_text(SERVER)
    changed = override(config, {"web.listen_address": ":1", "log.level": "debug", "state.path": "s.db"})
    assert (Web((":1",)), Log("debug"), StateConfig(Path("s.db"))) == (changed.web, changed.log, changed.state)
    assert config.servers == changed.servers


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ('":1"', (":1",)),
        ("127.0.0.1:1", ("127.0.0.1:1",)),
        ('[":1"]', (":1",)),
        ('\n    - "[::1]:1"\n    - 127.0.0.1:2', ("[::1]:1", "127.0.0.1:2")),
    ],
)
def test_one_address_or_several(load_text: LoadText, text: str, addresses: tuple[str, ...]) -> None:
    """A single address needs no list."""
    assert addresses == load_text(f"{SERVER}\nweb:\n  listen_address: {text}\n").web.listen_address


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "web.listen_address: has no value: give it one or remove it"),
        ("[]", "web.listen_address: is empty: name at least one, or remove the key"),
        ("nowhere", "web.listen_address: 'nowhere' is not an address"),
        ('[":1", nowhere]', "web.listen_address[1]: 'nowhere' is not an address"),
        ('[":1", ":1"]', "web.listen_address[1]: ':1' occurs twice"),
    ],
)
def test_invalid_addresses(load_text: LoadText, text: str, message: str) -> None:
    """At least one address is needed, and each is checked by itself."""
    with pytest.raises(ConfigError) as caught:
        load_text(f"{SERVER}\nweb:\n  listen_address: {text}\n")
    assert message in str(caught.value)


def test_options_that_are_repeated(load_text: LoadText) -> None:
    """Several addresses on the command line replace those of the file; each invalid one is reported."""
    config = load_text(SERVER)
    changed = override(config, {"web.listen_address": [":1", ":2", ":1"]})
    assert (":1", ":2") == changed.web.listen_address
    with pytest.raises(ConfigError) as caught:
        override(config, {"web.listen_address": ["a", ":1", "b"]})
    assert ["'a'", "'b'"] == re.findall("--web.listen-address: ('[^']*')", str(caught.value))


def test_all_invalid_options_are_reported_at_once(load_text: LoadText) -> None:
    """Each problem names the option as it is written on the command line."""
    with pytest.raises(ConfigError) as caught:
        override(load_text(SERVER), {"web.telemetry_path": "/", "log.level": "loud"})
    assert [
        "command line: --web.telemetry-path: '/' is not a valid URL path: write it like /metrics",
        "command line: --log.level: 'loud' must be one of debug, info, warning, error",
    ] == str(caught.value).splitlines()


@pytest.mark.parametrize("name", ["web.nope", "nope.level", "servers.name", "polling"])
def test_an_option_that_is_not_in_the_table_is_a_programming_error(load_text: LoadText, name: str) -> None:
    """An unknown key is a programming error, not a ConfigError."""
    with pytest.raises((KeyError, ValueError)) as caught:
        override(load_text(SERVER), {name: "x"})
    assert not isinstance(caught.value, ConfigError)


def test_ten_thousand_batches_load_fast(load_text: LoadText) -> None:
    """Loading takes at most 0.3 s of CPU time, usually 0.05 s."""
    text = SERVER + "".join(f'          - "20261121{number:012d}"\n' for number in range(10_000))
    text = text.replace('["1"]\n', "\n")
    start = time.process_time()
    config = load_text(text)
    assert len(config.servers[0].datasets[0].batches) == 10_000
    assert time.process_time() - start < 0.3
