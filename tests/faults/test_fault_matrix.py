"""The fault matrix: all rows ran against one exporter at the same time; these tests judge each row."""

from __future__ import annotations

import statistics

import pytest

from tests.faults.page import lines
from tests.faults.rows import Row, fault_rows
from tests.faults.stand import LONGEST_STEP, TIMEOUT, WITNESS, Evidence

ROWS = fault_rows()
SLACK = 5.0
"""Seconds for a loaded machine, including the second between checks of the schedule."""

each_row = pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])


@each_row
def test_fault(evidence: Evidence, row: Row) -> None:
    """The reason is right, the last values stay and are marked as failed, and everything beside the fault is polled."""
    name = row.name
    assert {row.reason} == set(evidence.later.failures(name))
    assert 0 == evidence.later.target("success", name)
    last = [page.target("last_success_timestamp_seconds", name) for page in (evidence.broken, evidence.later)]
    assert last[0] == last[1]
    assert last[0] is not None
    assert last[0] <= evidence.broken_at + 2 * TIMEOUT
    if row.kept:
        assert evidence.good.of_batch(name) == evidence.later.of_batch(name)
    else:
        assert {} == evidence.later.of_batch(name)
    if row.scope == "batch":
        beside = evidence.later.target("last_success_timestamp_seconds", name, 1)
        assert 1 == evidence.later.target("success", name, 1)
        assert beside is not None
        assert beside > evidence.mended_at - SLACK - TIMEOUT


@each_row
def test_recovery(evidence: Evidence, row: Row) -> None:
    """The target is polled again within one backoff, and not before the time that the server asked for."""
    first, step = (page.target("interval_seconds", row.name) for page in (evidence.broken, evidence.later))
    assert first is not None
    assert step is not None
    assert first >= row.retry_after
    longest = step if row.scope == "batch" else max(step, LONGEST_STEP)
    assert evidence.recovered[row.name] - evidence.mended_at <= longest + TIMEOUT + SLACK + evidence.lateness


@each_row
def test_one_line_a_change(evidence: Evidence, row: Row) -> None:
    """A target logs its failure once and its recovery once; while the server is unavailable, only the server does."""
    logged = [(line.message, line.target) for line in lines(evidence.log, row.name)]
    if row.reason == "unauthorized":
        begin, end = ("Dify server unavailable", ""), ("Dify server available again", "")
    else:
        target = f"{row.name}-first"
        begin = ("poll failed" if row.kept else "target not found", target)
        end = ("poll succeeded again", target)
    assert logged.count(begin) == 1
    assert logged.count(end) == 1
    repeated = [line for line in set(logged) if logged.count(line) > 1]
    if row.reason == "unauthorized":
        # The key changes twice, and several targets are refused and read again: each of them is named by its dataset.
        repeated = [line for line in repeated if line[1]]
    assert [] == repeated


def test_a_server_beside_all_faults_notices_nothing(evidence: Evidence) -> None:
    """No failed poll, no late poll, no log line."""
    assert {} == evidence.mended.failures(WITNESS)
    last = evidence.later.target("last_success_timestamp_seconds", WITNESS)
    assert last is not None
    assert last > evidence.mended_at - SLACK
    assert [] == lines(evidence.log, WITNESS)


def test_stays_healthy_quick_and_without_a_bug(evidence: Evidence) -> None:
    """The exporter is healthy throughout, no scrape takes a second, no error is unexpected, and it stops normally."""
    assert {200} == set(evidence.verdicts)
    assert statistics.median(evidence.seconds) < 1.0
    assert max(evidence.seconds) < 5.0  # on a busy machine too
    assert "Traceback" not in evidence.log
    assert "bug in the exporter" not in evidence.log
    assert 0 == evidence.code


def test_follows_no_redirect(evidence: Evidence) -> None:
    """The key is not sent to the target of a redirect."""
    assert 0 == evidence.elsewhere


def test_goes_through_the_proxy_of_the_environment(evidence: Evidence) -> None:
    """A host that only the proxy can resolve is polled through the proxy."""
    assert evidence.by_proxy > 1
