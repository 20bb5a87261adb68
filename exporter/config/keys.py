"""The table of all configuration keys. To add a key, add a field to the model and a row here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporter.config import files, values
from exporter.config.expressions import regular_expression
from exporter.config.kinds import BOOLEAN, choice, duration
from exporter.config.model import (
    ERROR_REASONS,
    Config,
    ErrorReason,
    Labels,
    Limits,
    Log,
    Polling,
    Retention,
    StallLimits,
    StateConfig,
    Web,
)
from exporter.config.server_keys import SERVER
from exporter.yamlconf.durations import format_duration
from exporter.yamlconf.schema import ANY, NUMBERS, Given, Key, ListOf, Section, Value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.yamlconf.schema import Spot


def _polling_errors(given: Given) -> Iterator[tuple[Spot, str]]:
    for low_name, high_name in (("interval", "max_interval"), ("settled_interval", "max_settled_interval")):
        low, high = given.effective(low_name), given.effective(high_name)
        if low is None or high is None or high >= low:
            continue
        least = format_duration(low)
        if high_name in given.lines:
            yield high_name, f"is less than {low_name}: raise it to {least} or more"
        else:
            yield low_name, f"is more than {high_name} (default {format_duration(high)}): set that to {least} or more"


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
    after, queued_after = given.effective("after"), given.effective("queued_after")
    if after is not None and queued_after is not None and queued_after < after:
        if "queued_after" in given.lines:
            yield (
                "queued_after",
                "is less than after: queued work would count as stalled before work in progress",
            )
        else:
            least = format_duration(after)
            yield (
                "after",
                f"is more than queued_after (default {format_duration(queued_after)}): set that to {least} or more",
            )


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
            Value("whole number, 1 to 1000000", values.whole_number(1, 1_000_000), NUMBERS),
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
            Value("regular expression", regular_expression, ANY),
            "What to find in a document's error text, ignoring case. At most 500 characters, best in single quotes.",
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
        Key("servers", ListOf(SERVER), "Dify servers, at least one.", required=True),
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
                        Value("path", files.path_or_nothing),
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
