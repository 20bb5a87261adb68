"""Converts text to checked values. The functions raise ``Invalid``, whose text never contains the input."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from exporter.config.model import Secret
from exporter.yamlconf.durations import format_duration, parse_duration
from exporter.yamlconf.problems import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_NAME: Final = 128
_MAX_BATCH: Final = 255
_MAX_PATTERN: Final = 255
_MAX_PORT: Final = 65_535

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_HOST = re.compile(r"(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?")
_ADDRESS = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*):(?P<port>[0-9]{1,5})")
_ROUTE = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
_WHOLE = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,8})")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,9}(?:\.[0-9]{0,9})?")


def has_control(text: str) -> bool:
    """Whether ``text`` contains control characters, line separators or surrogates."""
    return _CONTROL.search(text) is not None


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


def parse_api_key(text: str) -> Secret:
    """The key in ``text``, without surrounding white space.

    Raises ``ValueError`` for a key that is not a valid header value: HTTP clients raise errors that quote it.
    """
    key = text.strip()
    if not key:
        raise Invalid("is empty: create a key under Knowledge > Service API in Dify")
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise Invalid("is not an API key: it contains white space, control or non-ASCII characters; copy it again")
    return Secret(key)


def uuid_of(where: str) -> Callable[[str], str]:
    """A parser of IDs, which it converts to lower case as in the API's answers. ``where``: where people find an ID."""

    def parse(text: str) -> str:
        if _UUID.fullmatch(text):
            return text.lower()
        raise Invalid(f"is not a UUID; copy it from {where}")

    return parse


def batch(text: str) -> str:
    """The ID of a batch. It becomes one segment of a URL path."""
    if not text or text in {".", ".."} or "/" in text or text != text.strip() or has_control(text):
        raise Invalid("is not a batch ID; copy it from the answer to the upload")
    if len(text) > _MAX_BATCH:
        raise Invalid(f"is longer than {_MAX_BATCH} characters")
    return text


def name_pattern(text: str) -> str:
    """A shell-style pattern for names of knowledge bases."""
    if not text or has_control(text):
        raise Invalid("is not a pattern: it is empty or contains control characters; write it like *handbook*")
    if len(text) > _MAX_PATTERN:
        raise Invalid(f"is longer than {_MAX_PATTERN} characters")
    return text


def parse_listen_address(text: str) -> tuple[str, int]:
    """Host ("" for all interfaces; IPv6 without brackets) and port of ``host:port``, ``:port`` or ``[::1]:port``.

    Raises ``ValueError`` with a message for people.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise Invalid("is not an address: write host:port, such as 0.0.0.0:9439, :9439 or [::1]:9439")
    host, port = match["host"], int(match["port"])
    if port > _MAX_PORT:
        raise Invalid(f"has a port above {_MAX_PORT}")
    if host.startswith("["):
        host = host[1:-1]
        known = _is_ipv6(host)
    else:
        known = not host or _HOST.fullmatch(host) is not None
    if not known:
        raise Invalid("has a host that is neither a name nor an address")
    return host, port


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


def choice_of(*words: str) -> Callable[[str], str]:
    """A parser of one of ``words``."""

    def parse(text: str) -> str:
        if text in words:
            return text
        raise Invalid(f"must be one of {', '.join(words)}")

    return parse


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """A parser of whole numbers from ``low`` to ``high``, in decimal digits (YAML itself reads 010 as 8)."""

    def parse(text: str) -> int:
        if not _WHOLE.fullmatch(text) or not low <= int(text) <= high:
            raise Invalid(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def number(low: float, high: float) -> Callable[[str], float]:
    """A parser of decimal numbers from ``low`` to ``high``."""

    def parse(text: str) -> float:
        if not _DECIMAL.fullmatch(text) or not low <= float(text) <= high:
            raise Invalid(f"must be a number from {low:g} to {high:g}")
        return float(text)

    return parse


def duration(low: float, high: float) -> Callable[[str], float]:
    """A parser of durations from ``low`` to ``high`` seconds."""

    def parse(text: str) -> float:
        seconds = parse_duration(text)
        if not low <= seconds <= high:
            raise Invalid(f"must be from {format_duration(low)} to {format_duration(high)}")
        return seconds

    return parse


def boolean(text: str) -> bool:
    """YAML's words for true and false."""
    word = text.lower()
    if word in {"true", "yes", "on"}:
        return True
    if word in {"false", "no", "off"}:
        return False
    raise Invalid("must be true or false")
