"""docs/reliability.md: every test that it names exists, every fault has its row, and the log contains its messages."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults import odd
from tests.faults.rows import fault_rows
from tests.integration.harness import ROOT

if TYPE_CHECKING:
    from tests.faults.stand import Evidence

PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
FAULTS = {
    row: (reason, said)
    for row, reason, said in re.findall(r"^\| `([\w-]+)` \| [^|]+ \| (\w+) \| `([^|]+)` \|$", PAGE, re.MULTILINE)
}


def test_tests_that_it_names_exist() -> None:
    """The page names every test of this folder except those that check the tests themselves, and no others."""
    named = set(re.findall(r"`(test_\w+\.py::test_\w+)", PAGE))
    there = {name for path in Path(__file__).parent.glob("test_fault_*.py") for name in _tests(path)}
    own = {
        "test_fault_wrong_types.py::test_every_field_has_its_cases",
        "test_fault_matrix.py::test_goes_through_the_proxy_of_the_environment",
    }
    assert there - own == named


def test_tests_elsewhere_exist() -> None:
    """Tests of other folders are named with their folder and exist."""
    found = re.findall(r"`(tests/(?:\w+/)*)(test_\w+\.py)::(test_\w+)", PAGE)
    assert found
    for folder, file, name in found:
        assert f"{file}::{name}" in _tests(ROOT / folder / file)


def _tests(path: Path) -> set[str]:
    """The tests of a file, as file name and test name."""
    return {
        f"{path.name}::{node.name}"
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_fault_has_its_row() -> None:
    """Every fault has a row with its reason, and every unusual answer has a row."""
    assert {row.name: row.reason for row in fault_rows()} == {name: reason for name, (reason, _) in FAULTS.items()}
    assert {row.name for row in odd.ROWS} == set(
        re.findall(r"^\| `([\w-]+)` \| .+test_odd_answer` \|$", PAGE, re.MULTILINE)
    )


@pytest.mark.parametrize("row", FAULTS)
def test_the_log_says_it(evidence: Evidence, row: str) -> None:
    """The documented text is in the log line about the failed batch, or about the unavailable server."""
    logged = [
        line
        for line in evidence.log.splitlines()
        if (f"target={row}-first" in line and re.search('msg="(poll failed|target not found)"', line))
        or (f"server={row} " in line and 'msg="Dify server unavailable"' in line and "reason=unauthorized" in line)
    ]
    if any("reason=unauthorized" in line for line in logged):
        # Until other targets are refused too, the refusal is the target's own.
        logged = [line for line in logged if "Dify server unavailable" in line]
    assert 1 == len(logged)
    assert FAULTS[row][1] in logged[0].replace("`", "")
