"""The configuration as the program uses it: checked, complete, durations in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import re

    from exporter.config.problems import Problem


ERROR_REASONS = ("rate_limit", "quota", "timeout", "model", "plugin", "unsupported", "storage", "other")
"""What the error of a document may be put down to: the values of the label ``reason``."""


class Secret:
    """A string that shows itself only to those who ask by name."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself. Put it into a header, nowhere else."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('…')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A knowledge base of a server and what to watch in it. ``discover``: None for what holds for the server."""

    id: str
    batches: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()
    discover: bool | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """A Dify server, how to reach it and how politely. Exactly one of the two keys is set.

    ``batch_files``: absolute paths or, as the folder is that of the configuration file, relative to the working
    directory; each may have wildcards.
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
    datasets: tuple[Dataset, ...] = ()
    batch_files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Polling:
    """How often to ask. Seconds."""

    interval: float = 15.0
    max_interval: float = 60.0
    settled_interval: float = 600.0
    max_settled_interval: float = 21_600.0
    detail_interval: float = 600.0
    discovery_interval: float = 60.0


@dataclass(frozen=True, slots=True)
class Stall:
    """Seconds without progress after which indexing counts as stalled."""

    after: float = 900.0
    queued_after: float = 1800.0


@dataclass(frozen=True, slots=True)
class Retention:
    """How long what nobody named is kept. Seconds."""

    finished: float = 86_400.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds for what is shown."""

    documents: int = 10_000


@dataclass(frozen=True, slots=True)
class ErrorReason:
    """What to call an error whose text ``pattern`` is found in."""

    pattern: re.Pattern[str]
    reason: str


@dataclass(frozen=True, slots=True)
class Labels:
    """What goes into labels."""

    document_name: bool = True


@dataclass(frozen=True, slots=True)
class State:
    """Where to keep what is known over restarts; None for nowhere."""

    path: Path | None = Path("state.db")


@dataclass(frozen=True, slots=True)
class Web:
    """Where to listen."""

    listen_address: str = "0.0.0.0:9439"
    telemetry_path: str = "/metrics"


@dataclass(frozen=True, slots=True)
class Log:
    """What to log and how."""

    level: str = "info"
    format: str = "logfmt"


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that the config file says, with the defaults filled in.

    ``warnings``: what is allowed and hardly meant; not part of what makes two configurations equal.
    """

    servers: tuple[Server, ...] = ()
    polling: Polling = field(default_factory=Polling)
    stall: Stall = field(default_factory=Stall)
    retention: Retention = field(default_factory=Retention)
    limits: Limits = field(default_factory=Limits)
    error_reasons: tuple[ErrorReason, ...] = ()
    labels: Labels = field(default_factory=Labels)
    state: State = field(default_factory=State)
    web: Web = field(default_factory=Web)
    log: Log = field(default_factory=Log)
    warnings: tuple[Problem, ...] = field(default=(), compare=False)
