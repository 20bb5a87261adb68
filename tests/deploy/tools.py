"""The programs that these tests drive: those of `make tools`, else those of the machine."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import TYPE_CHECKING

from tests.integration.harness import ROOT, Done, tool

if TYPE_CHECKING:
    from pathlib import Path

DEPLOY = ROOT / "deploy"


def own_tool(name: str) -> str:
    """The path of a program of `make tools`, or else of the machine. Without it: skipped, or failed in CI."""
    path = ROOT / ".tools" / name
    return str(path) if path.exists() else tool(name)


def image_environment() -> dict[str, str]:
    """The variables that the image has."""
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    (settings,) = re.findall(r"^ENV (.*)$", dockerfile, re.MULTILINE)
    return dict(setting.split("=", 1) for setting in shlex.split(settings))


def call(*command: str, cwd: Path = ROOT, **environment: str) -> Done:
    """Run a program to its end, with nothing in its environment but what is given and a home that is not there."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={"HOME": "/nonexistent", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)
