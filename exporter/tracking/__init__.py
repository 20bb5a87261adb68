"""What is watched, when it is asked for, and what is known of it."""

from exporter.tracking.loop import Job, Loop
from exporter.tracking.model import (
    DISPLAY_STATUSES,
    KINDS,
    STATUSES,
    TARGET_STATES,
    Batch,
    Change,
    Detail,
    Document,
    Kind,
    KnowledgeBase,
    Listener,
    Number,
    PollObserver,
    ProcessRule,
    Progress,
    ServerSchedule,
    ServerStatus,
    TargetState,
    TargetStatus,
    Tracked,
)
from exporter.tracking.poller import Poller
from exporter.tracking.reading import FINISHED
from exporter.tracking.roster import Roster
from exporter.tracking.schedule import TICK
from exporter.tracking.store import Store
from exporter.tracking.targets import Target, configured_targets
from exporter.tracking.workers import Workers

__all__ = [
    "DISPLAY_STATUSES",
    "FINISHED",
    "KINDS",
    "STATUSES",
    "TARGET_STATES",
    "TICK",
    "Batch",
    "Change",
    "Detail",
    "Document",
    "Job",
    "Kind",
    "KnowledgeBase",
    "Listener",
    "Loop",
    "Number",
    "PollObserver",
    "Poller",
    "ProcessRule",
    "Progress",
    "Roster",
    "ServerSchedule",
    "ServerStatus",
    "Store",
    "Target",
    "TargetState",
    "TargetStatus",
    "Tracked",
    "Workers",
    "configured_targets",
]
