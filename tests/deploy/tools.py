"""The programs that these tests run: from `make tools`, or installed on the machine."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import TYPE_CHECKING

from tests.integration.harness import DEADLINE, ROOT, Done

if TYPE_CHECKING:
    from pathlib import Path

DEPLOY = ROOT / "deploy"


def image_environment() -> dict[str, str]:
    """The environment variables set in the image."""
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    (settings,) = re.findall(r"^ENV (.*)$", dockerfile, re.MULTILINE)
    return dict(setting.split("=", 1) for setting in shlex.split(settings))


def call(*command: str, cwd: Path = ROOT, **environment: str) -> Done:
    """Run a program to completion with only the given environment variables and a missing home directory."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={"HOME": "/nonexistent", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)
