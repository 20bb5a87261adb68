"""Fixtures that load a configuration file, or return its problems."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.config import Config, load
from exporter.yamlconf import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


@pytest.fixture
def load_text(tmp_path: Path) -> Callable[..., Config]:
    """Load text or bytes as tmp_path/config.yaml; keyword arguments are the environment."""

    def run(text: str | bytes, /, **environ: str) -> Config:
        return load(_write(tmp_path, text), environ)

    return run


@pytest.fixture
def refuse(tmp_path: Path) -> Callable[..., list[str]]:
    """The problems of text or bytes as tmp_path/config.yaml, one line each, without the folder."""

    def run(text: str | bytes, /, **environ: str) -> list[str]:
        return _problems_of(_write(tmp_path, text), environ)

    return run


@pytest.fixture
def refuse_file() -> Callable[[Path], list[str]]:
    """The problems of a file, one line each, without the folder."""

    def run(path: Path) -> list[str]:
        return _problems_of(path, {})

    return run


def _problems_of(path: Path, environ: Mapping[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, environ)
    return [str(problem).removeprefix(f"{path.parent}/") for problem in caught.value.problems]


def _write(folder: Path, text: str | bytes) -> Path:
    path = folder / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path
