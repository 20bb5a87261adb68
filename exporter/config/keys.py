"""The table of all keys of a configuration file. A new key is a field of the model and a row here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporter.config import values
from exporter.config.durations import format_duration
from exporter.config.model import Config, Dataset, Labels, Log, Polling, Server, Web
from exporter.config.schema import ANY, BOOLEANS, NUMBERS, Given, Key, ListOf, Section, Value

if TYPE_CHECKING:
    from collections.abc import Iterator

_YEAR: Final = 31_536_000


def _duration(low: float, high: float = _YEAR) -> Value:
    name = f"duration, {format_duration(low)} to {format_duration(high)}"
    return Value(name, values.duration(low, high), ANY, format_duration)


def _choice(*words: str) -> Value:
    return Value(" or ".join(f"`{word}`" for word in words), values.choice_of(*words), ANY)


_BOOLEAN = Value("true or false", values.boolean, BOOLEANS, lambda value: str(value).lower())


def _dataset_warnings(given: Given) -> Iterator[tuple[str, str]]:
    if given.effective("batches") == () and given.effective("documents") == ():
        yield "", "names nothing to watch: add batches or documents"


_DATASET = Section(
    Dataset,
    identity="id",
    warnings=_dataset_warnings,
    keys=(
        Key(
            "id",
            Value("UUID", values.uuid_of("the knowledge base's URL, …/datasets/<id>"), ANY),
            "Id of the knowledge base, as in its URL in Dify: `…/datasets/<id>/documents`.",
            required=True,
        ),
        Key(
            "batches",
            ListOf(Value("text", values.batch)),
            "Ids of batches. Only the answer of an upload contains one. In quotes: YAML takes them for numbers.",
        ),
        Key(
            "documents",
            ListOf(Value("UUID", values.uuid_of("the document's URL, …/documents/<id>"), ANY)),
            "Ids of documents whose batch is not known, as in their URL in Dify.",
        ),
    ),
)


def _server_errors(given: Given) -> Iterator[tuple[str, str]]:
    if "api_key" in given.lines and "api_key_file" in given.lines:
        yield "api_key_file", "stands beside api_key: keep one of the two"
    if "api_key" not in given.lines and "api_key_file" not in given.lines:
        yield "", "has no key: add api_key_file, or api_key: ${DIFY_API_KEY}"


def _server_warnings(given: Given) -> Iterator[tuple[str, str]]:
    if given.effective("datasets") == ():
        yield "", "names nothing to watch: add datasets with batches or documents"
    if given.effective("ca_file") and str(given.effective("url") or "").startswith("http:"):
        yield "ca_file", "has no effect: the url is http, not https"


_SERVER = Section(
    Server,
    identity="name",
    errors=_server_errors,
    warnings=_server_warnings,
    keys=(
        Key(
            "name",
            Value("text", values.name),
            "Name of the server in labels (`server`), logs and messages. Unique.",
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
            "Knowledge API key (`dataset-…`), best taken from the environment: `${DIFY_API_KEY}`. Either this or "
            "`api_key_file`.",
        ),
        Key(
            "api_key_file",
            Value("path", values.path, check_file=values.check_key_file, echo=False),
            "File with the key. White space around it is stripped; a changed file is read again.",
        ),
        Key(
            "ca_file",
            Value("path", values.path, check_file=values.check_ca_file),
            "PEM file with the authorities that sign the server's certificate, in place of the usual ones.",
        ),
        Key(
            "requests_per_second",
            Value("number, 0.001 to 10000", values.number(0.001, 10_000), NUMBERS, "{:g}".format),
            "Upper bound for requests to this server. What does not fit is polled later.",
        ),
        Key(
            "concurrency",
            Value("whole number, 1 to 64", values.whole_number(1, 64), NUMBERS),
            "Upper bound for connections to this server at the same time. Dify's default server has ten in all.",
        ),
        Key("timeout", _duration(0.001, 600), "Time for one complete answer."),
        Key("datasets", ListOf(_DATASET), "Knowledge bases and what to watch in them."),
    ),
)


def _polling_errors(given: Given) -> Iterator[tuple[str, str]]:
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
        Key("interval", _duration(1), "How often to ask for a batch or document that moves."),
        Key("max_interval", _duration(1), "The interval grows up to this while an unfinished one does not move."),
        Key("settled_interval", _duration(1), "How often to look again at what has finished, at first."),
        Key("max_settled_interval", _duration(1), "The interval of what has finished doubles up to this."),
        Key("detail_interval", _duration(1), "How often to ask for the details of an unfinished document."),
    ),
)


def _root_errors(given: Given) -> Iterator[tuple[str, str]]:
    if given.values.get("servers") == ():
        yield "servers", "is empty: name at least one server"


ROOT: Final = Section(
    Config,
    errors=_root_errors,
    keys=(
        Key("servers", ListOf(_SERVER), "Dify servers, at least one.", required=True),
        Key("polling", _POLLING, "How often to ask."),
        Key(
            "labels",
            Section(
                Labels,
                keys=(
                    Key("document_name", _BOOLEAN, "Whether `dify_document_info` has the document's name as a label."),
                ),
            ),
            "What goes into labels.",
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
        ),
        Key(
            "log",
            Section(
                Log,
                keys=(
                    Key("level", _choice("debug", "info", "warning", "error"), "The least important that is logged."),
                    Key("format", _choice("logfmt", "json"), "One line an event, in this form."),
                ),
            ),
            "What to log and how.",
        ),
    ),
)
"""The whole file."""
