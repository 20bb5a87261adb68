"""Converts text to checked values. The functions raise ``Invalid``, whose text never contains the input."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

import re2

from exporter.yamlconf.files import parse_path
from exporter.yamlconf.problems import Invalid
from exporter.yamlconf.values import has_control

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_NAME: Final = 128
_MAX_BATCH: Final = 255
_MAX_NAME_PATTERN: Final = 255
_MAX_EXPRESSION: Final = 500
_MAX_PORT: Final = 65_535

_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_BATCH = re.compile(r"[0-9]{20}")
_NUMBER = re.compile(r"[0-9.]+[eE][+-]?[0-9]+")
_HOST = re.compile(r"(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?")
_ADDRESS = re.compile(rf"(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<host>{_HOST.pattern})?):(?P<port>[0-9]{{1,5}})")
_ROUTE = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")

_OPTIONS: Final = re2.Options()
_OPTIONS.case_sensitive = False
_OPTIONS.log_errors = False

_UNSUPPORTED: Final = {
    "invalid perl operator": "it contains a (?…) that RE2 does not support, such as look-around",
    "invalid escape sequence": "it contains an escape that RE2 does not support, such as a back-reference",
    "invalid repetition size": "it repeats something more than 1000 times",
}
"""What RE2's messages mean; the others explain themselves."""


def name(text: str) -> str:
    """A name for labels and logs."""
    if not text.strip():
        raise Invalid("is empty: give the server a short name, such as main")
    if text != text.strip() or has_control(text):
        raise Invalid("contains control characters, or starts or ends with white space: remove them")
    if len(text) > _MAX_NAME:
        raise Invalid(f"is longer than {_MAX_NAME} characters")
    return text


def server_url(text: str) -> str:
    """The base URL of an API, without a trailing slash."""
    if has_control(text) or re.search(r"[\s\\]", text):
        raise Invalid("contains white space, backslashes or control characters: remove them")
    try:
        parts = urlsplit(text)
        host, _port = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in {"http", "https"} or not host:
        raise Invalid("is not a URL: write it like https://api.dify.ai/v1")
    if "@" in parts.netloc:
        raise Invalid("contains a user name or password: remove them; the key belongs in api_key or api_key_file")
    if not (_is_ipv6(host) if "[" in parts.netloc else _known_host(host)):
        raise Invalid("has a host that is neither a name nor an address: write it like https://api.dify.ai/v1")
    if "?" in text or "#" in text:
        raise Invalid("has a query or a fragment: end it with /v1")
    path = parts.path.rstrip("/")
    if not path.endswith("/v1"):
        raise Invalid("must end in /v1, such as https://api.dify.ai/v1: without it the web frontend answers")
    return f"{parts.scheme}://{parts.netloc}{path}"


def _known_host(host: str) -> bool:
    try:
        ascii_host = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        return False
    return _HOST.fullmatch(ascii_host) is not None


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def state_path(text: str) -> Path | None:
    """The path of the state file, or None for empty text."""
    return Path(parse_path(text)) if text else None


def uuid_of(where: str) -> Callable[[str], str]:
    """A parser of IDs, which it converts to lower case as in the API's answers. ``where``: where people find an ID."""

    def parse(text: str) -> str:
        if _UUID.fullmatch(text):
            return text.lower()
        raise Invalid(f"is not a UUID; copy it from {where}")

    return parse


def document_id(text: str) -> str:
    """The ID of a document, in lower case."""
    if _BATCH.fullmatch(text):
        raise Invalid("is a batch's ID: put it under batches")
    return _document_id(text)


_document_id: Final = uuid_of("the document's URL, …/documents/<id>")


def batch(text: str) -> str:
    """The ID of a batch. It becomes one segment of a URL path."""
    if not text or text in {".", ".."} or "/" in text or text != text.strip() or has_control(text):
        raise Invalid("is not a batch ID; copy it from the answer to the upload")
    if len(text) > _MAX_BATCH:
        raise Invalid(f"is longer than {_MAX_BATCH} characters")
    return text


def doubt_batch(text: str) -> str | None:
    """Why a valid ID is probably not one of Dify's, which have 20 digits; None if it looks like one.

    A rounded ID still has 20 digits, but it is the shortest decimal form of a floating-point number, as one in 4000 is.
    """
    if _BATCH.fullmatch(text):
        rounded = Decimal(repr(float(text))) == Decimal(text)
        return "may have been rounded by a program that reads it as a number: keep it as text" if rounded else None
    if _UUID.fullmatch(text):
        return "is a document's ID, not a batch's: put it under documents, in the configuration"
    if _NUMBER.fullmatch(text):
        return "is a number whose last digits are lost: a batch ID has 20 digits; copy it from the answer to the upload"
    if len(_BATCH.findall(text)) > 1:
        return "contains more than one batch ID: write them as separate items"
    if _BATCH.search(text):
        return "has something around the 20 digits of a batch ID, such as curly quotes: write the digits alone"
    return "is not an ID of Dify's, which has 20 digits: copy it from the answer to the upload"


def name_pattern(text: str) -> str:
    """A shell-style pattern for names of knowledge bases."""
    if not text or has_control(text):
        raise Invalid("is not a pattern: it is empty or contains control characters; write it like *handbook*")
    if len(text) > _MAX_NAME_PATTERN:
        raise Invalid(f"is longer than {_MAX_NAME_PATTERN} characters")
    return text


@dataclass(frozen=True, slots=True)
class SearchPattern:
    """A regular expression that is searched ignoring case. Patterns with the same text are equal."""

    text: str
    compiled: Any = field(compare=False, repr=False)

    def search(self, text: str) -> bool:
        """Whether the expression matches anywhere in ``text``. The time is linear in the length of ``text``."""
        return self.compiled.search(text.encode(errors="replace")) is not None


def search_pattern(text: str) -> SearchPattern:
    """Compile a regular expression in the syntax of RE2, which has no expressions that take very long to search."""
    if len(text) > _MAX_EXPRESSION:
        raise Invalid(f"is longer than {_MAX_EXPRESSION} characters: split it in two")
    try:
        pattern = SearchPattern(text, re2.compile(text.encode(), _OPTIONS))
    except re2.error as error:
        message = error.args[0].decode(errors="replace").partition(": ")[0]  # a piece of the expression follows
    else:
        if pattern.search(""):
            raise Invalid("matches every text, even an empty one: is there an extra |?")
        return pattern
    raise Invalid(f"is not a regular expression: {_UNSUPPORTED.get(message, message)}")


class ListenAddress(NamedTuple):
    """Host ("" for all addresses of the machine) and port (0 for any free port)."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_listen_address(text: str) -> ListenAddress:
    """Parse ``host:port``, ``:port`` or ``[IPv6]:port``. Raises ``Invalid``."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > _MAX_PORT or (match["ipv6"] and not _is_ipv6(match["ipv6"])):
        raise Invalid("is not an address: write host:port, such as 0.0.0.0:9439, :9439 or [::1]:9439")
    return ListenAddress(match["ipv6"] or match["host"] or "", int(match["port"]))


def listen_address(text: str) -> str:
    """An address to listen on, as written."""
    parse_listen_address(text)
    return text


def telemetry_path(text: str) -> str:
    """The path of the metrics page; paths of other pages are reserved."""
    if not _ROUTE.fullmatch(text) or "/." in text:
        raise Invalid("is not a valid URL path: write it like /metrics")
    if text.split("/")[1] in {"-", "api"}:
        raise Invalid("is reserved: /-/ and /api/ belong to other pages; write it like /metrics")
    return text
