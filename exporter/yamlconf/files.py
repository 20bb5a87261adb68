"""Files: reading them, and the paths that a configuration names. Messages never contain file content."""

from __future__ import annotations

import codecs
import glob
import os
import re
from pathlib import Path
from typing import Final

from exporter.yamlconf.file_access import PIPE_TIMEOUT, bounded, open_regular
from exporter.yamlconf.problems import Invalid
from exporter.yamlconf.values import has_control

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB
MAX_SIZE: Final = 16 * _MIB

_DESCRIPTOR: Final = re.compile(r"/dev/stdin|/dev/fd/[0-9]+|/proc/self/fd/[0-9]+")
"""The names of open files of this process."""

NOT_UTF_16: Final = "is UTF-16: save it as UTF-8 (in PowerShell: Out-File -Encoding utf8, as > writes UTF-16)"
"""The message about a file for which ``is_utf_16`` is true."""


class Unreadable(Invalid):
    """A file cannot be accessed. The failure may be temporary."""


class Missing(Unreadable):
    """There is no such file. Only the caller knows what that means."""


def read_bytes(path: Path, limit: int = MAX_SIZE, *, pipe: bool = False) -> bytes:
    """The content of a regular file, or if ``pipe`` is set of an ``is_pipe``, of at most ``limit`` bytes.

    Raises ``Missing``, ``Unreadable``, or ``Invalid`` for a file that is too large, with the remedy.
    """
    is_accepted_pipe = pipe and is_pipe(path)

    def read() -> bytes | None:
        stream = open_regular(path, pipe=is_accepted_pipe)
        if stream is None:
            return None
        with stream:
            return stream.read(limit + 1)

    content = None
    failure = Unreadable("is not a regular file but a directory, pipe or device: name only regular files")
    try:
        content = bounded(path, read, PIPE_TIMEOUT if is_accepted_pipe else None)
    except FileNotFoundError:
        failure = Missing("does not exist; relative paths start at the folder of the configuration")
    except PermissionError:
        failure = Unreadable("is not readable by this user: change its owner or mode")
    except (OSError, ValueError) as error:
        failure = Unreadable(f"cannot be read: {getattr(error, 'strerror', None) or 'not a path'}")
    if content is None:
        raise failure
    if len(content) > limit:
        size = f"{limit // _KIB} KiB" if limit < _MIB else f"{limit // _MIB} MiB"
        raise Invalid(f"is larger than {size}: is it the right file?")
    return content


def is_pipe(path: Path) -> bool:
    """Whether ``path`` is a pipe from another program, such as ``<(sops --decrypt config.yaml)`` in a shell.

    It can be read once. A named pipe is none: nobody may be writing to it.
    """
    return _DESCRIPTOR.fullmatch(str(path)) is not None and path.is_fifo()


def folder_of(path: Path) -> Path:
    """Where relative paths in the configuration file ``path`` start: its folder; for a pipe the working directory."""
    return Path() if is_pipe(path) else path.parent


def read_text(path: Path, *, pipe: bool = False) -> str:
    """The text of a file, UTF-8 with or without a byte order mark. Raises what ``read_bytes`` raises."""
    content = read_bytes(path, pipe=pipe)
    if is_utf_16(content):
        raise Invalid(NOT_UTF_16)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    # Raised outside the handler: the original error contains the whole file.
    raise Invalid(f"is not UTF-8 (line {line}): save it as UTF-8")


def is_utf_16(content: bytes) -> bool:
    """Whether ``content`` is UTF-16 text, with a byte order mark or without: every other byte of ASCII text is 0."""
    return content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or content[:4].count(0) == 2  # noqa: PLR2004


def read_named(file: Path, limit: int = MAX_SIZE) -> bytes:
    """The content of a file that a key names. Raises ``Invalid``, whose text is about the key."""
    try:
        return read_bytes(file, limit)
    except Invalid as refused:
        raise Invalid(f"names a file that {refused}") from None


def parse_path(text: str) -> str:
    """A path; a relative path starts at the folder of the configuration file."""
    if not text or has_control(text):
        raise Invalid("is not a path: it is empty or contains control characters")
    return text


def locate_certificate(folder: Path, text: str) -> Path:
    """The file ``text`` in ``folder``. It must exist and contain a certificate."""
    if b"-----BEGIN CERTIFICATE-----" not in read_named(folder / text):
        raise Invalid("names a file without a certificate: it must be PEM, with -----BEGIN CERTIFICATE-----")
    return folder / text


def locate_wildcard(folder: Path, text: str) -> str:
    """The path pattern ``text`` in ``folder``. Matching files may be created later."""
    if "**" in text:
        raise Invalid("contains **, which is not supported: write one wildcard per folder, such as */*.yaml")
    try:
        is_folder = bounded(folder / text, (folder / text).is_dir)
    except OSError as error:
        raise Invalid(f"is not a valid path ({error.strerror})") from None
    if is_folder:
        raise Invalid("names a directory: name the files in it, such as batches/*.yaml")
    return os.path.join(glob.escape(str(folder)), text)  # noqa: PTH118 a pattern, not a path


def nothing_matches(pattern: str) -> str:
    """Why a path pattern matches nothing. Names the first folder that is missing or cannot be listed."""
    folder, missing = _folder_of(pattern), ""
    while not (found := glob.glob(folder)):  # noqa: PTH207 Path has no absolute patterns
        missing, folder = folder, _folder_of(folder)
    closed = next((path for path in found if not os.access(path, os.R_OK | os.X_OK)), None)
    if closed is not None:
        return f"matches nothing: {closed} cannot be listed by this user: check that it is a folder, its owner and mode"
    if missing:
        return f"matches nothing: there is no folder {missing}; a relative path starts at that of the configuration"
    return f"matches nothing: {folder} contains no such file"


def _folder_of(pattern: str) -> str:
    return os.path.dirname(pattern) or os.curdir  # noqa: PTH120 a pattern, not a path
