"""API keys: reading them, and recognizing what is pasted or stored in place of one.

A wrong key would only show in the first answer, as a 401 that does not say why. Messages never contain any part of the
text.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Final

from exporter.yamlconf.files import NOT_UTF_16, Unreadable, is_utf_16, read_bytes
from exporter.yamlconf.problems import Invalid
from exporter.yamlconf.values import Secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_START: Final = "dataset-"
_APP: Final = "app-"
_KINDS: Final = (_START.encode(), _APP.encode())
_MAX_KEY: Final = 4096
_MAX_KEY_FILE: Final = 64 * 1024
_MARK: Final = "\ufeff"
_QUOTES: Final = tuple("\"'`\u00ab\u00bb\u2018\u2019\u201a\u201c\u201d\u201e")

_HEADER_VALUE = re.compile(r"[\x21-\x7e]+")
_VARIABLE = re.compile(r"\$\{?[A-Za-z_][A-Za-z0-9_]*\}?|%[A-Za-z_][A-Za-z0-9_]*%")
_ASSIGNMENT = re.compile(r"(?:export\s+)?[A-Z_][A-Z0-9_]*\s*=\s*[^=\s]")
_MASKED = re.compile(r"\*{3}|\.{3}|…")

_ALONE: Final = "write the key alone, from dataset- on"
_CREATE: Final = "create one in Dify under Knowledge > Service API"


def parse_api_key(text: str) -> Secret:
    """The key in ``text``, without surrounding white space and byte order mark.

    Raises ``Invalid`` for what cannot be a key, with the likely cause, and for a key that is not a valid header value:
    HTTP clients raise errors that quote it.
    """
    key = text.strip().removeprefix(_MARK).strip()
    if not key:
        raise Invalid(f"is empty: write an API key; {_CREATE}")
    for applies, message in _MISTAKES:
        if applies(key):
            raise Invalid(message)
    if not _HEADER_VALUE.fullmatch(key):
        raise Invalid("is not an API key: it contains white space, control or non-ASCII characters; copy it again")
    return Secret(key)


def doubt_api_key(key: Secret) -> str | None:
    """Why a valid key is probably not a knowledge key; None if it looks like one."""
    if key.reveal().startswith(_START):
        return None
    return (
        "does not start with dataset-, as Dify's knowledge keys do: check it, unless a gateway in front of Dify "
        f"has keys of its own ({_CREATE})"
    )


def read_api_key(file: Path) -> Secret:
    """The key in ``file``. Raises ``Unreadable`` if there is none, perhaps only now, else ``Invalid``."""
    content = read_bytes(file, _MAX_KEY_FILE)
    if is_utf_16(content):
        raise Invalid(NOT_UTF_16)
    text = content.decode("utf-8-sig", "replace")
    if not text.strip():
        raise Unreadable("is empty: write the API key to it")
    return parse_api_key(text)


def locate_key_file(folder: Path, text: str) -> Path:
    """The file ``text`` in ``folder``. It must exist and contain an API key."""
    try:
        read_api_key(folder / text)
    except Invalid as refused:
        raise Invalid(f"names a file that {refused}") from None
    return folder / text


def doubt_key_file(file: Path) -> str | None:
    """Why the key in ``file`` is probably not a knowledge key."""
    try:
        found = doubt_api_key(read_api_key(file))
    except Invalid:
        return None  # replaced since it was located: whoever uses the key reports it
    return found and f"names a file whose key {found}"


def _unpacked(key: str) -> bytes:
    """``key`` decoded from base64, twice if it was encoded twice; empty if it is something else."""
    content = key.encode()
    for _ in range(2):
        try:
            content = base64.b64decode(content + b"=" * (-len(content) % 4), validate=True).strip()
        except binascii.Error:
            return b""
        if content.startswith(_KINDS):
            break
    return content


_MISTAKES: Final[tuple[tuple[Callable[[str], object], str], ...]] = (
    (
        lambda key: len(key) > _MAX_KEY,
        f"is longer than {_MAX_KEY} characters, a key has some 32: is it the right text?",
    ),
    (lambda key: "\n" in key or "\r" in key, "has more than one line: write the key alone, in one line"),
    (
        _VARIABLE.fullmatch,
        "is the name of a variable, not its value: in the configuration file write ${NAME}, anywhere else the key",
    ),
    (_ASSIGNMENT.match, f"is an assignment (NAME=…): {_ALONE}"),
    (
        lambda key: key.startswith(_QUOTES) or key.endswith(_QUOTES),
        "is in quotes, which an env file or a key file keeps as a part of the key: remove them",
    ),
    (lambda key: key.rfind(_START) > 0, f"has something before the key, or is two keys: {_ALONE}"),
    (lambda key: key.startswith(_APP), f"is an app's key: a knowledge key starts with dataset-; {_CREATE}"),
    (_MASKED.search, "is abbreviated, as in Dify's list of keys: copy it with the button beside it, or create another"),
    (
        lambda key: _unpacked(key).startswith(_KINDS),
        "is a key in base64, as in a Kubernetes secret: decode it (base64 -d), or write it under stringData there",
    ),
)
"""What is not a key although it could be sent as one, and the message with the remedy."""
