"""Who is polled when: targets, schedule, fetching, discovery."""

from exporter.polling.batch_file_targets import BatchFileTargets
from exporter.polling.batch_files import BatchFiles
from exporter.polling.poller import Poller
from exporter.polling.schedule import TICK
from exporter.polling.target_statuses import TargetStatuses
from exporter.polling.workers import Workers

__all__ = [
    "TICK",
    "BatchFileTargets",
    "BatchFiles",
    "Poller",
    "TargetStatuses",
    "Workers",
]
