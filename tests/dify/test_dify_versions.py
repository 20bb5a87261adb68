"""What servers of different versions do differently."""

from __future__ import annotations

import pytest

from exporter.dify import QUIRKS
from exporter.dify.versions import CHECKS_DATASET_BEFORE_KEY, IGNORES_STATUS_FILTER


@pytest.mark.parametrize(
    ("version", "expected"),
    [("1.10.0", True), ("1.9.2", True), ("0.15.3", True), ("1.10.1", False), ("1.10.1-fix.1", False), ("2.0.0", False)],
)
def test_a_quirk_ends_with_a_version(version: str, expected: bool) -> None:
    """Parts of a version are compared as numbers, and a suffix such as ``-fix.1`` does not change the release."""
    assert expected == IGNORES_STATUS_FILTER.affects(version)


def test_a_quirk_may_begin_with_a_version() -> None:
    """The first affected version is included, the first repaired one is not."""
    versions = ("1.8.1", "1.9.0", "1.12.1", "1.12.2")
    assert [False, True, True, False] == [CHECKS_DATASET_BEFORE_KEY.affects(version) for version in versions]


def test_an_unknown_version_has_no_quirks() -> None:
    """Before the first answer, and behind a proxy that hides the version, nothing is assumed."""
    assert not any(quirk.affects(version) for quirk in QUIRKS for version in ("", "unknown"))
