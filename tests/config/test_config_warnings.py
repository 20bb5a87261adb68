"""What is allowed and hardly meant."""

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


def test_what_watches_nothing_is_warned_of(load_text: LoadText) -> None:
    """Allowed, with the place and the remedy: somebody may be in the middle of writing it."""
    config = load_text(f"""\
{HEAD}\
    datasets:
      - {{id: {OTHER}, batches: ["1"]}}
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
def test_what_brings_something_to_watch_is_not_warned_of(load_text: LoadText, lines: str) -> None:
    """Discovery, files of other programs, and exceptions from discovery are all meant."""
    assert [] == _warnings(load_text(f"{HEAD}    {lines}\n"))


def test_patterns_without_discovery_are_warned_of(load_text: LoadText) -> None:
    """They choose from what is discovered: nothing. A dataset's own discover does not ask them."""
    text = f"""\
{HEAD}\
    discover_include: [a]
    discover_exclude: [b]
    datasets: [{{id: {DATASET}, discover: true}}]
"""
    assert [
        "5: servers[0].discover_include: has no effect: discover is not on for this server",
        "6: servers[0].discover_exclude: has no effect: discover is not on for this server",
    ] == _warnings(load_text(text))


@pytest.mark.parametrize(
    ("stall", "expected"),
    [
        ("{after: 15m, queued_after: 15m}", []),
        (
            "{after: 2m, queued_after: 1m}",
            ["6: stall.queued_after: is less than after: what waits would count as stalled before what is worked on"],
        ),
        ("{after: 1h}", ["6: stall.after: is more than queued_after, 30m by default: is that to be 1h?"]),
    ],
)
def test_a_queue_less_patient_than_work_is_warned_of(load_text: LoadText, stall: str, expected: list[str]) -> None:
    """Waiting is the more normal of the two."""
    assert expected == _warnings(load_text(f"{HEAD}    discover: true\nstall: {stall}\n"))


def test_authorities_without_tls_are_warned_of(load_text: LoadText, tmp_path: Path) -> None:
    """A ca_file beside an http URL protects nothing."""
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    text = HEAD.replace("https://api.dify.ai/v1", "http://api:5001/v1\n    ca_file: ca.pem")
    assert ["4: servers[0].ca_file: has no effect: the url is http, not https"] == _warnings(
        load_text(f"{text}    discover: true\n")
    )
