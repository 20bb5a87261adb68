"""``dify-exporter demo`` and ``simulate`` as processes."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

from exporter.config import DatasetConfig
from tests.integration.harness import KEY, exporter, get, until, write_config

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Start


def test_demo_prints_its_addresses(start: Start) -> None:
    """The demo prints addresses that answer, writes nothing to disk, and ends on Ctrl-C with exit code 0."""
    program = start("demo", "--web.listen-address", "127.0.0.1:0")
    port = program.port()
    program.await_log("Press Ctrl-C to stop.")
    addresses = re.findall(rf"http://127\.0\.0\.1:{port}(/\S*)", program.log)

    assert {"/", "/metrics"} == set(addresses)
    assert [200] * len(addresses) == [get(port, path).status for path in addresses]
    until(lambda: b'dify_up{server="demo"} 1' in get(port, "/metrics").body)
    assert 0 == program.stop(signal.SIGINT)
    assert {"stdout", "stderr"} == {path.name for path in program.folder.iterdir()}


def test_simulate_prints_what_a_config_needs(start: Start, tmp_path: Path) -> None:
    """The simulator prints URL, key and ids, which are all that a config needs; SIGTERM ends it with exit code 0."""
    program = start("simulate", "--listen", "127.0.0.1:0")
    until(lambda: "20261121093000300001" in program.out, why=lambda: program.log)
    url, key = re.findall(r"embedded Dify at (\S+), API key (\S+);", program.out)[0]
    found = re.findall(r"dataset (\S+): batches (.+)", program.out)
    datasets = [DatasetConfig(dataset, tuple(batches.split(", "))) for dataset, batches in found]
    done = exporter("check", "--config.file", write_config(tmp_path / "config.yaml", url, datasets, key=key))

    assert KEY == key
    assert (0, "") == (done.code, done.err)
    assert ", API key accepted" in done.out
    assert 0 == program.stop()
