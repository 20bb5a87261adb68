"""A process with its own mounts, so that a test can break /etc/hosts or a disk for this process only."""

from __future__ import annotations

import subprocess

from tests.integration.harness import skip_unless_ci, tool

_OPTIONS = ("--map-root-user", "--mount", "--propagation", "private")


def own_mounts(script: str) -> tuple[str, ...]:
    """A prefix that runs a command after ``script``, in a mount namespace of its own, where ``script`` can mount.

    If that is not permitted, the test is skipped, or fails in CI.
    """
    unshare = (tool("unshare"), *_OPTIONS)
    tried = subprocess.run((*unshare, "true"), capture_output=True, text=True, check=False)
    if tried.returncode:
        skip_unless_ci(f"no permission for user and mount namespaces: {tried.stderr.strip()}")
    return (*unshare, "sh", "-c", f'{script} && exec "$0" "$@"')


def mount_again(pid: int, options: str, folder: str) -> None:
    """Remount a folder of a process that ``own_mounts`` started with other options."""
    enter = ("nsenter", "--target", str(pid), "--user", "--mount", "--preserve-credentials")
    subprocess.run((*enter, "mount", "-o", f"remount,{options}", folder), check=True, capture_output=True)
