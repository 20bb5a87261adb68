"""``dify-exporter check`` as a process: it reports problems in words."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.config import DatasetConfig
from exporter.simulator import Fault, dataset_configs
from tests.integration.harness import KEY, exporter, free_port

if TYPE_CHECKING:
    from exporter.simulator import SimulatorServer
    from tests.integration.conftest import Configure

CASES = Path(__file__).parents[1] / "cases" / "batch-lists"
NOWHERE = "http://127.0.0.1:{}/v1"


def test_offline_sends_no_request(configure: Configure, dify: SimulatorServer) -> None:
    """``--offline`` checks only the file: no request, exit code 0."""
    path = configure()
    done = exporter("check", "--offline", "--config.file", path)

    assert (0, f"{path}: configuration is valid\n", "") == done
    assert 0 == dify.api.requests.total()


@pytest.mark.parametrize("command", ["check", "once", "run"])
def test_proxy_that_cannot_be_used(configure: Configure, command: str) -> None:
    """The variable is named before the first request."""
    done = exporter(command, "--config.file", configure(), http_proxy="socks5://proxy:1080")

    assert (1, "") == (done.code, done.out)
    assert "dify-exporter: environment: http_proxy: is a SOCKS proxy, which requires the package PySocks" in done.err


@pytest.mark.parametrize("options", [(), ("--offline",)], ids=["online", "offline"])
def test_batch_files(configure: Configure, tmp_path: Path, options: tuple[str, ...]) -> None:
    """A file that cannot be read is an error with its remedy; a pattern without a file and odd ids are warnings."""
    (tmp_path / "lists").mkdir()
    odd = '[{"dataset_id": "501756ed-cffa-44bb-b992-713f60113872", "batches": ["2026"]}]'
    (tmp_path / "lists" / "b.json").write_text(odd)
    path = configure(datasets=[], server={"batch_files": ["lists/*.json", "nothing-here/*.yaml"]})

    right = exporter("check", *options, "--config.file", path)
    shutil.copy(CASES / "bracket.yaml", tmp_path / "lists" / "a.json")
    wrong = exporter("check", *options, "--config.file", path)

    for done in (right, wrong):
        assert "" == done.err
        nothing = f"warning: main: batch_files: {tmp_path}/nothing-here/*.yaml: matches nothing: there is no folder "
        assert nothing + f"{tmp_path}/nothing-here" in done.out
        assert f"warning: main: batch file {tmp_path}/lists/b.json: [0].batches[0]: '2026' is not an ID of" in done.out
    broken = f"main: batch file {tmp_path}/lists/a.json:1: is not valid JSON: "
    assert (False, True, 1) == (broken in right.out, broken in wrong.out, wrong.code)
    assert not options or right.code == 0


def test_success(configure: Configure) -> None:
    """It reports the version, the number of targets and documents and the expected load: exit code 0."""
    done = exporter("check", "--config.file", configure())

    assert (0, "") == (done.code, done.err)
    assert "Dify 1.12.1, API key accepted" in done.out
    assert re.search(r"^main: (\d+) of \1 targets polled successfully", done.out, re.MULTILINE)
    assert " 18 documents (" in done.out
    assert "requests per minute" in done.out.splitlines()[-1]
    assert KEY not in done.out


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"key": "dataset-wrong"}, ["Dify 1.12.1, API key rejected", "main: 0 of "]),
        (
            {"url": "down"},
            ["Connection refused", "Dify version unknown, API key not verified"],
        ),
        (
            {"datasets": [DatasetConfig("00000000-0000-4000-8000-000000000000", batches=("20200101000000000000",))]},
            ["batch 20200101000000000000 of dataset 00000000-0000-4000-8000-000000000000: ", "main: 0 of "],
        ),
    ],
    ids=["wrong key", "server down", "wrong ids"],
)
def test_problems_are_reported(configure: Configure, changes: dict[str, object], expected: list[str]) -> None:
    """A wrong key, an unreachable server and unknown ids are each reported as such: exit code 1."""
    if changes.get("url"):
        changes = {"url": NOWHERE.format(free_port())}
    done = exporter("check", "--config.file", configure(**changes))

    assert (1, "") == (done.code, done.err)
    assert [] == [text for text in expected if text not in done.out]
    assert "dataset-wrong" not in done.out


@pytest.mark.parametrize("status", [500, 403])
def test_unreadable_details(configure: Configure, dify: SimulatorServer, status: int) -> None:
    """If only the embedded datasets fail, the message says so with the reason; the key is accepted."""
    body = f'{{"code": "forbidden", "message": "No permission.", "status": {status}}}'
    dify.api.faults.add(Fault(kind="json", endpoint="document", status=status, body=body))
    done = exporter("check", "--config.file", configure())

    assert 1 == done.code
    assert "API key accepted" in done.out
    # A 403 stops further requests to its dataset, so not all documents are necessarily known.
    unreadable = rf"^main: (\d+) of \1 documents without details: document: {status}"
    assert re.search(unreadable, done.out, re.MULTILINE), done.out
    assert "unknown reason" not in done.out


def test_server_without_details(configure: Configure, dify: SimulatorServer) -> None:
    """An empty version is reported as such and is not a failure."""
    body = '{"code": "not_found", "message": "The requested URL was not found on the server.", "status": 404}'
    dify.api.faults.add(Fault(kind="json", endpoint="document", status=404, body=body))
    done = exporter("check", "--config.file", configure())

    assert 0 == done.code, done.out
    assert "without details" not in done.out


def test_one_wrong_id_among_right_ones(configure: Configure, dify: SimulatorServer) -> None:
    """Each unreadable target has a line with its id; no other target has one."""
    right, *_ = dataset_configs(dify.api.world.scenario)
    wrong = "c23d659c-2dd9-43a9-9ba1-c2344a7f1127"
    done = exporter("check", "--config.file", configure(datasets=[DatasetConfig(right.id, right.batches, (wrong,))]))

    assert 1 == done.code
    assert [wrong] == [line.split()[2] for line in done.out.splitlines() if " of dataset " in line]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(kind="html", status=401), "something in front of Dify (nginx) answered, not Dify: it asks for a login"),
        (
            Fault(kind="html", status=403),
            "something in front of Dify (nginx) answered, not Dify: a firewall or gateway",
        ),
        (
            Fault(kind="html", status=502),
            "something in front of Dify (nginx) answered, not Dify: is Dify's API running?",
        ),
        (Fault(kind="postgres_down"), "500"),
    ],
    ids=["login", "firewall", "gateway", "database"],
)
def test_an_outage_is_one_diagnosis(configure: Configure, dify: SimulatorServer, fault: Fault, said: str) -> None:
    """Each cause stands there once, the key is not blamed, and nothing is estimated from an empty page."""
    dify.api.faults.add(fault)
    done = exporter("check", "--config.file", configure())

    assert (1, "") == (done.code, done.err)
    assert said in done.out
    assert "API key not verified" in done.out
    assert " of dataset " not in done.out
    assert "datasets, " not in done.out
    assert done.out.splitlines()[-1] == "series and requests cannot be estimated: nothing was read from main"


def test_an_outage_during_the_check(configure: Configure, dify: SimulatorServer) -> None:
    """A server that fails after the first answers has a line for each cause, not for each target."""
    batches = [batch for dataset in dataset_configs(dify.api.world.scenario) for batch in dataset.batches]
    for batch in batches[1:]:
        dify.api.faults.add(Fault(kind="html", status=502, endpoint="indexing-status", id=batch))
    for endpoint in ("document", "documents", "dataset"):
        dify.api.faults.add(Fault(kind="html", status=502, endpoint=endpoint))
    done = exporter("check", "--config.file", configure(server={"concurrency": 1}))

    assert 1 == done.code
    assert "main: 1 of " in done.out
    assert 1 == done.out.count("main: indexing_status: 502; something in front of Dify (nginx) answered, not Dify")
    assert "is Dify's API running? (7 targets)" in done.out
    assert " of dataset " not in done.out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"datasets": [], "server": {"discover": False}}, "nothing to watch: set discover to true, name datasets"),
        (
            {"datasets": [], "server": {"discover": True, "discover_include": ["nothing*"]}},
            "nothing to watch: discover_include and",
        ),
    ],
    ids=["nothing configured", "no match"],
)
def test_nothing_to_watch_is_no_success(configure: Configure, changes: dict[str, object], said: str) -> None:
    """A server without any object to poll is reported, with the remedy: exit code 1."""
    done = exporter("check", "--config.file", configure(**changes))

    assert (1, "") == (done.code, done.err)
    assert said in done.out
    assert "API key not verified" in done.out or "API key accepted" in done.out


def test_an_empty_list_of_knowledge_bases(configure: Configure, dify: SimulatorServer) -> None:
    """An empty list is more often another workspace's key than the truth: it is said, and no success."""
    dify.api.faults.add(Fault(kind="json", endpoint="datasets", body='{"data": [], "total": 0}'))
    done = exporter("check", "--config.file", configure(datasets=[], server={"discover": True}))

    assert 1 == done.code
    assert "nothing to watch: the list of knowledge bases is empty: does the API key belong to the right" in done.out
