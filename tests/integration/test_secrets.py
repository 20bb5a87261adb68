"""The API key in an answer of Dify: it goes no further."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from exporter.dify.transport.masking import MASK
from exporter.simulator import Fault, dataset_configs
from tests.integration.harness import KEY, answers, exporter, get, until

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.simulator import SimulatorServer
    from tests.integration.conftest import Configure, Start


def test_a_key_in_names_and_errors(start: Start, configure: Configure, dify: SimulatorServer, tmp_path: Path) -> None:
    """Neither the pages nor the state, the log at level debug, `check` or `once` contain a key that names contain."""
    dataset = next(iter(dataset_configs(dify.api.world.scenario)))
    (batch, *_) = dataset.batches
    document = {"id": f"id {KEY}", "name": f"name {KEY}", "indexing_status": "error", "error": f"no {KEY.upper()}"}
    for endpoint, body in (
        ("indexing-status", {"data": [document]}),
        ("document", document),
        ("dataset", {"id": dataset.id, "name": f"name {KEY}"}),
    ):
        dify.api.faults.add(Fault(kind="json", endpoint=endpoint, status=200, body=json.dumps(body)))
    state = tmp_path / "state.db"
    path = configure(datasets=[dataset], state={"path": str(state)}, web={"listen_address": "127.0.0.1:0"})
    program = start("run", "--config.file", path, "--log.level", "debug")
    port = program.port()
    until(lambda: answers(port, "/-/ready"))
    until(lambda: f'name="name {MASK}"' in get(port, "/metrics").body.decode())
    page = get(port, "/metrics").body.decode()
    landing = get(port, "/").body.decode()
    assert 0 == program.stop()
    outputs = {
        "page": page,
        "landing": landing,
        "log": program.log,
        "state": state.read_bytes().decode(errors="replace"),
        "check": str(exporter("check", "--config.file", path)),
        "once": str(exporter("once", "--config.file", path, "--log.level", "debug")),
    }

    assert batch in page
    assert f"id {MASK}" in program.log
    assert f"id {MASK}" in outputs["state"]
    assert [] == [name for name, text in outputs.items() if KEY.lower() in text.lower()]
