"""What is known of the datasets, batches and documents of a server."""

from exporter.tracking.error_reasons import PATTERNS, Pattern
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
from exporter.tracking.parse import FINISHED
from exporter.tracking.progress import StallLimits
from exporter.tracking.store import Store
from exporter.tracking.targets import Target, configured_targets

__all__ = [
    "DISPLAY_STATUSES",
    "FINISHED",
    "KINDS",
    "PATTERNS",
    "STATUSES",
    "TARGET_STATES",
    "Batch",
    "Change",
    "ChangeListener",
    "Dataset",
    "Detail",
    "Document",
    "Kind",
    "Number",
    "Pattern",
    "PollObserver",
    "ProcessRule",
    "Progress",
    "ServerSchedule",
    "ServerStatus",
    "StallLimits",
    "Store",
    "Target",
    "TargetState",
    "TargetStatus",
    "Tracked",
    "configured_targets",
]
