"""Unusual answers that are not faults are accepted; the page stays valid for every parser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.faults import odd
from tests.faults.page import dataset, document

if TYPE_CHECKING:
    from tests.faults.stand import Evidence


@pytest.mark.parametrize("row", odd.ROWS, ids=[row.name for row in odd.ROWS])
def test_odd_answer(evidence: Evidence, row: odd.Odd) -> None:
    """No poll fails; the page shows all values but the odd ones, which it counts, and says that the server is up."""
    name = row.name
    assert {} == evidence.later.failures(name)
    assert 1 == evidence.later.target("success", name)
    labels = f'server="{name}",dataset_id="{dataset(name)}",document_id="{document(name)}"'
    about = "\n".join(line for line in evidence.texts[-1].split("\n") if f'server="{name}"' in line)
    assert [] == [text for shown in row.shown if (text := shown.format(document=labels)) not in about]
    assert [] == [text for absent in row.absent if (text := absent.format(document=labels)) in about]
    count = f'dify_exporter_unknown_values_total{{field="%s",server="{name}"}} '
    assert [] == [field for field in row.ignored if count % field not in about or f"{count % field}0.0" in about]
    assert f'dify_up{{server="{name}"}} 1' in about
    logged = [line for line in evidence.log.splitlines() if f"server={name} " in line]
    assert [] == [line for line in logged if "poll failed" in line or "ignored" in line]


def test_every_page_is_valid(evidence: Evidence) -> None:
    """Whatever the answers, the whole page parses, and no value is NaN or infinite."""
    families = list(text_string_to_metric_families(evidence.texts[-1]))
    odd_values = [
        sample
        for family in families
        for sample in family.samples
        if sample.value != sample.value or sample.value in (float("inf"), float("-inf"))
    ]
    assert [] == odd_values
    assert len(families) > 50
