"""The configuration: read from YAML, validated, documented."""

from exporter.config.durations import format_duration, parse_duration
from exporter.config.keys import NEEDS_RESTART
from exporter.config.load import from_environment, is_in_environment, load, override
from exporter.config.model import (
    ERROR_REASONS,
    Config,
    DatasetConfig,
    ErrorReason,
    Labels,
    Limits,
    Log,
    Polling,
    Retention,
    Secret,
    ServerConfig,
    StallLimits,
    StateConfig,
    Web,
)
from exporter.config.problems import ConfigError, Problem
from exporter.config.values import parse_api_key, parse_listen_address

__all__ = [
    "ERROR_REASONS",
    "NEEDS_RESTART",
    "Config",
    "ConfigError",
    "DatasetConfig",
    "ErrorReason",
    "Labels",
    "Limits",
    "Log",
    "Polling",
    "Problem",
    "Retention",
    "Secret",
    "ServerConfig",
    "StallLimits",
    "StateConfig",
    "Web",
    "format_duration",
    "from_environment",
    "is_in_environment",
    "load",
    "override",
    "parse_api_key",
    "parse_duration",
    "parse_listen_address",
]
