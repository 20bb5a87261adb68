"""The event log: which events it contains, and what it keeps confidential."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from exporter.dify import DocumentDetail
from exporter.polling import BATCH_STATUS, Target
from tests.polling.fake_server import DATASET, PollerHarness, item

NAME = "Price list.xlsx"


@pytest.mark.parametrize("shown", [True, False])
def test_names_of_documents(*, shown: bool) -> None:
    """Failed, restarted and completed documents are logged with their names, unless names are confidential."""
    harness = PollerHarness(document_name=shown)
    harness.client.details["1"] = DocumentDetail("1", name=NAME)
    harness.client.batches["b"] = [item("1", "indexing", 1, 9)]
    with capture_logs() as log:
        harness.poller.watch([Target(BATCH_STATUS, DATASET, "b")])
        harness.pass_time(20)
        for status in ("error", "parsing", "completed"):
            harness.client.batches["b"] = [item("1", status, 9, 9, error="too large" if status == "error" else None)]
            harness.pass_time(700)

    told = [line for line in log if line.get("document_id") == "1"]
    assert {"document failed", "document restarted indexing", "document completed"} <= {line["event"] for line in told}
    assert {shown} == {"name" in line for line in told}
    assert shown == (NAME in str(log))
