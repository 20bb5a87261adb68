"""Tracking: what is polled and when, and what is known about every dataset, batch and document."""

from exporter.tracking.batchfiles import BatchFiles
from exporter.tracking.filed import FiledBatches
from exporter.tracking.limits import DocumentLimit
from exporter.tracking.loop import Chore, Job, Loop
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
from exporter.tracking.progress import Stall
from exporter.tracking.reading import FINISHED
from exporter.tracking.reasons import PATTERNS, Pattern
from exporter.tracking.roster import Roster
from exporter.tracking.schedule import TICK
from exporter.tracking.state import Memory, State
from exporter.tracking.store import Store
from exporter.tracking.targets import Target, configured_targets
from exporter.tracking.workers import Workers

__all__ = [
    "DISPLAY_STATUSES",
    "FINISHED",
    "KINDS",
    "PATTERNS",
    "STATUSES",
    "TARGET_STATES",
    "TICK",
    "Batch",
    "BatchFiles",
    "Change",
    "Chore",
    "Detail",
    "Document",
    "DocumentLimit",
    "FiledBatches",
    "Job",
    "Kind",
    "KnowledgeBase",
    "Listener",
    "Loop",
    "Memory",
    "Number",
    "Pattern",
    "PollObserver",
    "Poller",
    "ProcessRule",
    "Progress",
    "Roster",
    "ServerSchedule",
    "ServerStatus",
    "Stall",
    "State",
    "Store",
    "Target",
    "TargetState",
    "TargetStatus",
    "Tracked",
    "Workers",
    "configured_targets",
]
