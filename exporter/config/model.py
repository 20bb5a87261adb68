"""The configuration as the program uses it: validated, complete, durations in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.config.values import SearchPattern
    from exporter.yamlconf import Problem, Secret

ERROR_REASONS = ("rate_limit", "quota", "timeout", "model", "plugin", "unsupported", "storage", "other")
"""Categories of document errors: the values of the label ``reason``."""


@dataclass(frozen=True, slots=True)
class DatasetConfig:
    """A knowledge base of a server and what to watch in it. ``discover``: None for the setting of the server."""

    id: str
    batches: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()
    discover: bool | None = None


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """A Dify server: how to reach it, and its request limits. Exactly one of ``api_key`` and ``api_key_file`` is set.

    ``batch_files``: paths, which may contain wildcards. They include the folder of the configuration file, so a
    relative path starts at the working directory.
    """

    name: str
    url: str
    api_key: Secret | None = None
    api_key_file: Path | None = None
    requests_per_second: float = 5.0
    concurrency: int = 2
    timeout: float = 10.0
    ca_file: Path | None = None
    discover: bool = False
    discover_include: tuple[str, ...] = ()
    discover_exclude: tuple[str, ...] = ()
    datasets: tuple[DatasetConfig, ...] = ()
    batch_files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Polling:
    """How often to poll, in seconds."""

    interval: float = 15.0
    max_interval: float = 60.0
    settled_interval: float = 600.0
    max_settled_interval: float = 21_600.0
    detail_interval: float = 600.0
    discovery_interval: float = 60.0


@dataclass(frozen=True, slots=True)
class StallLimits:
    """Seconds without progress after which indexing counts as stalled."""

    after: float = 900.0
    queued_after: float = 1800.0


@dataclass(frozen=True, slots=True)
class Retention:
    """How long to keep objects that the configuration does not name, in seconds."""

    finished: float = 86_400.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of what is exported."""

    documents: int = 10_000


@dataclass(frozen=True, slots=True)
class ErrorReason:
    """The reason of a document error whose text matches ``pattern``."""

    pattern: SearchPattern
    reason: str


@dataclass(frozen=True, slots=True)
class Labels:
    """Contents of labels."""

    document_name: bool = True


@dataclass(frozen=True, slots=True)
class StateConfig:
    """Where to keep state across restarts; None for nowhere."""

    path: Path | None = Path("state.db")


@dataclass(frozen=True, slots=True)
class Web:
    """The address and path to serve metrics at."""

    listen_address: str = "0.0.0.0:9439"
    telemetry_path: str = "/metrics"


@dataclass(frozen=True, slots=True)
class Log:
    """Logging."""

    level: str = "info"
    format: str = "logfmt"


@dataclass(frozen=True, slots=True)
class Config:
    """The complete configuration, with defaults filled in.

    ``warnings``: settings that are valid but probably not intended; ignored when two configurations are compared.
    """

    servers: tuple[ServerConfig, ...] = ()
    polling: Polling = field(default_factory=Polling)
    stall: StallLimits = field(default_factory=StallLimits)
    retention: Retention = field(default_factory=Retention)
    limits: Limits = field(default_factory=Limits)
    error_reasons: tuple[ErrorReason, ...] = ()
    labels: Labels = field(default_factory=Labels)
    state: StateConfig = field(default_factory=StateConfig)
    web: Web = field(default_factory=Web)
    log: Log = field(default_factory=Log)
    warnings: tuple[Problem, ...] = field(default=(), compare=False)
