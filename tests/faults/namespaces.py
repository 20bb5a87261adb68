"""A process with mounts of its own, so that a test can spoil /etc/hosts or a disk for it alone."""

from __future__ import annotations

import shutil
import subprocess

import pytest

_UNSHARE = ("unshare", "--map-root-user", "--mount", "--propagation", "private")


def own_mounts(script: str) -> tuple[str, ...]:
    """What to put before a command so that it runs after ``script``, which mounts. Skips where that is not allowed."""
    path = shutil.which("unshare")
    if path is None or subprocess.run((path, *_UNSHARE[1:], "true"), capture_output=True, check=False).returncode:
        pytest.skip("needs user and mount namespaces (unshare), which this machine does not give")
    return (path, *_UNSHARE[1:], "sh", "-c", f'{script} && exec "$0" "$@"')


def mount_again(pid: int, options: str, folder: str) -> None:
    """Change the options of a mount that a process of ``own_mounts`` has."""
    enter = ("nsenter", "--target", str(pid), "--user", "--mount", "--preserve-credentials")
    subprocess.run((*enter, "mount", "-o", f"remount,{options}", folder), check=True, capture_output=True)
