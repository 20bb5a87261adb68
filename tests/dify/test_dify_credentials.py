"""The source of the API key."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter.clock import ManualClock
from exporter.config import Secret, ServerConfig
from exporter.dify import Unauthorized
from exporter.dify.credentials import Credentials

URL = "http://127.0.0.1/v1"
CASES = Path(__file__).parents[1] / "cases" / "keys"


def from_file(file: Path, clock: ManualClock | None = None) -> Credentials:
    """The key of a server that reads it from ``file``."""
    return Credentials(ServerConfig(name="main", url=URL, api_key_file=file), clock or ManualClock())


def test_white_space_around_a_key_is_not_part_of_it(tmp_path: Path) -> None:
    """Editors and shells end files with a newline, which must not be sent in the header."""
    file = tmp_path / "key"
    file.write_text("\n dataset-abc \r\n")
    assert Secret("dataset-abc") == from_file(file).key()
    given = Credentials(ServerConfig(name="main", url=URL, api_key=Secret(" dataset-abc\n")), ManualClock())
    assert Secret("dataset-abc") == given.key()


def test_a_changed_file_is_read_again_within_a_second(tmp_path: Path) -> None:
    """A new key is used after the next check of the file; checks are at least one second apart."""
    file, clock = tmp_path / "key", ManualClock()
    file.write_text("old")
    credentials = from_file(file, clock)
    assert Secret("old") == credentials.key()
    file.write_text("newer")
    clock.advance(0.9)
    assert Secret("old") == credentials.key()
    clock.advance(0.1)
    assert Secret("newer") == credentials.key()


def test_a_swapped_symlink_is_detected(tmp_path: Path) -> None:
    """Kubernetes changes a secret by swapping a symlink: size and mtime may be equal, the inode differs."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(f"key-{name}")
        os.utime(tmp_path / name, (1_795_000_000, 1_795_000_000))
    file, clock = tmp_path / "key", ManualClock()
    file.symlink_to("one")
    credentials = from_file(file, clock)
    assert Secret("key-one") == credentials.key()
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(file)
    clock.advance(1)
    assert Secret("key-two") == credentials.key()


def test_an_unchanged_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While size, times and inode are equal, the content is assumed to be unchanged."""
    file, clock = tmp_path / "key", ManualClock()
    file.write_text("aaa")
    credentials = from_file(file, clock)
    assert Secret("aaa") == credentials.key()
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("read again"))
    clock.advance(5)
    assert Secret("aaa") == credentials.key()


@pytest.mark.parametrize("loss", ["gone", "empty", "directory"])
def test_the_last_valid_key_stays_in_use_while_the_file_has_none(tmp_path: Path, loss: str) -> None:
    """While the file is missing, empty or a directory, polls use the last key; a new file is read when it appears."""
    file, clock = tmp_path / "key", ManualClock()
    file.write_text("good")
    credentials = from_file(file, clock)
    assert Secret("good") == credentials.key()
    file.unlink()
    if loss == "empty":
        file.write_text(" \n")
    elif loss == "directory":
        file.mkdir()
    clock.advance(1)
    assert Secret("good") == credentials.key()
    if loss == "directory":
        file.rmdir()
    file.write_text("better")
    clock.advance(1)
    assert Secret("better") == credentials.key()


@pytest.mark.parametrize(
    ("content", "said"), [(None, "does not exist"), ("", "is empty"), ("directory", "is not a regular file")], ids=str
)
def test_a_failed_first_read_is_unauthorized_and_repeated(tmp_path: Path, content: str | None, said: str) -> None:
    """Without a previous key, the error names the file and the cause; the file is checked again later."""
    file, clock = tmp_path / "key", ManualClock()
    if content == "directory":
        file.mkdir()
    elif content is not None:
        file.write_text(content)
    credentials = from_file(file, clock)
    for _ in range(2):
        with pytest.raises(Unauthorized, match=f"no API key: .*{said}") as caught:
            credentials.key()
    assert caught.value.status is None
    if file.is_dir():
        file.rmdir()
    file.write_text("dataset-abc")
    clock.advance(1)
    assert Secret("dataset-abc") == credentials.key()


def test_a_pipe_is_refused_without_opening_it(tmp_path: Path) -> None:
    """Opening a named pipe without a writer would block the worker forever."""
    file = tmp_path / "key"
    os.mkfifo(file)
    with pytest.raises(Unauthorized, match="is not a regular file"):
        from_file(file).key()


@pytest.mark.parametrize("bad", ["se\0cret", "se cret", "sécret", "se\x7fcret", "s€cret"])
def test_a_key_that_is_not_a_valid_header_is_refused_without_quoting_it(tmp_path: Path, bad: str) -> None:
    """Libraries raise errors that quote such a header, so the key is rejected before; the message has the remedy."""
    file, clock = tmp_path / "key", ManualClock()
    file.write_text(bad, encoding="utf-8")
    credentials = from_file(file, clock)
    given = Credentials(ServerConfig(name="main", url=URL, api_key=Secret(bad)), ManualClock())
    for source in (credentials, given):
        with pytest.raises(Unauthorized, match="is not an API key: it contains white space") as caught:
            source.key()
        assert "cret" not in str(caught.value).replace("/", "")
    file.write_text("dataset-abc")
    clock.advance(1)
    assert Secret("dataset-abc") == credentials.key()


def test_a_server_without_any_key_is_unauthorized() -> None:
    """The message names both settings."""
    with pytest.raises(Unauthorized, match="set api_key or api_key_file"):
        Credentials(ServerConfig(name="main", url=URL), ManualClock()).key()


@pytest.mark.parametrize(
    "name", ["app-key", "assignment", "base64", "long", "quotes", "two-lines", "unbraced", "utf16"]
)
def test_what_is_not_a_key_never_replaces_one(tmp_path: Path, name: str) -> None:
    """Dify accepts the last valid key until it is deleted there: it stays in use, and the log has the cause once."""
    file, clock = tmp_path / "key", ManualClock()
    file.write_text("dataset-good")
    credentials = from_file(file, clock)
    assert Secret("dataset-good") == credentials.key()
    file.write_bytes((CASES / name).read_bytes())
    with capture_logs() as logs:
        for _ in range(3):
            clock.advance(1)
            assert Secret("dataset-good") == credentials.key()
    [line] = logs
    assert ("warning", "main") == (line["log_level"], line["server"])
    assert line["problem"].startswith(f"{file} ")
    assert "AbCdEf" not in line["problem"]
    file.write_text("dataset-better")
    clock.advance(1)
    with capture_logs() as logs:
        assert Secret("dataset-better") == credentials.key()
    assert [("info", True)] == [(line["log_level"], line["changed"]) for line in logs]


def test_a_new_key_of_another_kind_has_a_warning(tmp_path: Path) -> None:
    """A new key may be right for a gateway: it is used, and the log says what is odd about it."""
    file, clock = tmp_path / "key", ManualClock()
    file.write_text("dataset-good")
    credentials = from_file(file, clock)
    credentials.key()
    file.write_text("sk-other")
    clock.advance(1)
    with capture_logs() as logs:
        assert Secret("sk-other") == credentials.key()
    [line] = [line for line in logs if line["log_level"] == "warning"]
    assert line["problem"].startswith(f"{file}: the key does not start with dataset-")


def test_each_change_of_the_key_is_reported_once(tmp_path: Path) -> None:
    """Whoever reads the file first; the first key is no change, and neither is the same key in a new file."""
    file, clock = tmp_path / "key", ManualClock()
    file.write_text("old")
    credentials = from_file(file, clock)
    assert not credentials.take_change()
    clock.advance(1)
    (tmp_path / "next").write_text("old")
    (tmp_path / "next").replace(file)
    assert not credentials.take_change()
    file.write_text("newer")
    clock.advance(1)
    assert Secret("newer") == credentials.key()
    assert credentials.take_change()
    assert not credentials.take_change()


def test_a_key_file_that_appears_is_a_change(tmp_path: Path) -> None:
    """Everything waits since there was no key."""
    clock = ManualClock()
    credentials = from_file(tmp_path / "key", clock)
    assert not credentials.take_change()
    (tmp_path / "key").write_text("new")
    clock.advance(1)
    assert credentials.take_change()
