"""The table of all keys of a configuration file. A new key is a field of the model and a row here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporter.config import files, values
from exporter.config.durations import format_duration
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
    Stall,
    State,
    Web,
)
from exporter.config.schema import ANY, NUMBERS, Given, Key, ListOf, Section, Value
from exporter.config.server_keys import SERVER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.config.schema import Spot


def _polling_errors(given: Given) -> Iterator[tuple[Spot, str]]:
    for low_name, high_name in (("interval", "max_interval"), ("settled_interval", "max_settled_interval")):
        low, high = given.effective(low_name), given.effective(high_name)
        if low is None or high is None or high >= low:
            continue
        least = format_duration(low)
        if high_name in given.lines:
            yield high_name, f"is less than {low_name}: raise it to {least} or more"
        else:
            yield low_name, f"is more than {high_name}, {format_duration(high)} by default: set that to {least} or more"


_POLLING = Section(
    Polling,
    errors=_polling_errors,
    keys=(
        Key("interval", duration(1), "How often to ask for a batch or document that moves."),
        Key("max_interval", duration(1), "The interval grows up to this while an unfinished one does not move."),
        Key("settled_interval", duration(1), "How often to look again at what has finished, at first."),
        Key("max_settled_interval", duration(1), "The interval of what has finished doubles up to this."),
        Key("discovery_interval", duration(1), "How often to look for unfinished documents, where `discover` is on."),
        Key("detail_interval", duration(1), "How often to ask for the details of an unfinished document."),
    ),
)


def _stall_warnings(given: Given) -> Iterator[tuple[Spot, str]]:
    after, queued_after = given.effective("after"), given.effective("queued_after")
    if after is not None and queued_after is not None and queued_after < after:
        if "queued_after" in given.lines:
            yield (
                "queued_after",
                "is less than after: what waits would count as stalled before what is worked on",
            )
        else:
            least = format_duration(after)
            yield (
                "after",
                f"is more than queued_after, {format_duration(queued_after)} by default: is that to be {least}?",
            )


_STALL = Section(
    Stall,
    warnings=_stall_warnings,
    keys=(
        Key("after", duration(1), "An unfinished batch in which nothing moved for so long is stalled."),
        Key("queued_after", duration(1), "The same for one whose unfinished documents all wait in the queue."),
    ),
)

_RETENTION = Section(
    Retention,
    keys=(
        Key(
            "finished",
            duration(1),
            "How long to keep a discovered document, or a batch of a file, after it has finished.",
        ),
    ),
)

_LIMITS = Section(
    Limits,
    keys=(
        Key(
            "documents",
            Value("whole number, 1 to 1000000", values.whole_number(1, 1_000_000), NUMBERS),
            "How many documents have series of their own. The most interesting ones: unfinished, failed, newest. "
            "The others are in the sums of their batch and knowledge base.",
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
            "What to find in a document's error text, in any case. At most 500 characters, best in single quotes.",
            required=True,
        ),
        Key("reason", choice(*ERROR_REASONS), "The label `reason` to count the failure under.", required=True),
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
        Key("polling", _POLLING, "How often to ask."),
        Key("stall", _STALL, "When indexing counts as stalled."),
        Key("retention", _RETENTION, "How long to keep what the file does not name."),
        Key("limits", _LIMITS, "Bounds for what is shown.", restart=True),
        Key(
            "error_reasons",
            ListOf(_ERROR_REASON),
            "Reasons of failures, tried in this order and before those that the exporter knows.",
        ),
        Key(
            "labels",
            Section(
                Labels,
                keys=(
                    Key(
                        "document_name",
                        BOOLEAN,
                        "Whether names of documents are shown: in the label `name` of `dify_document_info`, and in the "
                        "log. The state file has them all the same, and so may error texts, logged at level debug.",
                    ),
                ),
            ),
            "What goes into labels.",
            restart=True,
        ),
        Key(
            "state",
            Section(
                State,
                keys=(
                    Key(
                        "path",
                        Value("path", files.path_or_nothing),
                        'SQLite file that is made and kept up to date; its folder has to be writable. `""` for none: '
                        "then a restart forgets since when something stands still, and what was counted.",
                        default="`state.db`, in the image `/data/state.db`",
                    ),
                ),
            ),
            "What is kept over a restart.",
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
                        "Where to listen: `0.0.0.0:9439`, `:9439` (every interface), `[::1]:9439`.",
                    ),
                    Key(
                        "telemetry_path",
                        Value("path of a URL", values.telemetry_path, ANY),
                        "Where the metrics are. Not `/`, nor below `/-/` or `/api/`.",
                    ),
                ),
            ),
            "The exporter's own pages.",
            restart=True,
        ),
        Key(
            "log",
            Section(
                Log,
                keys=(
                    Key("level", choice("debug", "info", "warning", "error"), "The least important that is logged."),
                    Key("format", choice("logfmt", "json"), "One line an event, in this form."),
                ),
            ),
            "What to log and how.",
        ),
    ),
)
"""The whole file."""

NEEDS_RESTART: Final = tuple(key.name for key in ROOT.keys if key.restart)
"""The sections that a reload does not change."""
