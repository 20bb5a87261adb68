"""Any file either loads or is rejected with a ConfigError, and an API key is never shown."""

from __future__ import annotations

import os
import tempfile
import traceback
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import Config, load
from exporter.config.keys import ROOT
from exporter.yamlconf import ConfigError, tree
from exporter.yamlconf.schema import ListOf, Section

KEY = "dataset-Pl4nt3dK3y"
DATASET = "501756ed-cffa-44bb-b992-713f60113872"


def _outcome(content: bytes, environ: dict[str, str]) -> Config | str:
    """The configuration, or everything that an error could print, including the traceback."""
    descriptor, name = tempfile.mkstemp(suffix=".yaml")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        return load(Path(name), environ)
    except ConfigError as error:
        return "".join(traceback.format_exception(error)) + repr(error.problems)
    finally:
        Path(name).unlink()


def _sections(section: Section) -> list[Section]:
    items = [key.kind.item if isinstance(key.kind, ListOf) else key.kind for key in section.keys]
    return [section, *(inner for item in items if isinstance(item, Section) for inner in _sections(item))]


WORDS = sorted({key.name for section in _sections(ROOT) for key in section.keys})
SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.dates(),
    st.text(max_size=20),
    st.sampled_from(
        [KEY, DATASET, "15s", "${KEY}", "${NOPE}", "${X:-1s}", "$${", "https://a/v1", f"https://{KEY}@a/v1", "a/b", ""]
    ),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=5) | st.just(KEY), inner, max_size=6)
    ),
    max_leaves=20,
)


def _likely(section: Section) -> st.SearchStrategy[Any]:
    """Almost valid mappings: known keys, some with a value of the wrong type."""
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for key in section.keys:
        item = key.kind.item if isinstance(key.kind, ListOf) else key.kind
        values = _likely(item) if isinstance(item, Section) else SCALARS
        optional[key.name] = (st.lists(values, max_size=3) if isinstance(key.kind, ListOf) else values) | SCALARS
    return st.fixed_dictionaries({}, optional=optional)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_load_or_are_refused(content: bytes) -> None:
    """No bytes cause any other exception."""
    assert isinstance(_outcome(content, {}), Config | str)


@given(st.text(st.sampled_from("ab:-?[]{},&*!|>'\"%@`#\n \t$~<=0189.\\x"), max_size=60))
def test_any_yaml_like_text_is_refused(content: str) -> None:
    """Text made of YAML's special characters never loads, and causes no other exception."""
    assert isinstance(_outcome(content.encode(), {}), str)


@given(ANYTHING | _likely(ROOT), st.booleans())
def test_any_yaml_loads_or_is_refused_without_showing_the_key(value: Any, flow: bool) -> None:
    """The API key is not in the outcome, wherever it occurs in the file or the environment."""
    content = yaml.safe_dump(value, allow_unicode=True, default_flow_style=flow, sort_keys=False)
    assert KEY not in repr(_outcome(content.encode("utf-8", "replace"), {"KEY": KEY, "NOPE2": KEY}))


@given(st.integers(min_value=0, max_value=200), st.sampled_from(list("\n\t :'\"[]{}*&!%#-\x00\xe9")))
@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
def test_a_typo_anywhere_does_not_show_the_key(loader: str, position: int, typo: str) -> None:
    """A valid file with one extra character loads or is rejected; the key is in neither outcome."""
    content = (
        f"servers:\n  - name: main\n    url: https://api.dify.ai/v1\n    api_key: {KEY}\n"
        f'    timeout: 10s\n    datasets:\n      - id: {DATASET}\n        batches: ["1"]\n'
    )
    start = content.index(KEY)
    if start < position < start + len(KEY):
        position = start
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree, "_Loader", getattr(yaml, loader))
        assert KEY not in repr(_outcome((content[:position] + typo + content[position:]).encode(), {}))
