"""Warnings for settings that are valid but probably not intended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from exporter.config import Config

    LoadText = Callable[..., Config]

DATASET = "501756ed-cffa-44bb-b992-713f60113872"
OTHER = "c23d659c-2dd9-43a9-9ba1-c2344a7f1127"
KEY = "dataset-0123456789"
HEAD = f"""\
servers:
  - name: main
    url: https://api.dify.ai/v1
    api_key: {KEY}
"""


def _warnings(config: Config) -> list[str]:
    return [str(warning).partition("/config.yaml:")[2] for warning in config.warnings]


def test_servers_that_watch_nothing_cause_a_warning(load_text: LoadText) -> None:
    """A section that watches nothing is allowed, because it may be unfinished; the warning has place and remedy."""
    config = load_text(f"""\
{HEAD}\
    datasets:
      - {{id: {OTHER}, batches: ["20261121173517669864"]}}
      - id: {DATASET}
        batches:
  - {{name: two, url: https://api.dify.ai/v1, api_key: {KEY}}}
""")
    assert [
        "7: servers[0].datasets[1]: names nothing to watch: add discover: true, batches or documents",
        "9: servers[1]: names nothing to watch: add discover: true, or datasets with batches or documents",
    ] == _warnings(config)


@pytest.mark.parametrize(
    "lines",
    [
        "discover: true",
        "batch_files: [batches/*.yaml]",
        f"datasets: [{{id: {DATASET}, discover: true}}]",
        f"discover: true\n    datasets: [{{id: {DATASET}, discover: false}}]",
        f"discover: true\n    datasets: [{{id: {DATASET}}}]",
        'discover: true\n    discover_exclude: ["*old*"]',
    ],
)
def test_servers_that_watch_something_cause_no_warning(load_text: LoadText, lines: str) -> None:
    """Discovery, batch files and exceptions from discovery cause no warning."""
    assert [] == _warnings(load_text(f"{HEAD}    {lines}\n"))


def test_name_patterns_without_discovery_cause_a_warning(load_text: LoadText) -> None:
    """Patterns have no effect without the server's discovery; a dataset's own ``discover`` ignores them."""
    text = f"""\
{HEAD}\
    discover_include: [a]
    discover_exclude: [b]
    datasets: [{{id: {DATASET}, discover: true}}]
"""
    assert [
        "5: servers[0].discover_include: has no effect: discover is off for this server",
        "6: servers[0].discover_exclude: has no effect: discover is off for this server",
    ] == _warnings(load_text(text))


@pytest.mark.parametrize(
    ("stall", "expected"),
    [
        ("{after: 15m, queued_after: 15m}", []),
        (
            "{after: 2m, queued_after: 1m}",
            ["6: stall.queued_after: is less than after: queued work would count as stalled before work in progress"],
        ),
        ("{after: 1h}", ["6: stall.after: is more than queued_after (default 30m): set that to 1h or more"]),
    ],
)
def test_a_shorter_stall_limit_of_queues_causes_a_warning(load_text: LoadText, stall: str, expected: list[str]) -> None:
    """Waiting in the queue is normal for longer than a pause in processing."""
    assert expected == _warnings(load_text(f"{HEAD}    discover: true\nstall: {stall}\n"))


def test_a_ca_file_without_tls_causes_a_warning(load_text: LoadText, tmp_path: Path) -> None:
    """A ca_file with an http URL protects nothing."""
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    text = HEAD.replace("https://api.dify.ai/v1", "http://api:5001/v1\n    ca_file: ca.pem")
    assert ["4: servers[0].ca_file: has no effect: url is http, not https"] == _warnings(
        load_text(f"{text}    discover: true\n")
    )
