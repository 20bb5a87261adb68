"""The poll status of a server and its targets."""

from __future__ import annotations

import pytest

from exporter.polling import TargetStatuses
from exporter.tracking import ServerStatus, Target, TargetStatus
from tests.polling.fake_server import DATASET, Listening

BATCH = Target("batch", DATASET, "b")


@pytest.fixture
def listening() -> Listening:
    """A listener without objects."""
    return Listening()


@pytest.fixture
def statuses(listening: Listening) -> TargetStatuses:
    """A server that was not polled yet."""
    return TargetStatuses("main", "http://x/v1", listener=listening)


def test_targets_are_seen_before_their_first_poll(statuses: TargetStatuses, listening: Listening) -> None:
    """Targets have series before their first poll, so that one that never answers is visible."""
    statuses.add([BATCH, BATCH])
    assert listening.of(TargetStatus) == [TargetStatus("main", "batch", DATASET, "b")]
    statuses.note(BATCH, success=True, now=5.0, interval=15.0)
    assert statuses.last_read(BATCH) == 5.0
    statuses.note(BATCH, success=False, now=9.0, interval=30.0)
    assert listening.of(TargetStatus) == [
        TargetStatus("main", "batch", DATASET, "b", success=False, last_success=5.0, interval=30.0)
    ]
    assert statuses.last_read(BATCH) is None


def test_a_poll_that_could_not_be_made_marks_its_target(statuses: TargetStatuses) -> None:
    """A skipped poll marks the target as not current and keeps the time of its last success."""
    statuses.add([BATCH])
    statuses.note(BATCH, success=True, now=5.0, interval=15.0)
    for target in (BATCH, BATCH, Target("batch", DATASET, "other")):
        statuses.mark_unread(target)
    assert statuses.target(BATCH) == TargetStatus(
        "main", "batch", DATASET, "b", success=False, last_success=5.0, interval=15.0
    )


def test_steps_have_no_series(statuses: TargetStatuses) -> None:
    """Follow-ups have no target series: they would outnumber the series of the document."""
    step = Target("detail", DATASET, "1")
    statuses.add([step])
    statuses.note(step, success=True, now=5.0, interval=15.0)
    assert statuses.targets == []


def test_a_dropped_target_has_no_series(statuses: TargetStatuses, listening: Listening) -> None:
    """An unwatched target has no series."""
    statuses.add([BATCH])
    statuses.drop([BATCH, BATCH])
    assert listening.of(TargetStatus) == []
    assert BATCH not in statuses


def test_the_server_keeps_what_an_answer_does_not_tell(statuses: TargetStatuses) -> None:
    """A failure without a version keeps the version; an answer that says nothing about the key keeps ``up``."""
    statuses.note_server(up=True, version="1.12.1")
    statuses.note_server(up=None, version="")
    assert statuses.status == ServerStatus("main", "http://x/v1", "1.12.1", up=True)
    statuses.note_server(up=False, version="")
    assert statuses.status.up is False
