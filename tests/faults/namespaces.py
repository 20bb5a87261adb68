"""A process with mounts of its own, so that a test can spoil /etc/hosts or a disk for it alone."""

from __future__ import annotations

import subprocess

from tests.integration.harness import lacking, tool

_OPTIONS = ("--map-root-user", "--mount", "--propagation", "private")


def own_mounts(script: str) -> tuple[str, ...]:
    """What to put before a command so that it runs after ``script``, which mounts.

    Where that is not allowed the test is skipped, or fails in CI.
    """
    unshare = (tool("unshare"), *_OPTIONS)
    tried = subprocess.run((*unshare, "true"), capture_output=True, text=True, check=False)
    if tried.returncode:
        lacking(f"this machine gives no user and mount namespaces: {tried.stderr.strip()}")
    return (*unshare, "sh", "-c", f'{script} && exec "$0" "$@"')


def mount_again(pid: int, options: str, folder: str) -> None:
    """Change the options of a mount that a process of ``own_mounts`` has."""
    enter = ("nsenter", "--target", str(pid), "--user", "--mount", "--preserve-credentials")
    subprocess.run((*enter, "mount", "-o", f"remount,{options}", folder), check=True, capture_output=True)
