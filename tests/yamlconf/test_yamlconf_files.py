"""Reading files: limits, and files that are none."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from exporter.config.api_keys import locate_key_file
from exporter.yamlconf import (
    Invalid,
    Missing,
    Unreadable,
    bounded,
    file_access,
    folder_of,
    read_file,
    read_text,
    stamps,
)
from exporter.yamlconf.files import locate_certificate, read_bytes
from exporter.yamlconf.problems import ConfigError
from exporter.yamlconf.schema import Section
from tests.integration.harness import until


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


def test_the_configuration_may_be_a_pipe(tmp_path: Path) -> None:
    """`--config.file <(sops --decrypt config.yaml)` works: relative paths start at the working directory."""
    reading, writing = os.pipe()
    os.write(writing, "a: ä".encode())
    os.close(writing)
    path = Path(f"/dev/fd/{reading}")

    assert "a: ä" == read_text(path, pipe=True)
    assert Path() == folder_of(path)
    assert tmp_path == folder_of(tmp_path / "config.yaml")
    os.mkfifo(tmp_path / "named")
    with pytest.raises(Unreadable, match="is not a regular file"):
        read_text(tmp_path / "named", pipe=True)
    os.close(reading)


@pytest.mark.parametrize("replaced", ["stat", "open"])
def test_a_pipe_that_takes_the_place_of_a_file(replaced: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe that replaces the file between looking and opening does not block either."""
    (tmp_path / "file").write_text("text")
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / ("file" if replaced == "open" else "pipe")
    if replaced == "open":
        present = os.open
        monkeypatch.setattr(os, "open", lambda _path, flags: present(tmp_path / "pipe", flags))
    with pytest.raises(Unreadable, match="is not a regular file"):
        read_text(path)


def test_a_file_system_that_does_not_respond(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left after some seconds; until it responds, nobody waits for the same file again."""
    path = tmp_path / "file"
    path.write_text("text")
    responds, calls = threading.Event(), []
    present = os.open

    def hang(path: Path, flags: int) -> int:
        calls.append(path)
        responds.wait()
        return present(path, flags)

    monkeypatch.setattr(file_access, "TIMEOUT", 0.01)
    monkeypatch.setattr(os, "open", hang)
    for _ in range(3):
        with pytest.raises(Unreadable, match="cannot be read: it does not respond; is its file system available"):
            read_text(path)
        assert ((0, errno.ETIMEDOUT),) == stamps(path)
    assert [path] == calls
    responds.set()
    monkeypatch.setattr(file_access, "TIMEOUT", 60.0)
    until(lambda: stamps(path) != ((0, errno.ETIMEDOUT),))

    assert "text" == read_text(path)


def test_a_process_without_another_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit of threads a file counts as unreadable for now, with the remedy."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    (tmp_path / "file").touch()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(Unreadable, match="no thread can be started; raise the limit of tasks"):
        read_text(tmp_path / "file")
    assert ((0, errno.EAGAIN),) == stamps(tmp_path / "file")


def test_errors_reach_the_caller(tmp_path: Path) -> None:
    """What fails in the thread is raised where the result is expected, each time."""
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            bounded(tmp_path, lambda: 1 / 0)
