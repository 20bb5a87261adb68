"""The configuration as the program uses it: validated, complete, durations in seconds.

Each field is also a key of the file. To add a key, add a field.
"""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from exporter.config import api_keys, values
from exporter.yamlconf import Given, ListOf, Value, files, key, model, section_of
from exporter.yamlconf.schema import ANY
from exporter.yamlconf.values import BOOLEAN, choice, duration, format_duration, number, whole_number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.config.values import SearchPattern
    from exporter.yamlconf import Problem, Secret, Spot

ERROR_REASONS: Final = ("rate_limit", "quota", "timeout", "model", "plugin", "unsupported", "storage", "other")
"""Categories of document errors: the values of the label ``reason``."""

DATASET_ID: Final = Value("UUID", values.uuid_of("the knowledge base's URL, …/datasets/<id>"), ANY)
BATCH: Final = Value("text", values.batch, doubt=values.doubt_batch)
_DOCUMENT_ID: Final = Value("UUID", values.document_id, ANY)
_NAME_PATTERN: Final = Value("text", values.name_pattern)


@model
class DatasetConfig:
    """A knowledge base of a server and what to watch in it. ``discover``: None for the setting of the server."""

    id: str = key(DATASET_ID, "ID of the knowledge base, as in its URL in Dify: `…/datasets/<id>/documents`.")
    batches: tuple[str, ...] = key(
        ListOf(BATCH),
        "IDs of batches; only the answer to an upload contains them. Quote them: YAML would read numbers.",
        default=(),
    )
    documents: tuple[str, ...] = key(
        ListOf(_DOCUMENT_ID), "IDs of documents whose batch is unknown, as in their URL in Dify.", default=()
    )
    discover: bool | None = key(
        BOOLEAN,
        "Whether to watch all of its unfinished documents, regardless of the patterns of the server.",
        default=None,
        shown_default="as for the server",
    )


@model
class ServerConfig:
    """A Dify server: how to reach it, and its request limits. Exactly one of ``api_key`` and ``api_key_file`` is set.

    ``batch_files``: paths, which may contain wildcards. They include the folder of the configuration file, so a
    relative path starts at the working directory.
    """

    name: str = key(
        Value("text", values.name), "Name of the server in labels (`server`), logs and messages. Must be unique."
    )
    url: str = key(
        Value("URL", values.server_url, ANY, echo=False),
        "Base URL of the API, with its `/v1`: `https://api.dify.ai/v1` or `http://api:5001/v1` (compose).",
    )
    api_key: Secret | None = key(
        Value("text", api_keys.parse_api_key, echo=False, doubt=api_keys.doubt_api_key),
        "Knowledge API key (`dataset-…`), preferably from the environment: `${DIFY_API_KEY}`. Set either this or "
        "`api_key_file`.",
        default=None,
    )
    api_key_file: Path | None = key(
        Value(
            "path",
            files.parse_path,
            locate=api_keys.locate_key_file,
            echo=False,
            doubt=api_keys.doubt_key_file,
        ),
        "File that contains the key. Surrounding white space is removed. The file is read again when it changes.",
        default=None,
    )
    ca_file: Path | None = key(
        Value("path", files.parse_path, locate=files.locate_certificate),
        "PEM file with the authorities that sign the server's certificate; replaces the default ones.",
        default=None,
    )
    requests_per_second: float = key(
        number(0.001, 10_000), "Maximum request rate for this server. Polls beyond it are delayed.", default=5.0
    )
    concurrency: int = key(
        whole_number(1, 64),
        "Maximum number of simultaneous connections to this server. Dify's default server accepts ten in total.",
        default=2,
    )
    timeout: float = key(duration(0.001, 600), "Timeout of a request, up to the last byte of the answer.", default=10.0)
    discover: bool = key(
        BOOLEAN,
        "Whether to watch the unfinished documents of every knowledge base that the key can access.",
        default=False,
    )
    discover_private: bool = key(
        BOOLEAN,
        "Whether discovery includes knowledge bases that are visible to their creator or to some members only. The API "
        "key can access these, too.",
        default=True,
    )
    discover_include: tuple[str, ...] = key(
        ListOf(_NAME_PATTERN),
        "Limit discovery to knowledge bases whose name matches a pattern (`*`, `?`, `[abc]`; ignoring case).",
        default=(),
        shown_default="all",
    )
    discover_exclude: tuple[str, ...] = key(
        ListOf(_NAME_PATTERN), "Exclude knowledge bases with a matching name from discovery.", default=()
    )
    datasets: tuple[DatasetConfig, ...] = key(
        ListOf(section_of(DatasetConfig, "id")), "Knowledge bases and what to watch in them.", default=()
    )
    batch_files: tuple[str, ...] = key(
        ListOf(Value("path, wildcards allowed", files.parse_path, locate=files.locate_wildcard)),
        "Files with lists of batches to watch, written by other programs: see [below](#lists-of-batches).",
        default=(),
    )


def _server_errors(given: Given) -> Iterator[tuple[Spot, str]]:
    if "api_key" in given.lines and "api_key_file" in given.lines:
        yield "api_key_file", "conflicts with api_key: keep one of the two"
    if "api_key" not in given.lines and "api_key_file" not in given.lines:
        yield "", "has no API key: add api_key_file, or api_key: ${DIFY_API_KEY}"


def _server_warnings(given: Given) -> Iterator[tuple[Spot, str]]:
    if given.effective("discover") is False:
        if given.effective("datasets") == () and given.effective("batch_files") == ():
            yield "", "names nothing to watch: add discover: true, or datasets with batches or documents"
        for index, dataset in enumerate(given.effective("datasets") or ()):
            if not (dataset.batches or dataset.documents or dataset.discover):
                yield ("datasets", index), "names nothing to watch: add discover: true, batches or documents"
        for name in ("discover_include", "discover_exclude"):
            if given.effective(name):
                yield name, "has no effect: discover is off for this server"
    if given.effective("ca_file") and str(given.effective("url") or "").startswith("http:"):
        yield "ca_file", "has no effect: url is http, not https"


@model
class Polling:
    """How often to poll, in seconds."""

    interval: float = key(duration(1), "Poll interval of a batch or document that makes progress.", default=15.0)
    max_interval: float = key(
        duration(1), "Maximum of the interval, which grows while there is no progress.", default=60.0
    )
    settled_interval: float = key(duration(1), "Initial poll interval of a finished batch or document.", default=600.0)
    max_settled_interval: float = key(
        duration(1), "Maximum of the interval of finished objects, which doubles over time.", default=21_600.0
    )
    discovery_interval: float = key(
        duration(1), "How often to look for unfinished documents if `discover` is on.", default=60.0
    )
    detail_interval: float = key(
        duration(1), "How often to fetch the details of an unfinished document.", default=600.0
    )


def _reversed(given: Given, low_name: str, high_name: str, why: str = "") -> Iterator[tuple[Spot, str]]:
    """The message, if there is one, that of two durations the one that should be longer is shorter."""
    low, high = given.effective(low_name), given.effective(high_name)
    if low is None or high is None or high >= low:
        return
    least = format_duration(low)
    if high_name in given.lines:
        yield high_name, f"is less than {low_name}: {why or f'raise it to {least} or more'}"
    else:
        yield low_name, f"is more than {high_name} (default {format_duration(high)}): set that to {least} or more"


def _polling_errors(given: Given) -> Iterator[tuple[Spot, str]]:
    yield from _reversed(given, "interval", "max_interval")
    yield from _reversed(given, "settled_interval", "max_settled_interval")


@model
class StallLimits:
    """Seconds without progress after which indexing counts as stalled."""

    after: float = key(duration(1), "An unfinished batch without progress for this long is stalled.", default=900.0)
    queued_after: float = key(
        duration(1), "The same for a batch whose unfinished documents are all queued.", default=1800.0
    )


def _stall_warnings(given: Given) -> Iterator[tuple[Spot, str]]:
    yield from _reversed(given, "after", "queued_after", "queued work would count as stalled before work in progress")


@model
class Retention:
    """How long to keep objects that the configuration does not name, in seconds."""

    finished: float = key(
        duration(1),
        "How long to keep a discovered document, or a batch from a batch file, after it has finished.",
        default=86_400.0,
    )


@model
class Limits:
    """Limits of what is exported."""

    documents: int = key(
        whole_number(1, 1_000_000),
        "Maximum number of documents with their own series. Unfinished, failed and newest documents take "
        "precedence; the others are included in the totals of their batch and knowledge base.",
        default=10_000,
    )


@model
class ErrorReason:
    """The reason of a document error whose text matches ``pattern``."""

    pattern: SearchPattern = key(
        Value("regular expression", values.search_pattern, ANY),
        "What to find in a document's error text, ignoring case. At most 500 characters, best in single quotes. "
        "[RE2 syntax](https://github.com/google/re2/wiki/Syntax): no look-around, no back-references.",
    )
    reason: str = key(choice(*ERROR_REASONS), "Value of the label `reason` for such failures.")


@model
class Labels:
    """Contents of labels."""

    document_name: bool = key(
        BOOLEAN,
        "Whether to show document names, in the label `name` of `dify_document_info` and in the log. "
        "The state file always contains them, and error texts, logged at level debug, may.",
        default=True,
    )


@model
class StateConfig:
    """Where to keep state across restarts; None for nowhere."""

    path: Path | None = key(
        Value("path", values.state_path),
        'SQLite file, created if it does not exist; its folder must be writable. `""` for none: '
        "a restart then resets counters and stall detection.",
        default=Path("state.db"),
        shown_default="`state.db`; in the image `/data/state.db`",
    )


@model
class Web:
    """The addresses and the path to serve metrics at."""

    listen_address: tuple[str, ...] = key(
        ListOf(Value("host:port", values.listen_address, ANY), single=True),
        "Address to listen on: `0.0.0.0:9439`, `:9439` (all interfaces), `[::1]:9439`; or several of them.",
        default=("0.0.0.0:9439",),
        shown_default="`0.0.0.0:9439`",
    )
    telemetry_path: str = key(
        Value("path of a URL", values.telemetry_path, ANY),
        "URL path of the metrics. Not `/`, and not below `/-/` or `/api/`.",
        default="/metrics",
    )


@model
class Log:
    """Logging."""

    level: str = key(choice("debug", "info", "warning", "error"), "Minimum level to log.", default="info")
    format: str = key(choice("logfmt", "json"), "Format of the log, one line per event.", default="logfmt")


@model
class Config:
    """The complete configuration, with defaults filled in.

    ``warnings``: settings that are valid but probably not intended; ignored when two configurations are compared.
    """

    servers: tuple[ServerConfig, ...] = key(
        ListOf(section_of(ServerConfig, "name", errors=_server_errors, warnings=_server_warnings)),
        "Dify servers, at least one.",
        default=(),
        required=True,
    )
    polling: Polling = key(section_of(Polling, errors=_polling_errors), "How often to poll.", default_factory=Polling)
    stall: StallLimits = key(
        section_of(StallLimits, warnings=_stall_warnings),
        "When indexing counts as stalled.",
        default_factory=StallLimits,
    )
    retention: Retention = key(
        section_of(Retention),
        "How long to keep objects that the configuration file does not name.",
        default_factory=Retention,
    )
    limits: Limits = key(section_of(Limits), "Limits of what is exported.", default_factory=Limits, restart=True)
    error_reasons: tuple[ErrorReason, ...] = key(
        ListOf(section_of(ErrorReason, "pattern")),
        "Custom reasons of document failures, tried in this order and before the built-in ones.",
        default=(),
    )
    labels: Labels = key(section_of(Labels), "Contents of labels.", default_factory=Labels, restart=True)
    state: StateConfig = key(
        section_of(StateConfig), "State kept across restarts.", default_factory=StateConfig, restart=True
    )
    web: Web = key(section_of(Web), "The exporter's web server.", default_factory=Web, restart=True)
    log: Log = key(section_of(Log), "Logging.", default_factory=Log)
    warnings: tuple[Problem, ...] = field(default=(), compare=False)


def _root_errors(given: Given) -> Iterator[tuple[Spot, str]]:
    if given.values.get("servers") == ():
        yield "servers", "is empty: name at least one server"


ROOT: Final = section_of(Config, errors=_root_errors)
"""The schema of the whole file."""

NEEDS_RESTART: Final = tuple(found.name for found in ROOT.keys if found.restart)
"""The sections whose changes require a restart."""
