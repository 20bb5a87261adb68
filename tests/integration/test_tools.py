"""The page as curl, gzip and promtool read it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.integration.harness import DEADLINE, get, run, tool, until

if TYPE_CHECKING:
    from exporter.simulator import SimulatorServer
    from tests.integration.conftest import Configure, Start


@pytest.fixture
def port(start: Start, configure: Configure, dify: SimulatorServer) -> int:
    """The URL of an exporter that has read an embedded Dify with a stopped clock completely."""
    documents = sum(len(batch.documents) for dataset in dify.api.world.scenario.datasets for batch in dataset.batches)
    found = start("run", "--config.file", configure(), "--web.listen-address", "127.0.0.1:0").port()
    until(lambda: documents == get(found, "/metrics").body.count(b"\ndify_document_enabled{"))
    return found


def _of_dify(page: str) -> list[str]:
    """The part that does not change between two scrapes."""
    prefixes = ("dify_exporter_", "process_", "python_")
    return [
        line
        for line in page.splitlines()
        if not line.removeprefix("# HELP ").removeprefix("# TYPE ").startswith(prefixes)
    ]


@pytest.mark.needs("curl")
def test_curl_reads_the_same_with_and_without_compression(port: int) -> None:
    """The gzip form is one member, which curl reads to its end, and contains exactly the plain text."""
    url = f"http://127.0.0.1:{port}/metrics"
    curl = (tool("curl"), "--silent", "--show-error", "--fail", "--noproxy", "*")
    plain = run(*curl, url)
    compressed = run(*curl, "--compressed", url)

    assert (0, 0) == (plain.code, compressed.code)
    assert _of_dify(plain.out) == _of_dify(compressed.out)
    assert plain.out.splitlines()[-1].split()[0] == compressed.out.splitlines()[-1].split()[0]


@pytest.mark.needs("gzip")
def test_gzip_accepts_the_page(port: int) -> None:
    """The compressed page passes gzip's own test, checksum and length included, without output."""
    answer = get(port, "/metrics", accept_encoding="gzip")
    tested = subprocess.run(
        [tool("gzip"), "--test"], input=answer.body, capture_output=True, timeout=DEADLINE, check=False
    )

    assert "gzip" == answer.headers["content-encoding"]
    assert (0, b"", b"") == (tested.returncode, tested.stdout, tested.stderr)


@pytest.mark.needs("promtool")
def test_promtool_accepts_the_page(port: int) -> None:
    """Names, types and help texts pass Prometheus' linter."""
    page = get(port, "/metrics").body.decode()

    assert (0, "", "") == run(tool("promtool"), "check", "metrics", stdin=page)
