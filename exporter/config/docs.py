"""Writes docs/configuration.md from the table of keys: ``python -m exporter.config.docs`` in a checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from exporter.config.keys import NEEDS_RESTART, ROOT
from exporter.config.schema import Key, ListOf, Section, default_of

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"

_INTRODUCTION = """\
<!-- Written by python -m exporter.config.docs; change exporter/config/keys.py instead. -->
# Configuration

`dify-exporter run --config.file config.yaml` reads one YAML file. [config.example.yaml](../config.example.yaml) has
every key and is a good start; `dify-exporter check --offline --config.file config.yaml` examines a file without asking
a server.

A file that is wrong is refused as a whole, with all of its problems at once:

```
config.yaml:4: servers[0].api_key: needs the environment variable KEY, which is not set: set it or write ${KEY:-default}
config.yaml:6: servers[0].datasets[0].id: '5017' is not a UUID; copy it from the knowledge base's URL, …/datasets/<id>
config.yaml:7: polling: unknown key 'intervall'; did you mean 'interval'?
```

- **Variables.** `${NAME}` in a value stands for the environment variable, `${NAME:-default}` for a default where it
  is not set or empty, `$${` for a literal `${`. They are put in after the YAML is read, so a value is never taken for
  YAML; a number or a duration may be a variable too. Inside `[]` and `{}`, put them in quotes.
- **Durations** are whole numbers with units, largest first: `500ms`, `15s`, `1h30m`, `2d`. A number alone is refused.
- **Paths** that are relative start at the folder of the configuration file, `state.path` too. In a container, name a
  volume there; in the image `/data/state.db` is the default.
- **Changes** take effect with a reload: SIGHUP, `POST /-/reload`, or by themselves with
  `--config.auto-reload-interval`. Those of {restart} take a restart; a reload names them in the
  log and in its answer.
- **Keys** of the API are never shown: not in messages, logs, metrics or pages.
- Anchors and aliases work; merge keys (`<<`), tags (`!…`) and several documents in one file do not. At most 16 MiB.

## Without a file

`DIFY_API_KEY` in the environment is a whole configuration: one server, `dify`, with `discover: true`.

| variable | default | meaning |
|---|---|---|
| `DIFY_API_KEY` | **required** | Knowledge API key. |
| `DIFY_BASE_URL` | `https://api.dify.ai/v1` | Base URL of the API, with its `/v1`. |
| `DIFY_EXPORTER_STATE_PATH` | none; in the image `/data/state.db` | File to keep the state in; as `state.path`. |

`DIFY_EXPORTER_STATE_PATH` is relative to the working directory. Beside a file it overrides `state.path`, as the
variables of all options override their keys (`dify-exporter run --help` names them).
`DIFY_EXPORTER_DEFAULT_STATE_PATH`, which the image sets, overrides nothing: it is for where neither the file nor that
variable names a path.
"""

_LISTS = """\
## Lists of batches

A program that uploads documents knows the batch (it is in the answer) and can tell the exporter: it writes a file that
`batch_files` names, in JSON when its name ends in `.json`, else in YAML.

```yaml
- dataset_id: 501756ed-cffa-44bb-b992-713f60113872
  batch: "20261121173517669864"
- dataset_id: c23d659c-2dd9-43a9-9ba1-c2344a7f1127
  batches: ["20261121173519410388", "20261121173522027915"]
```

- Other keys are ignored, duplicates are one, `[]` is no batch. Variables (`${NAME}`) are not put in.
- Changes are noticed within 10 s. Write a new file and rename it over the old one; a file that is written in place is
  read once it has rested for two seconds.
- A file that is broken or cannot be read changes nothing: what it said before stays in force, and the log says what is
  wrong, once. A file that is removed takes its batches with it.
- Wildcards are `*`, `?` and `[abc]`, also for folders; `**` is not one. At most 16 MiB a file.
- A batch that has been finished for `retention.finished` is dropped although the file still names it.
"""


def render() -> str:
    """The page."""
    return "\n".join([_introduction(), *_sections(ROOT, "", "The file"), _LISTS])


def _introduction() -> str:
    *names, last = [f"`{name}`" for name in NEEDS_RESTART]
    return _INTRODUCTION.replace("{restart}", f"{', '.join(names)} and {last}")


def _sections(section: Section, path: str, title: str, note: str = "") -> list[str]:
    lines = [f"## {title}", "", *([note, ""] if note else [])]
    lines += ["| key | value | default | meaning |", "|---|---|---|---|"]
    lines += [_row(section, key) for key in section.keys]
    lines.append("")
    for key in section.keys:
        item = key.kind.item if isinstance(key.kind, ListOf) else key.kind
        if isinstance(item, Section):
            inner = f"{path}{key.name}{'[]' if isinstance(key.kind, ListOf) else ''}"
            lines += _sections(item, f"{inner}.", f"`{inner}`", _restart(key).lstrip())
    return lines


def _row(section: Section, key: Key) -> str:
    return f"| `{key.name}` | {_kind(key)} | {_default(section, key)} | {key.description}{_restart(key)} |"


def _restart(key: Key) -> str:
    return " A change takes a restart." if key.restart else ""


def _kind(key: Key) -> str:
    if isinstance(key.kind, Section):
        return "section"
    if not isinstance(key.kind, ListOf):
        return key.kind.name
    return "list of sections" if isinstance(key.kind.item, Section) else f"list of {key.kind.item.name}"


def _default(section: Section, key: Key) -> str:
    if key.required:
        return "**required**"
    if isinstance(key.kind, Section):
        return ""
    if key.default:
        return key.default
    default = default_of(section.model, key.name)
    if default is None or isinstance(key.kind, ListOf):
        return "none"
    return f"`{key.kind.render(default)}`"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
