"""The poll status of a server and its targets."""

from __future__ import annotations

import pytest

from exporter.polling import BATCH_STATUS, DOCUMENT_DETAIL, Target, TargetStatuses
from exporter.tracking import TargetStatus
from tests.polling.fake_server import DATASET, RecordingListener

BATCH = Target(BATCH_STATUS, DATASET, "b")


@pytest.fixture
def listener() -> RecordingListener:
    """A listener without objects."""
    return RecordingListener()


@pytest.fixture
def statuses(listener: RecordingListener) -> TargetStatuses:
    """A server that was not asked yet."""
    return TargetStatuses("main", listener=listener)


def test_targets_have_series_before_their_first_poll(statuses: TargetStatuses, listener: RecordingListener) -> None:
    """Targets have series before their first poll, so that one that never answers is visible."""
    statuses.add([BATCH, BATCH])
    assert listener.of(TargetStatus) == [TargetStatus("main", "batch", DATASET, "b")]
    statuses.polled(BATCH, success=True, now=5.0, interval=15.0)
    assert statuses.last_success(DATASET, "b") == 5.0
    statuses.polled(BATCH, success=False, now=9.0, interval=30.0)
    assert listener.of(TargetStatus) == [
        TargetStatus("main", "batch", DATASET, "b", success=False, last_success=5.0, interval=30.0)
    ]
    assert statuses.last_success(DATASET, "b") is None


def test_a_blocked_poll_marks_its_target_as_failed(statuses: TargetStatuses) -> None:
    """A skipped poll marks the target as not current and keeps the time of its last success."""
    statuses.add([BATCH])
    statuses.polled(BATCH, success=True, now=5.0, interval=15.0)
    for target in (BATCH, BATCH, Target(BATCH_STATUS, DATASET, "other")):
        statuses.mark_unread(target)
    assert statuses.get(BATCH) == TargetStatus(
        "main", "batch", DATASET, "b", success=False, last_success=5.0, interval=15.0
    )


def test_follow_ups_have_no_series(statuses: TargetStatuses) -> None:
    """The detail of a document that a batch brought along would cost more series than the document may."""
    step = Target(DOCUMENT_DETAIL, DATASET, "1")
    statuses.add([step])
    statuses.polled(step, success=True, now=5.0, interval=15.0)
    assert statuses.all() == {}


def test_a_removed_target_has_no_series(statuses: TargetStatuses, listener: RecordingListener) -> None:
    """An unwatched target has no series."""
    statuses.add([BATCH])
    statuses.remove([BATCH, BATCH])
    assert listener.of(TargetStatus) == []
    assert BATCH not in statuses
