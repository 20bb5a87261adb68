"""Builds the configuration from a file, the environment and the command line."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from exporter.config.api_keys import doubt_api_key, parse_api_key
from exporter.config.keys import ROOT, Config, ServerConfig, StateConfig
from exporter.config.values import server_url, state_path
from exporter.yamlconf import ConfigError, Invalid, Problem, Section, Value, folder_of, read_file, show

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from exporter.yamlconf import ListOf

_DEFAULT_STATE = "DIFY_EXPORTER_DEFAULT_STATE_PATH"

_WRITE_A_FILE = """\
write a file such as
  servers:
    - name: main
      url: https://api.dify.ai/v1
      api_key: ${DIFY_API_KEY}
      datasets:
        - id: 501756ed-cffa-44bb-b992-713f60113872
          batches: ["20261121173517669864"]
and pass it with --config.file; config.example.yaml contains every key"""


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Load the file ``path``, with variables from ``environ``. The files that it names are checked too.

    DIFY_EXPORTER_DEFAULT_STATE_PATH is the path of the state file unless the configuration file names one.
    Raises ``ConfigError`` with all problems.
    """
    config, warnings = read_file(path, environ, ROOT, absent=_WRITE_A_FILE, empty=_WRITE_A_FILE, pipe=True)
    state = config.state.path
    if environ.get(_DEFAULT_STATE) and state is StateConfig().path:  # the default itself: the file names none
        (state,) = _variables(environ, ((_DEFAULT_STATE, "", state_path),))
    located = StateConfig(None if state is None else folder_of(path) / state)
    result: Config = replace(config, state=located, warnings=warnings)
    return result


def is_in_environment(environ: Mapping[str, str]) -> bool:
    """Whether the environment is meant to be the configuration, valid or not."""
    return bool(environ.get("DIFY_API_KEY") or environ.get("DIFY_BASE_URL"))


def from_environment(environ: Mapping[str, str]) -> Config:
    """The configuration without a file: DIFY_API_KEY alone is sufficient and turns discovery on.

    DIFY_BASE_URL names a server other than Dify Cloud. DIFY_EXPORTER_STATE_PATH, or if that is unset
    DIFY_EXPORTER_DEFAULT_STATE_PATH, names the state file; without either, no state is kept. Raises ``ConfigError``
    with all problems; if there is no key, the message shows how to write a file.
    """
    if not environ.get("DIFY_API_KEY"):
        lacking = "no configuration: set DIFY_API_KEY"
        if environ.get("DIFY_BASE_URL"):
            lacking = "DIFY_BASE_URL is set, but DIFY_API_KEY is not: set it too"
        raise ConfigError([Problem("environment", None, "", f"{lacking}, or {_WRITE_A_FILE}")])
    state = "DIFY_EXPORTER_STATE_PATH"
    key, url, path = _variables(
        environ,
        (
            ("DIFY_API_KEY", "", parse_api_key),
            ("DIFY_BASE_URL", "https://api.dify.ai/v1", server_url),
            (state if environ.get(state) else _DEFAULT_STATE, "", state_path),
        ),
    )
    doubt = doubt_api_key(key)
    return Config(
        servers=(ServerConfig("dify", url, api_key=key, discover=True),),
        state=StateConfig(path),
        warnings=(Problem("environment", None, "DIFY_API_KEY", doubt),) if doubt else (),
    )


def _variables(environ: Mapping[str, str], wanted: Sequence[tuple[str, str, Callable[[str], Any]]]) -> list[Any]:
    """The values of environment variables. ``wanted``: name, default and parser of each."""
    values, problems = [], []
    for name, default, parse in wanted:
        try:
            values.append(parse(environ.get(name) or default))
        except Invalid as refused:
            problems.append(Problem("environment", None, name, str(refused)))
    if problems:
        raise ConfigError(problems)
    return values


def override(config: Config, settings: Mapping[str, str | Sequence[str]]) -> Config:
    """``config`` with command-line values applied, such as ``{"log.level": "debug"}``; a list by its items.

    Relative paths start at the working directory. Raises ``ConfigError``, which names the options
    (``--web.listen-address``).
    """
    problems = []
    for dotted, given in settings.items():
        section_name, name = dotted.split(".")
        kind = _kind_of(section_name, name)
        item: Any = kind if isinstance(kind, Value) else kind.item
        parsed = []
        for text in dict.fromkeys([given] if isinstance(given, str) else given):
            try:
                parsed.append(item.parse(text))
            except Invalid as refused:
                option = "--" + dotted.replace("_", "-")
                problems.append(Problem("command line", None, option, f"{show(text)} {refused}"))
        if not problems:
            value = parsed[0] if isinstance(kind, Value) else tuple(parsed)
            section = replace(getattr(config, section_name), **{name: value})
            changes: dict[str, Any] = {section_name: section}
            config = replace(config, **changes)
    if problems:
        raise ConfigError(problems)
    return config


def _kind_of(section_name: str, name: str) -> Value | ListOf:
    """The kind of a key. Raises ``KeyError`` for a name that is not in the table, which is a programming error."""
    section = ROOT.find(section_name)
    key = section.kind.find(name) if section and isinstance(section.kind, Section) else None
    if key is None or isinstance(key.kind, Section):
        raise KeyError(f"{section_name}.{name}")
    return key.kind
