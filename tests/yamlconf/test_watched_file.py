"""Watched files: when a new version is found."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.clock import ManualClock
from exporter.yamlconf import WatchedFile, stamps

if TYPE_CHECKING:
    import pytest


class Content:
    """A content that a test changes, watched with a manual clock."""

    def __init__(self, *, max_wait: float | None = None) -> None:
        self.text = "old"
        self.clock = ManualClock()
        self.watched = WatchedFile(
            lambda: self.text,
            "old",
            is_complete=None if max_wait is None else lambda text, waited: "half" not in text or waited >= max_wait,
            clock=self.clock,
        )

    def check(self, text: str, *, at_once: bool = False) -> str | None:
        """What is found a second after the content has become ``text``."""
        self.clock.advance(1.0)
        self.text = text
        return self.watched.check(at_once=at_once)


def test_a_version_is_found_once_two_checks_agree() -> None:
    """A version that was first seen just now may be half of a file; so may one that changes all the time."""
    content = Content()
    assert [None, None, None, None, "new"] == [content.check(text) for text in ("old", "half", "more", "new", "new")]


def test_a_version_is_found_until_it_is_accepted() -> None:
    """A version that could not be used yet is offered again."""
    content = Content()
    assert [None, "new", "new"] == [content.check("new") for _ in range(3)]
    content.watched.accept("new")
    assert [None, None] == [content.check("new") for _ in range(2)]


def test_a_version_that_disappears_again_is_not_found() -> None:
    """A file that has its old content again has not changed."""
    content = Content()
    assert [None, None, None] == [content.check(text) for text in ("new", "old", "old")]


def test_an_invalidated_version_is_found_again() -> None:
    """What could not be read is tried again, although it has not changed."""
    content = Content()
    content.watched.invalidate()
    assert "old" == content.check("old")


def test_a_version_can_be_requested_at_once() -> None:
    """At a start, every file is read as it is."""
    assert "new" == Content().check("new", at_once=True)


def test_a_version_that_says_that_it_is_complete_is_found_at_once() -> None:
    """The age of a file can show that nobody is writing it."""
    assert "new" == Content(max_wait=2.0).check("new")


def test_an_incomplete_version_waits_from_the_first_difference() -> None:
    """Changes while it waits do not extend the time, and a return to the old content ends the wait."""
    content = Content(max_wait=2.0)
    assert [None, None, "half 3"] == [content.check(f"half {number}") for number in range(1, 4)]
    assert [None, None] == [content.check(text) for text in ("old", "half")]


def test_stamps_differ_after_each_change(tmp_path: Path) -> None:
    """Another content, another file of that name, other rights and another target of a link are changes."""
    file, other, link = tmp_path / "file", tmp_path / "other", tmp_path / "link"
    file.write_text("a")
    other.write_text("a")
    link.symlink_to(file)
    seen = [stamps(link)]

    def changed() -> bool:
        seen.append(stamps(link))
        return seen[-1] not in seen[:-1]

    assert not changed()
    file.write_text("ab")
    assert changed()
    file.chmod(0o400)
    assert changed()
    link.unlink()
    link.symlink_to(other)
    assert changed()
    other.unlink()
    assert changed()
    assert (None,) == seen[-1]


def test_a_missing_file_is_not_one_that_cannot_be_examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the system denies for a moment has not been removed."""
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    assert (None, None) == stamps(tmp_path / "none", tmp_path / "file" / "none")
    assert None not in stamps(tmp_path / "loop")

    def deny(_path: Path) -> os.stat_result:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "stat", deny)
    assert None not in stamps(tmp_path / "file")
