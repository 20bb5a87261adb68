"""Name resolution fails and recovers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.namespaces import own_mounts
from tests.faults.page import MAIN, Page
from tests.faults.stand import LONGEST_STEP
from tests.integration.harness import until

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.simulator import SimulatorServer
    from tests.faults.conftest import Launch

NOBODY = "127.0.0.1 localhost\n"
HERE = f"{NOBODY}127.0.0.1 dify.test\n"


@pytest.mark.needs("unshare")
def test_a_name_that_is_not_found_and_found_again(launch: Launch, dify: SimulatorServer, tmp_path: Path) -> None:
    """While the name does not resolve, polls fail with ``connect`` and values stay; afterwards polls succeed soon."""
    hosts, resolver = tmp_path / "hosts", tmp_path / "resolv.conf"
    hosts.write_text(HERE)
    resolver.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    prefix = own_mounts(
        f"mount --bind {hosts} /etc/hosts && mount --bind {resolver} /etc/resolv.conf",
    )
    program = launch(*prefix, server={"url": f"http://dify.test:{dify.port}/v1", "timeout": "2s"})
    port = program.port()
    until(lambda: Page.of(port).is_known(MAIN), why=lambda: program.log)
    good = Page.of(port)
    hosts.write_text(NOBODY)
    until(lambda: Page.of(port).target("success", MAIN) == 0)
    until(lambda: Page.of(port).failures(MAIN).get("connect", 0) >= 3)
    broken = Page.of(port)
    assert good.of_batch(MAIN) == broken.of_batch(MAIN)
    assert {"connect"} == set(broken.failures(MAIN))
    assert 1 == program.log.count(f"target={MAIN}-first") - program.log.count("poll succeeded again")
    assert "host name could not be resolved (DNS)" in program.log
    hosts.write_text(HERE)
    until(lambda: Page.of(port).target("success", MAIN) == 1, LONGEST_STEP + 20)
    assert 0 == program.stop()
