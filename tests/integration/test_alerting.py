"""The whole chain: a stalled batch fires an alert at a receiver, with its texts, and is resolved when it progresses."""

from __future__ import annotations

import json
import re
import threading
import time
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import pytest
import yaml

from exporter.clock import SystemClock
from exporter.simulator import (
    Action,
    Api,
    BatchPlan,
    DatasetPlan,
    DocumentPlan,
    Scenario,
    SimulatorServer,
    World,
    dataset_configs,
)
from tests.integration.harness import EXPORTER, ROOT, Program, answers, free_port, get, tool, until, write_config

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEPLOY = ROOT / "deploy"
HANDBOOK = "5f1d9a2e-6c0b-4d5e-9a43-0c9b7e2d1a01"
BATCH = "20261121093000100001"
STALL_AFTER = 3.0

SCENARIO = Scenario(
    datasets=(
        DatasetPlan(
            id=HANDBOOK,
            name='The "Handbook"',
            technique="high_quality",
            batches=(
                BatchPlan(
                    id=BATCH,
                    documents=(DocumentPlan(name="rules.pdf"), DocumentPlan(name="minutes.txt", outcome="dies")),
                ),
            ),
        ),
    ),
)


class Receiver:
    """A webhook that records every alert with the second at which it arrived."""

    def __init__(self) -> None:
        received = self.received = list[tuple[float, dict[str, Any]]]()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                received.extend((time.time(), alert) for alert in body["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def first(self, status: str, *, why: Callable[[], str]) -> tuple[float, dict[str, Any]]:
        """Wait for the first alert with that status; return it with its time of arrival."""
        found = until(lambda: [each for each in self.received if each[1]["status"] == status], why=why)
        return found[0]


def rules_without_delays() -> str:
    """The rules with seconds instead of minutes, but for the gaps that they bridge."""
    rules = (DEPLOY / "prometheus" / "dify.rules.yml").read_text(encoding="utf-8")
    seconds = (("interval: 1m ", "interval: 1s "), ("for: 1m\n", "for: 1s\n"), ("[5m]", "[1m]"), ("[1h:1m]", "[1h:1s]"))
    for slow, fast in seconds:
        assert slow in rules
        rules = rules.replace(slow, fast)
    return rules


def prometheus_config(exporter: int, alertmanager: int) -> str:
    """The example configuration with seconds instead of half minutes, and with the addresses of this test."""
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["alerting"]["alertmanagers"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{alertmanager}"]}]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{exporter}"]}]
    return yaml.safe_dump(config)


def alertmanager_config(url: str) -> str:
    """The example configuration with the receiver of this test and short waits."""
    config = yaml.safe_load((DEPLOY / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8"))
    config["route"] |= {"group_wait": "1s", "group_interval": "1s"}
    for receiver in config["receivers"]:
        receiver["webhook_configs"][0]["url"] = url
    return yaml.safe_dump(config)


@pytest.mark.needs("prometheus", "prometheus-alertmanager")
def test_a_stall_and_its_end_reach_the_webhook(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The receiver gets the stall once, with labels and texts, then its resolution, and nothing else."""
    world = World(SCENARIO, SystemClock())
    programs: list[Program] = []
    with ExitStack() as running:
        receiver = running.enter_context(Receiver())
        dify = running.enter_context(SimulatorServer(Api(world)))

        def start(name: str, *command: str) -> Program:
            programs.append(running.enter_context(closing(Program(tmp_path / name, *command))))
            return programs[-1]

        config = write_config(
            tmp_path / "config.yaml",
            dify.url,
            dataset_configs(SCENARIO),
            polling={"interval": "1s", "max_interval": "1s", "settled_interval": "1s", "max_settled_interval": "1s"},
            stall={"after": f"{STALL_AFTER:.0f}s", "queued_after": "10s"},
            state={"path": str(tmp_path / "state.db")},
        )
        address = ("--web.listen-address", "127.0.0.1:0")
        exporter = start("exporter", *EXPORTER, "run", "--config.file", config, *address).port()
        sending = free_port()
        (tmp_path / "alertmanager.yml").write_text(alertmanager_config(receiver.url), encoding="utf-8")
        (tmp_path / "prometheus.yml").write_text(prometheus_config(exporter, sending), encoding="utf-8")
        (tmp_path / "dify.rules.yml").write_text(rules_without_delays(), encoding="utf-8")
        start(
            "alertmanager",
            tool("prometheus-alertmanager"),
            f"--config.file={tmp_path / 'alertmanager.yml'}",
            f"--storage.path={tmp_path / 'alertmanager' / 'data'}",
            f"--web.listen-address=127.0.0.1:{sending}",
            "--cluster.listen-address=",
        )
        until(lambda: answers(sending, "/-/ready"), why=lambda: programs[-1].log)
        # An alert ends when Prometheus has not sent it for four times this delay, which a busy machine must not reach.
        start(
            "prometheus",
            tool("prometheus"),
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'prometheus' / 'data'}",
            f"--web.listen-address=127.0.0.1:{free_port()}",
            "--rules.alert.resend-delay=15s",
        )

        def logs() -> str:
            return "\n".join(program.log[-1500:] for program in programs)

        received, alert = receiver.first("firing", why=logs)
        stalled = _last_progress(exporter) + STALL_AFTER
        world.act(HANDBOOK, Action(kind="retry", batch=BATCH, document="minutes.txt"))
        moved = time.time()
        resolved, end = receiver.first("resolved", why=logs)

    with capsys.disabled():
        print(f"\nstall to webhook: {received - stalled:.1f} s; retry to resolution: {resolved - moved:.1f} s")  # noqa: T201 asked for
    expected = {
        "alertname": "DifyIndexingStalled",
        "severity": "critical",
        "job": "dify-exporter",
        "server": "main",
        "dataset_id": HANDBOOK,
        "dataset": 'The "Handbook"',
        "batch": BATCH,
    }
    assert expected == alert["labels"]
    assert expected == end["labels"]
    annotations = alert["annotations"]
    assert f'Indexing of batch {BATCH} in knowledge base "The "Handbook"" is stalled' == annotations["summary"]
    assert f'picked up batch {BATCH} of knowledge base "The "Handbook""' in annotations["description"]
    assert annotations["runbook_url"].endswith("docs/alerts.md#difyindexingstalled")
    assert ["firing", "resolved"] == [each["status"] for _, each in receiver.received]


def _last_progress(exporter: int) -> float:
    """Time of the batch's last progress, Unix seconds."""
    page = get(exporter, "/metrics").body.decode()
    found = re.search(r"(?m)^dify_batch_last_progress_timestamp_seconds\{.*\} (\S+)$", page)
    assert found is not None
    return float(found[1])
