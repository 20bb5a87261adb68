"""Values of the web config file: files, password hashes, headers, and Go's names for TLS parameters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from exporter.config import files
from exporter.yamlconf.problems import Invalid
from exporter.yamlconf.schema import ANY, Value

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIN_COST: Final = 4
MAX_COST: Final = 16
"""A bcrypt cost of 16 takes about 4 s of CPU per password; half of the usual scrape timeout."""

_HASH = re.compile(r"\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
_VISIBLE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")

CIPHERS: Final = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
}
"""Cipher suites up to TLS 1.2: names of Go's crypto/tls and of OpenSSL."""

MODERN_CIPHERS: Final = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
"""The cipher suites of TLS 1.3. They cannot be chosen, as in Go."""

CURVES: Final = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
"""Curves: names of Go's crypto/tls and of OpenSSL."""


def _no_file_or(locate: Callable[[Path, str], Path]) -> Callable[[Path, str], Path | None]:
    return lambda folder, text: locate(folder, text) if text else None


def _key_file(folder: Path, text: str) -> Path:
    file = folder / text
    try:
        content = files.read_text(file)
    except FileNotFoundError:
        raise Invalid("names a file that does not exist; a relative path starts at the folder of this file") from None
    except Invalid as refused:
        why = f"names a file that {refused}"
    else:
        if "PRIVATE KEY-----" in content:
            return file
        why = "names a file without a private key: it must be PEM with -----BEGIN PRIVATE KEY-----"
    # Outside the handler: no traceback may show the content of the file.
    raise Invalid(why)


def _any_path(text: str) -> str:
    return files.path(text) if text else ""


CERTIFICATE: Final = Value("path", _any_path, ANY, locate=_no_file_or(files.ca_file))
PRIVATE_KEY: Final = Value("path", _any_path, ANY, locate=_no_file_or(_key_file))


def one_of(name: str, words: tuple[str, ...], refused: dict[str, str]) -> Value:
    """One of ``words``; "" stands for the first. ``refused``: other words of the format, each with the remedy."""

    def parse(text: str) -> str:
        if text in refused:
            raise Invalid(refused[text])
        if text and text not in words:
            raise Invalid(f"must be one of {', '.join(words)}")
        return text or words[0]

    return Value(name, parse, ANY)


def refused(why: str) -> Value:
    """A key of the format that is not supported here. Its value may be a secret and is not shown."""

    def parse(_text: str) -> str:
        raise Invalid(why)

    return Value("not supported", parse, ANY, echo=False)


def _hash(text: str) -> bytes:
    match = _HASH.fullmatch(text)
    if match is None:
        raise Invalid(
            "is not a bcrypt hash ($2y$10$…, 60 characters): create one with htpasswd -nBC 10 '' | tr -d ':\\n'"
        )
    if not MIN_COST <= int(match["cost"]) <= MAX_COST:
        raise Invalid(f"has a bcrypt cost outside {MIN_COST} to {MAX_COST}: create a hash with cost 10")
    return text.encode()


HASH: Final = Value("bcrypt hash", _hash, ANY, echo=False)


def _header(*words: str) -> Value:
    def parse(text: str) -> str:
        if text and words and text not in words:
            raise Invalid(f"must be {' or '.join(words)}")
        if text and not _VISIBLE.fullmatch(text):
            raise Invalid("cannot be sent in a header: use visible ASCII characters on one line")
        return text

    return Value(" or ".join(f"`{word}`" for word in words) or "text", parse, ANY)


HEADERS: Final = {
    "Content-Security-Policy": _header(),
    "X-Frame-Options": _header("deny", "sameorigin"),
    "X-Content-Type-Options": _header("nosniff"),
    "X-XSS-Protection": _header(),
    "Strict-Transport-Security": _header(),
}
"""The headers that the format allows."""
