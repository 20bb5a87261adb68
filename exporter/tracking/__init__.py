"""What is known of the datasets, batches and documents of a server."""

from exporter.tracking.error_reasons import PATTERNS, Pattern
from exporter.tracking.event_log import EventLog
from exporter.tracking.events import NOTHING_WANTED, Outcome, Wanted
from exporter.tracking.merging import Merger
from exporter.tracking.model import (
    DISPLAY_STATUSES,
    FINISHED,
    KINDS,
    STATUSES,
    TARGET_STATES,
    Batch,
    Change,
    ChangeListener,
    Dataset,
    DatasetCounters,
    Detail,
    Document,
    Kind,
    Number,
    PollObserver,
    ProcessRule,
    Progress,
    SeenLists,
    ServerSchedule,
    ServerStatus,
    TargetState,
    TargetStatus,
    Tracked,
)
from exporter.tracking.objects import SavedObjects, Watched, nothing_to_recall
from exporter.tracking.store import Store
