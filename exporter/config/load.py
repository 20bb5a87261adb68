"""From a file, the environment and the command line to a configuration."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from exporter.config import tree
from exporter.config.keys import ROOT
from exporter.config.problems import ConfigError, Invalid, Problem, show
from exporter.config.reader import BROKEN, Overflow, Reader
from exporter.config.schema import Section, Value

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from exporter.config.model import Config

MAX_FILE_SIZE: Final = 16 * 1024 * 1024

_WRITE_A_FILE = """\
write a file such as
  servers:
    - name: main
      url: https://api.dify.ai/v1
      api_key: ${DIFY_API_KEY}
      datasets:
        - id: 501756ed-cffa-44bb-b992-713f60113872
          batches: ["20261121173517669864"]
and name it with --config.file; config.example.yaml has every key"""


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """The configuration in the file ``path``, variables from ``environ``; files that it names are examined too.

    Raises ``ConfigError`` with all that is wrong.
    """
    file = show_path(path)
    try:
        root = tree.parse(_text(path))
    except Invalid as refused:
        problems = [Problem(file, None, "", str(refused))]
    except tree.Malformed as malformed:
        problems = [Problem(file, malformed.line, "", str(malformed))]
    else:
        if root is not None:
            return _read(root, Reader(file, path.parent, environ))
        problems = [Problem(file, None, "", f"is empty; {_WRITE_A_FILE}")]
    raise ConfigError(problems)


def show_path(path: Path) -> str:
    """``path`` as one printable line."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def _read(root: tree.Node, reader: Reader) -> Config:
    config: Any = BROKEN
    with contextlib.suppress(Overflow):
        config = reader.read(root, ROOT)
    if reader.problems:
        raise ConfigError(sorted(reader.problems, key=lambda problem: problem.line or sys.maxsize))
    result: Config = replace(config, warnings=tuple(reader.warnings))
    return result


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_FILE_SIZE + 1)
    except FileNotFoundError:
        why = f"does not exist; {_WRITE_A_FILE}"
    except IsADirectoryError:
        why = "is a directory: name the file in it"
    except PermissionError:
        why = "may not be read by this user: change its owner or mode"
    except (OSError, ValueError) as error:
        why = f"cannot be read: {getattr(error, 'strerror', None) or 'not a path'}"
    else:
        return _decode(content)
    raise Invalid(why)


def _decode(content: bytes) -> str:
    if len(content) > MAX_FILE_SIZE:
        raise Invalid(f"is larger than {MAX_FILE_SIZE // 1024 // 1024} MiB: is it the right file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    # Outside of the handler: the error holds the whole file.
    raise Invalid(f"is not UTF-8 (line {line}): save it as UTF-8")


def from_environment(environ: Mapping[str, str]) -> Config:
    """The configuration without a file. DIFY_API_KEY and DIFY_BASE_URL name a server and nothing to watch on it.

    Raises ``ConfigError``, always: it says what is lacking and how to write a file.
    """
    names = [name for name in ("DIFY_API_KEY", "DIFY_BASE_URL") if environ.get(name)]
    if names:
        message = f"{' and '.join(names)} name no batch or document to watch; {_WRITE_A_FILE}"
    else:
        message = f"there is no configuration; {_WRITE_A_FILE}"
    raise ConfigError([Problem("environment", None, "", message)])


def override(config: Config, settings: Mapping[str, str]) -> Config:
    """``config`` with values of the command line put in, such as ``{"web.listen_address": ":9439"}``.

    Raises ``ConfigError`` that names the options (``--web.listen-address``).
    """
    problems = []
    for dotted, text in settings.items():
        section_name, name = dotted.split(".")
        try:
            value = _kind_of(section_name, name).parse(text)
        except Invalid as refused:
            option = "--" + dotted.replace("_", "-")
            problems.append(Problem("command line", None, option, f"{show(text)} {refused}"))
        else:
            section = replace(getattr(config, section_name), **{name: value})
            changes: dict[str, Any] = {section_name: section}
            config = replace(config, **changes)
    if problems:
        raise ConfigError(problems)
    return config


def _kind_of(section_name: str, name: str) -> Value:
    """The kind of a key of a section. A name that the table does not have is a mistake of the program: ``KeyError``."""
    section = ROOT.find(section_name)
    key = section.kind.find(name) if section and isinstance(section.kind, Section) else None
    if key is None or not isinstance(key.kind, Value):
        raise KeyError(f"{section_name}.{name}")
    return key.kind
