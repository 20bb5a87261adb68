"""Checks the paths that a configuration names, and the files themselves. Messages never contain file content."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import Final

from exporter.config.values import has_control, parse_api_key
from exporter.yamlconf.problems import Invalid

MAX_TEXT_FILE: Final = 16 * 1024 * 1024
_MAX_KEY_FILE: Final = 64 * 1024
_MAX_CA_FILE: Final = 16 * 1024 * 1024


class Unreadable(Invalid):
    """A file cannot be accessed. The failure may be temporary."""


def read_text(path: Path) -> str:
    """The text of a file of at most 16 MiB, UTF-8 with or without a byte order mark.

    Raises ``Unreadable``, or ``Invalid`` for unusable content, both with the remedy. ``FileNotFoundError`` is passed
    on, because only the caller knows what a missing file means.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_TEXT_FILE + 1)
    except FileNotFoundError:
        raise
    except IsADirectoryError:
        why = "is a directory: name a file in it"
    except PermissionError:
        why = "is not readable by this user: change its owner or mode"
    except (OSError, ValueError) as error:
        why = f"cannot be read: {getattr(error, 'strerror', None) or 'not a path'}"
    else:
        return _decode(content)
    raise Unreadable(why)


def _decode(content: bytes) -> str:
    if len(content) > MAX_TEXT_FILE:
        raise Invalid(f"is larger than {MAX_TEXT_FILE // 1024 // 1024} MiB: is it the right file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    # Raised outside the handler: the original error contains the whole file.
    raise Invalid(f"is not UTF-8 (line {line}): save it as UTF-8")


def path(text: str) -> str:
    """A path; a relative path starts at the folder of the configuration file."""
    if not text or has_control(text):
        raise Invalid("is not a path: it is empty or contains control characters")
    return text


def path_or_nothing(text: str) -> Path | None:
    """A path, or None for empty text."""
    return Path(path(text)) if text else None


def key_file(folder: Path, text: str) -> Path:
    """The file ``text`` in ``folder``. It must exist and contain an API key."""
    file = folder / text
    try:
        content = _content(file, _MAX_KEY_FILE).decode("ascii")
    except UnicodeDecodeError:
        content = "\x00"
    try:
        parse_api_key(content)
    except Invalid as refused:
        message = f"names a file whose content {refused}"
    else:
        return file
    raise Invalid(message)


def ca_file(folder: Path, text: str) -> Path:
    """The file ``text`` in ``folder``. It must exist and contain a certificate."""
    file = folder / text
    if b"-----BEGIN CERTIFICATE-----" not in _content(file, _MAX_CA_FILE):
        raise Invalid("names a file without a certificate: it must be PEM, with -----BEGIN CERTIFICATE-----")
    return file


def wildcard(folder: Path, text: str) -> str:
    """The path pattern ``text`` in ``folder``. Matching files may be created later."""
    if "**" in text:
        raise Invalid("contains **, which is not supported: write one wildcard per folder, such as */*.yaml")
    try:
        is_folder = (folder / text).is_dir()
    except OSError as error:
        raise Invalid(f"is not a valid path ({error.strerror})") from None
    if is_folder:
        raise Invalid("names a directory: name the files in it, such as batches/*.yaml")
    return os.path.join(glob.escape(str(folder)), text)  # noqa: PTH118 a pattern, not a path


def _content(file: Path, limit: int) -> bytes:
    try:
        with file.open("rb") as stream:
            content = stream.read(limit + 1)
    except FileNotFoundError:
        why = "names a file that does not exist"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        why = f"names a file that cannot be read ({reason})"
    else:
        if len(content) <= limit:
            return content
        raise Invalid(f"names a file of more than {limit // 1024} KiB: is it the right file?")
    raise Invalid(f"{why}; a relative path starts at the folder of this file")
