"""On a machine without namespaces, no fault test is skipped silently."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.namespaces import own_mounts

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("program", "said"),
    [(None, "unshare is not installed"), ("echo not allowed >&2; exit 1", "mount namespaces: not allowed")],
    ids=["no unshare", "not allowed"],
)
@pytest.mark.parametrize(
    ("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)], ids=["in CI", "elsewhere"]
)
def test_without_namespaces_it_is_told(  # noqa: PLR0917 - the columns of a table
    program: str | None, said: str, ci: str, outcome: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test that cannot run fails in CI, and elsewhere is skipped with the reason."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", ci)
    if program is not None:
        unshare = tmp_path / "unshare"
        unshare.write_text(f"#!/bin/sh\n{program}\n")
        unshare.chmod(0o755)

    with pytest.raises(outcome, match=said):
        own_mounts("true")
