"""The configuration: read from YAML, validated, documented."""

from exporter.config.api_keys import doubt_api_key, parse_api_key, read_api_key
from exporter.config.keys import (
    ERROR_REASONS,
    NEEDS_RESTART,
    Config,
    DatasetConfig,
    ErrorReason,
    Labels,
    Limits,
    Log,
    Polling,
    Retention,
    ServerConfig,
    StallLimits,
    StateConfig,
    Web,
)
from exporter.config.load import from_environment, is_in_environment, load, override
from exporter.config.values import ListenAddress, parse_listen_address
from exporter.yamlconf import Secret
