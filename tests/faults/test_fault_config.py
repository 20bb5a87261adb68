"""The configuration file disappears, is incomplete, is swapped; SIGHUP arrives hundreds of times."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest

from tests.faults.page import MAIN, Page, batches
from tests.integration.harness import get, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.conftest import Launch

WELL = re.compile(r"^dify_exporter_config_last_reload_successful (\S+)$", re.MULTILINE)
REFUSED = "configuration not reloaded; the previous one stays in effect"


def _well(port: int) -> bool:
    """Whether the last reload succeeded, according to the metric."""
    found = WELL.search(get(port, "/metrics").body.decode())
    assert found
    return float(found[1]) == 1


@pytest.mark.slow
def test_a_file_that_is_gone_half_written_or_swapped(launch: Launch, tmp_path: Path) -> None:
    """An invalid file changes nothing and is reported once; a swapped symlink, as in Kubernetes, is read soon."""
    program = launch(options=("--config.auto-reload-interval", "1s"), through=tmp_path / "data")
    port = program.port()
    until(lambda: Page.of(port).is_known(MAIN))
    data, text = tmp_path / "data", (tmp_path / "config.yaml").read_text()
    for number, spoil in enumerate(("", text[: len(text) // 2], None), 1):
        folder = tmp_path / f"bad-{number}"
        folder.mkdir()
        if spoil is not None:
            (folder / "config.yaml").write_text(spoil)
        _swap(data, folder)
        until(lambda: not _well(port))
        told = until(lambda: program.log.count(REFUSED))
        polls = Page.of(port).polls(MAIN)
        until(lambda: Page.of(port).polls(MAIN) >= polls + 1)  # noqa: B023 called at once
        assert told == program.log.count(REFUSED)
        assert Page.of(port).is_known(MAIN)
        _swap(data, tmp_path)
        until(lambda: _well(port))
    second = tmp_path / "second"
    second.mkdir()
    first, _ = batches(MAIN)
    (second / "config.yaml").write_text("".join(line for line in text.splitlines(keepends=True) if first not in line))
    _swap(data, second)
    until(lambda: Page.of(port).target("success", MAIN) is None)
    assert 1 == Page.of(port).target("success", MAIN, 1)
    assert {} == Page.of(port).of_batch(MAIN)
    _swap(data, tmp_path)
    until(lambda: Page.of(port).is_known(MAIN))
    assert "Traceback" not in program.log
    assert 0 == program.stop()


def test_a_storm_of_sighup(launch: Launch) -> None:
    """After three hundred signals polling continues, nothing is lost, and the last configuration is in effect."""
    program = launch()
    port = program.port()
    until(lambda: Page.of(port).is_known(MAIN))
    good = Page.of(port).of_batch(MAIN)
    for _ in range(300):
        program.process.send_signal(signal.SIGHUP)
    until(lambda: "configuration reloaded" in program.log)
    polls = Page.of(port).polls(MAIN)
    until(lambda: Page.of(port).polls(MAIN) >= polls + 2)
    assert good == Page.of(port).of_batch(MAIN)
    assert {} == Page.of(port).failures(MAIN)
    assert "Traceback" not in program.log
    assert 0 == program.stop()


def _swap(link: Path, target: Path) -> None:
    fresh = link.with_name("data.new")
    fresh.symlink_to(target)
    fresh.replace(link)
