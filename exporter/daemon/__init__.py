"""The running exporter: wires the rooms together, reloads, stops."""

from exporter.daemon.loop import BackgroundJob, Job, Loop

__all__ = [
    "BackgroundJob",
    "Job",
    "Loop",
]
