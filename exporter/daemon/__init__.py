"""The running exporter: wires the rooms together, reloads, stops."""

from exporter.daemon.allocator import limit_retained_memory
from exporter.daemon.app import App
from exporter.daemon.logs import FORMATS, LEVELS, flush_log, set_up_logging
from exporter.daemon.monitor import Progress, ServerMonitor
from exporter.daemon.reload import ConfigSource
from exporter.daemon.signals import release_hangup, reload_signal, stop_signals
