"""The page for every recorded answer of a real server: one file per case, compared byte for byte.

After an intended change of the exposition, regenerate the files with ``make golden`` (``UPDATE_GOLDEN=1 pytest
tests/golden``) and review the diff before committing.
"""

from __future__ import annotations

import json
import os
import re
import threading
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.clock import ManualClock
from exporter.config import Config, DatasetConfig, Secret, ServerConfig
from exporter.daemon.app import App
from exporter.metrics import Format
from tests.golden.replay import RECORDINGS, Recording, ReplayServer, load
from tests.integration.harness import exporter, write_config

if TYPE_CHECKING:
    from collections.abc import Iterable

GOLDEN = Path(__file__).parent
URL = "http://dify.example/v1"

REFUSALS = (
    "err--document--unknown",
    "err--indexing-status--unknown-dataset",
    "err--indexing-status--wrong-token",
    "outage--postgres-down--indexing-status-1",
)
CASES = sorted(
    [path.stem for kind in ("indexing-status", "document") for path in RECORDINGS.glob(f"{kind}--*.json")]
    + list(REFUSALS)
)

_PATH = re.compile(r"/v1/datasets/(?P<dataset>[^/]+)/documents/(?P<id>[^/]+?)(?P<batch>/indexing-status)?")
_OWN = ("dify_exporter_", "process_", "python_")
_KNOWLEDGE_BASES = load("datasets-list-1")
_UNKNOWN = load("err--document--unknown")


def _dify(case: Recording) -> ReplayServer:
    """A server with the case, the details recorded in the same state, and datasets from a list.

    A refused key is refused for every path, and a failing server fails for every path.
    """
    if case.status == HTTPStatus.UNAUTHORIZED or case.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ReplayServer({}, otherwise=case)
    answers = {
        f"/v1/datasets/{item['id']}": _KNOWLEDGE_BASES._replace(body=_encoded(item))
        for item in _KNOWLEDGE_BASES.content["data"]
    }
    detail = RECORDINGS / f"document--{case.case.partition('--')[2]}--without.json"
    if detail.exists():
        recording = load(detail.stem)
        answers[recording.path] = recording
    return ReplayServer({**answers, case.path: case}, otherwise=_UNKNOWN)


def _encoded(value: object) -> bytes:

    return json.dumps(value).encode()


def _watched(case: Recording) -> DatasetConfig:
    """The configuration that watches the case."""
    found = _PATH.fullmatch(case.path)
    assert found
    if found["batch"]:
        return DatasetConfig(found["dataset"], batches=(found["id"],))
    return DatasetConfig(found["dataset"], documents=(found["id"],))


def _of_dify(lines: Iterable[str], url: str) -> str:
    """The lines of a page that come from Dify, with the server's URL, whose port varies, replaced."""
    kept = (line for line in lines if not line.removeprefix("# HELP ").removeprefix("# TYPE ").startswith(_OWN))
    return "".join(f"{line}\n" for line in kept).replace(url, URL)


@pytest.mark.parametrize("case", CASES)
def test_page(case: str) -> None:
    """The page of an exporter that watches the recorded object equals the golden file, except for its own metrics.

    One thread and a stopped clock make the page deterministic.
    """
    recording = load(case)
    with _dify(recording) as dify:
        server = ServerConfig(
            "main", dify.url, api_key=Secret("dataset-x"), concurrency=1, datasets=(_watched(recording),)
        )
        app = App(Config(servers=(server,)), clock=ManualClock())
        app.poll_once(threading.Event())
        text = b"".join(app.exposition.page(Format.TEXT).plain_chunks()).decode()
        page = _of_dify(text.split("\n")[:-1], dify.url)
    golden = GOLDEN / f"{case}.prom"
    if "UPDATE_GOLDEN" in os.environ:
        golden.write_text(page, encoding="utf-8")

    assert golden.read_text(encoding="utf-8") == page


def test_every_page_has_a_case() -> None:
    """Every golden file has a recording, and every recording a golden file."""
    files = {path.stem for path in GOLDEN.glob("*.prom")}
    if "UPDATE_GOLDEN" in os.environ:
        for stale in files - set(CASES):
            (GOLDEN / f"{stale}.prom").unlink()
        return

    assert set(CASES) == files


@pytest.mark.integration
@pytest.mark.parametrize(("case", "code"), [("indexing-status--error-pdf", 0), ("indexing-status--deleted-batch", 1)])
def test_once(tmp_path: Path, case: str, code: int) -> None:
    """``dify-exporter once`` prints the golden page, except for values of its own clock."""
    recording = load(case)
    with _dify(recording) as dify:
        done = exporter("once", "--config.file", write_config(tmp_path / "c.yaml", dify.url, [_watched(recording)]))
        page = _of_dify(done.out.split("\n")[:-1], dify.url)
    golden = (GOLDEN / f"{case}.prom").read_text(encoding="utf-8")

    assert code == done.code
    assert _without_clock(golden) == _without_clock(page)


def _without_clock(page: str) -> str:
    return re.sub(r"^(dify_\w+_last_progress_timestamp_seconds{.*}) \S+$", r"\1", page, flags=re.MULTILINE)
