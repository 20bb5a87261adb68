"""Tests without the programs that they need: skipped in time, with the reason, or failed in CI."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.integration.harness import find, require, run
from tests.integration.installed import Outcome

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS = (
    "amtool",
    "curl",
    "gzip",
    "helm",
    "nsenter",
    "openssl",
    "prometheus",
    "prometheus-alertmanager",
    "promtool",
    "systemd-analyze",
    "unshare",
    "victoria-metrics",
)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Of a run without any program and of one with each program that this machine has."""
    installed = [program for program in PROGRAMS if find(program)]
    folder = str(tmp_path_factory.mktemp("installed"))
    done = run(sys.executable, "-m", "tests.integration.installed", folder, *installed, timeout=600, CI="")
    assert 0 == done.code, done.out[-2000:] + done.err[-2000:]
    return msgspec.json.decode(done.out, type=dict[str, Outcome])


def _named(outcome: Outcome) -> set[str]:
    """The programs in the reasons for skipping."""
    reasons = [re.sub(r" (is|are) not installed$", "", reason).split(" and ") for reason in outcome.skipped]
    return {program for programs in reasons for program in programs}


@pytest.mark.parametrize("program", ["", *(pytest.param(name, marks=pytest.mark.needs(name)) for name in PROGRAMS)])
def test_with_one_program_or_none(outcomes: dict[str, Outcome], program: str) -> None:
    """Tests without their programs are skipped before a process is started; no error, and no process is left."""
    outcome = outcomes[program]

    assert [] == outcome.errors
    assert [] == outcome.late
    assert [] == outcome.left
    assert 0 == outcome.code
    assert set(PROGRAMS) - {program} == _named(outcome)
    assert outcome.ready > 500


@pytest.mark.parametrize(
    ("ci", "raised"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)], ids=["in CI", "elsewhere"]
)
def test_a_missing_program_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ci: str, raised: type[Exception]
) -> None:
    """With ``CI=true`` a missing program is a failure; elsewhere, the test is skipped and the reason names them all."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", ci)
    (tmp_path / "there").touch(0o755)

    require("there")
    with pytest.raises(raised, match=r"^no-such-program and neither-this are not installed$"):
        require("no-such-program", "there", "neither-this")
