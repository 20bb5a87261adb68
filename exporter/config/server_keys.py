"""The part of the key table for a server and its knowledge bases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporter.config import files, values
from exporter.config.kinds import BOOLEAN, duration
from exporter.config.model import DatasetConfig, ServerConfig
from exporter.yamlconf.schema import ANY, NUMBERS, Given, Key, ListOf, Section, Value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.yamlconf.schema import Spot

_DATASET = Section(
    DatasetConfig,
    identity="id",
    keys=(
        Key(
            "id",
            Value("UUID", values.uuid_of("the knowledge base's URL, …/datasets/<id>"), ANY),
            "ID of the knowledge base, as in its URL in Dify: `…/datasets/<id>/documents`.",
            required=True,
        ),
        Key(
            "batches",
            ListOf(Value("text", values.batch)),
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


_NAME_PATTERN = Value("text", values.name_pattern)


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


SERVER: Final = Section(
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
            Value("path", files.path, locate=files.key_file, echo=False),
            "File that contains the key. Surrounding white space is removed. The file is read again when it changes.",
        ),
        Key(
            "ca_file",
            Value("path", files.path, locate=files.ca_file),
            "PEM file with the authorities that sign the server's certificate; replaces the default ones.",
        ),
        Key(
            "requests_per_second",
            Value("number, 0.001 to 10000", values.number(0.001, 10_000), NUMBERS, "{:g}".format),
            "Maximum request rate for this server. Polls beyond it are delayed.",
        ),
        Key(
            "concurrency",
            Value("whole number, 1 to 64", values.whole_number(1, 64), NUMBERS),
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
            ListOf(Value("path, wildcards allowed", files.path, locate=files.wildcard)),
            "Files with lists of batches to watch, written by other programs: see [below](#lists-of-batches).",
        ),
    ),
)
