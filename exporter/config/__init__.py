"""YAML to a checked configuration."""

from exporter.config.durations import format_duration, parse_duration
from exporter.config.load import from_environment, load, override
from exporter.config.model import Config, Dataset, Labels, Log, Polling, Secret, Server, Web
from exporter.config.problems import ConfigError, Problem
from exporter.config.values import parse_api_key, parse_listen_address

__all__ = [
    "Config",
    "ConfigError",
    "Dataset",
    "Labels",
    "Log",
    "Polling",
    "Problem",
    "Secret",
    "Server",
    "Web",
    "format_duration",
    "from_environment",
    "load",
    "override",
    "parse_api_key",
    "parse_duration",
    "parse_listen_address",
]
