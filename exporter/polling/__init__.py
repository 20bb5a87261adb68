"""Who is polled when: targets, schedule, fetching, discovery, health."""

from exporter.polling.batch_file_targets import BatchFileTargets
from exporter.polling.batch_files import BatchFiles
from exporter.polling.health import ServerHealth
from exporter.polling.poller import Poller
from exporter.polling.schedule import TICK
from exporter.polling.target_statuses import TargetStatuses
from exporter.polling.targets import (
    BATCH_STATUS,
    CONFIGURED_DOCUMENT,
    DATASET_LIST,
    DATASET_SCAN,
    DOCUMENT_DETAIL,
    HEARTBEAT,
    SEGMENT_COUNT,
    TARGET_TYPES,
    Target,
    TargetType,
    configured_targets,
)
from exporter.polling.workers import Workers
