"""The table of all configuration keys. To add a key, add a field to the model and a row here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporter.config import values
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
    ServerConfig,
    StallLimits,
    StateConfig,
    Web,
)
from exporter.yamlconf import Given, Key, ListOf, Section, Value, files
from exporter.yamlconf.schema import ANY
from exporter.yamlconf.values import BOOLEAN, choice, duration, format_duration, number, whole_number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.yamlconf import Spot

DATASET_ID: Final = Value("UUID", values.uuid_of("the knowledge base's URL, …/datasets/<id>"), ANY)
BATCH: Final = Value("text", values.batch)
_NAME_PATTERN: Final = Value("text", values.name_pattern)

_DATASET = Section(
    DatasetConfig,
    identity="id",
    keys=(
        Key(
            "id",
            DATASET_ID,
            "ID of the knowledge base, as in its URL in Dify: `…/datasets/<id>/documents`.",
            required=True,
        ),
        Key(
            "batches",
            ListOf(BATCH),
            "IDs of batches; only the answer to an upload contains them. Quote them: YAML would read numbers.",
        ),
        Key(
            "documents",
            ListOf(Value("UUID", values.uuid_of("the document's URL, …/documents/<id>"), ANY)),
            "IDs of documents whose batch is unknown, as in their URL in Dify.",
        ),
        Key(
            "discover",
            BOOLEAN,
            "Whether to watch all of its unfinished documents, regardless of the patterns of the server.",
            default="as for the server",
        ),
    ),
)


def _server_errors(given: Given) -> Iterator[tuple[Spot, str]]:
    if "api_key" in given.lines and "api_key_file" in given.lines:
        yield "api_key_file", "conflicts with api_key: keep one of the two"
    if "api_key" not in given.lines and "api_key_file" not in given.lines:
        yield "", "has no API key: add api_key_file, or api_key: ${DIFY_API_KEY}"


def _server_warnings(given: Given) -> Iterator[tuple[Spot, str]]:
    discover = given.effective("discover")
    if discover is False:
        if given.effective("datasets") == () and given.effective("batch_files") == ():
            yield "", "names nothing to watch: add discover: true, or datasets with batches or documents"
        for index, dataset in enumerate(given.effective("datasets") or ()):
            if not (dataset.batches or dataset.documents or dataset.discover):
                yield ("datasets", index), "names nothing to watch: add discover: true, batches or documents"
        for key in ("discover_include", "discover_exclude"):
            if given.effective(key):
                yield key, "has no effect: discover is off for this server"
    if given.effective("ca_file") and str(given.effective("url") or "").startswith("http:"):
        yield "ca_file", "has no effect: url is http, not https"


_SERVER = Section(
    ServerConfig,
    identity="name",
    errors=_server_errors,
    warnings=_server_warnings,
    keys=(
        Key(
            "name",
            Value("text", values.name),
            "Name of the server in labels (`server`), logs and messages. Must be unique.",
            required=True,
        ),
        Key(
            "url",
            Value("URL", values.server_url, ANY, echo=False),
            "Base URL of the API, with its `/v1`: `https://api.dify.ai/v1` or `http://api:5001/v1` (compose).",
            required=True,
        ),
        Key(
            "api_key",
            Value("text", values.parse_api_key, echo=False),
            "Knowledge API key (`dataset-…`), preferably from the environment: `${DIFY_API_KEY}`. Set either this or "
            "`api_key_file`.",
        ),
        Key(
            "api_key_file",
            Value("path", files.parse_path, locate=values.locate_key_file, echo=False),
            "File that contains the key. Surrounding white space is removed. The file is read again when it changes.",
        ),
        Key(
            "ca_file",
            Value("path", files.parse_path, locate=files.locate_certificate),
            "PEM file with the authorities that sign the server's certificate; replaces the default ones.",
        ),
        Key(
            "requests_per_second",
            number(0.001, 10_000),
            "Maximum request rate for this server. Polls beyond it are delayed.",
        ),
        Key(
            "concurrency",
            whole_number(1, 64),
            "Maximum number of simultaneous connections to this server. Dify's default server accepts ten in total.",
        ),
        Key("timeout", duration(0.001, 600), "Timeout of a request, up to the last byte of the answer."),
        Key(
            "discover",
            BOOLEAN,
            "Whether to watch the unfinished documents of every knowledge base that the key can access.",
        ),
        Key(
            "discover_include",
            ListOf(_NAME_PATTERN),
            "Limit discovery to knowledge bases whose name matches a pattern (`*`, `?`, `[abc]`; ignoring case).",
            default="all",
        ),
        Key("discover_exclude", ListOf(_NAME_PATTERN), "Exclude knowledge bases with a matching name from discovery."),
        Key("datasets", ListOf(_DATASET), "Knowledge bases and what to watch in them."),
        Key(
            "batch_files",
            ListOf(Value("path, wildcards allowed", files.parse_path, locate=files.locate_wildcard)),
            "Files with lists of batches to watch, written by other programs: see [below](#lists-of-batches).",
        ),
    ),
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


_POLLING = Section(
    Polling,
    errors=_polling_errors,
    keys=(
        Key("interval", duration(1), "Poll interval of a batch or document that makes progress."),
        Key("max_interval", duration(1), "Maximum of the interval, which grows while there is no progress."),
        Key("settled_interval", duration(1), "Initial poll interval of a finished batch or document."),
        Key(
            "max_settled_interval", duration(1), "Maximum of the interval of finished objects, which doubles over time."
        ),
        Key("discovery_interval", duration(1), "How often to look for unfinished documents if `discover` is on."),
        Key("detail_interval", duration(1), "How often to fetch the details of an unfinished document."),
    ),
)


def _stall_warnings(given: Given) -> Iterator[tuple[Spot, str]]:
    yield from _reversed(given, "after", "queued_after", "queued work would count as stalled before work in progress")


_STALL = Section(
    StallLimits,
    warnings=_stall_warnings,
    keys=(
        Key("after", duration(1), "An unfinished batch without progress for this long is stalled."),
        Key("queued_after", duration(1), "The same for a batch whose unfinished documents are all queued."),
    ),
)

_RETENTION = Section(
    Retention,
    keys=(
        Key(
            "finished",
            duration(1),
            "How long to keep a discovered document, or a batch from a batch file, after it has finished.",
        ),
    ),
)

_LIMITS = Section(
    Limits,
    keys=(
        Key(
            "documents",
            whole_number(1, 1_000_000),
            "Maximum number of documents with their own series. Unfinished, failed and newest documents take "
            "precedence; the others are included in the totals of their batch and knowledge base.",
        ),
    ),
)

_ERROR_REASON = Section(
    ErrorReason,
    identity="pattern",
    keys=(
        Key(
            "pattern",
            Value("regular expression", values.search_pattern, ANY),
            "What to find in a document's error text, ignoring case. At most 500 characters, best in single quotes. "
            "[RE2 syntax](https://github.com/google/re2/wiki/Syntax): no look-around, no back-references.",
            required=True,
        ),
        Key("reason", choice(*ERROR_REASONS), "Value of the label `reason` for such failures.", required=True),
    ),
)


def _root_errors(given: Given) -> Iterator[tuple[Spot, str]]:
    if given.values.get("servers") == ():
        yield "servers", "is empty: name at least one server"


ROOT: Final = Section(
    Config,
    errors=_root_errors,
    keys=(
        Key("servers", ListOf(_SERVER), "Dify servers, at least one.", required=True),
        Key("polling", _POLLING, "How often to poll."),
        Key("stall", _STALL, "When indexing counts as stalled."),
        Key("retention", _RETENTION, "How long to keep objects that the configuration file does not name."),
        Key("limits", _LIMITS, "Limits of what is exported.", restart=True),
        Key(
            "error_reasons",
            ListOf(_ERROR_REASON),
            "Custom reasons of document failures, tried in this order and before the built-in ones.",
        ),
        Key(
            "labels",
            Section(
                Labels,
                keys=(
                    Key(
                        "document_name",
                        BOOLEAN,
                        "Whether to show document names, in the label `name` of `dify_document_info` and in the log. "
                        "The state file always contains them, and error texts, logged at level debug, may.",
                    ),
                ),
            ),
            "Contents of labels.",
            restart=True,
        ),
        Key(
            "state",
            Section(
                StateConfig,
                keys=(
                    Key(
                        "path",
                        Value("path", values.state_path),
                        'SQLite file, created if it does not exist; its folder must be writable. `""` for none: '
                        "a restart then resets counters and stall detection.",
                        default="`state.db`; in the image `/data/state.db`",
                    ),
                ),
            ),
            "State kept across restarts.",
            restart=True,
        ),
        Key(
            "web",
            Section(
                Web,
                keys=(
                    Key(
                        "listen_address",
                        Value("host:port", values.listen_address, ANY),
                        "Address to listen on: `0.0.0.0:9439`, `:9439` (all interfaces), `[::1]:9439`.",
                    ),
                    Key(
                        "telemetry_path",
                        Value("path of a URL", values.telemetry_path, ANY),
                        "URL path of the metrics. Not `/`, and not below `/-/` or `/api/`.",
                    ),
                ),
            ),
            "The exporter's web server.",
            restart=True,
        ),
        Key(
            "log",
            Section(
                Log,
                keys=(
                    Key("level", choice("debug", "info", "warning", "error"), "Minimum level to log."),
                    Key("format", choice("logfmt", "json"), "Format of the log, one line per event."),
                ),
            ),
            "Logging.",
        ),
    ),
)
"""The schema of the whole file."""

NEEDS_RESTART: Final = tuple(key.name for key in ROOT.keys if key.restart)
"""The sections whose changes require a restart."""
