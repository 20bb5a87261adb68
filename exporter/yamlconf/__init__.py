"""An engine for checked YAML configuration; it knows nothing of Dify."""

from exporter.yamlconf.durations import format_duration, parse_duration
from exporter.yamlconf.problems import ConfigError, Problem

__all__ = [
    "ConfigError",
    "Problem",
    "format_duration",
    "parse_duration",
]
