"""Tracking: what is polled and when, and what is known about every dataset, batch and document."""

from exporter.tracking.batchfiles import BatchFiles
from exporter.tracking.filed import BatchFileTargets
from exporter.tracking.limits import DocumentLimit
from exporter.tracking.loop import BackgroundJob, Job, Loop
from exporter.tracking.model import (
    DISPLAY_STATUSES,
    KINDS,
    STATUSES,
    TARGET_STATES,
    Batch,
    Change,
    ChangeListener,
    Dataset,
    Detail,
    Document,
    Kind,
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
from exporter.tracking.progress import StallLimits
from exporter.tracking.reading import FINISHED
from exporter.tracking.reasons import PATTERNS, Pattern
from exporter.tracking.roster import TargetStatuses
from exporter.tracking.schedule import TICK
from exporter.tracking.state import SavedObjects, StateFile
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
    "BackgroundJob",
    "Detail",
    "Document",
    "DocumentLimit",
    "BatchFileTargets",
    "Job",
    "Kind",
    "Dataset",
    "ChangeListener",
    "Loop",
    "SavedObjects",
    "Number",
    "Pattern",
    "PollObserver",
    "Poller",
    "ProcessRule",
    "Progress",
    "TargetStatuses",
    "ServerSchedule",
    "ServerStatus",
    "StallLimits",
    "StateFile",
    "Store",
    "Target",
    "TargetState",
    "TargetStatus",
    "Tracked",
    "Workers",
    "configured_targets",
]
