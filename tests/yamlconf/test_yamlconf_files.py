"""Reading files: limits, and files that are none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from exporter.config.api_keys import locate_key_file
from exporter.yamlconf import Invalid, Missing, Unreadable, read_file, read_text
from exporter.yamlconf.files import locate_certificate, read_bytes
from exporter.yamlconf.problems import ConfigError
from exporter.yamlconf.schema import Section

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_has_at_most_the_given_size(tmp_path: Path) -> None:
    """The limit itself is allowed; the message has the limit."""
    (tmp_path / "file").write_bytes(b"x" * 2048)
    assert 2048 == len(read_bytes(tmp_path / "file", 2048))
    with pytest.raises(Invalid, match="is larger than 1 KiB: is it the right file"):
        read_bytes(tmp_path / "file", 1024)


def test_a_missing_file_has_its_own_error(tmp_path: Path) -> None:
    """Only the caller knows whether a missing file is a problem."""
    with pytest.raises(Missing, match="does not exist; relative paths start at"):
        read_text(tmp_path / "none")


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    """Opening a pipe that nobody writes to would block forever, wherever its path is written."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Unreadable, match="is not a regular file but a directory, pipe or device"):
        read_text(tmp_path / "pipe")
    for locate in (locate_key_file, locate_certificate):
        with pytest.raises(Invalid, match="names a file that is not a regular file"):
            locate(tmp_path, "pipe")
    with pytest.raises(ConfigError, match="pipe: is not a regular file"):
        read_file(tmp_path / "pipe", {}, Section(dict, ()), absent="", empty="")
