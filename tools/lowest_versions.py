"""``make lowest``: an environment with the lowest version that pyproject.toml allows of every dependency.

``python -m tools.lowest_versions FOLDER`` creates it. Other packages have the versions of constraints.txt.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT: Final = Path(__file__).resolve().parents[1]

_DEPENDENCY = re.compile(r"([\w.-]+)>=([\w.]+)(?:,<[\w.]+)?")


def lowest_versions(dependencies: Iterable[str]) -> dict[str, str]:
    """The lower bounds by package. ValueError for a dependency without one."""
    bounds = {}
    for dependency in dependencies:
        found = _DEPENDENCY.fullmatch(dependency)
        if found is None:
            raise ValueError(f"{dependency!r} is neither name>=version nor name>=version,<version")
        bounds[found[1]] = found[2]
    return bounds


def main() -> None:
    """Create the environment."""
    folder = Path(sys.argv[1]).absolute()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lowest = lowest_versions(project["dependencies"])
    names = set(map(_normalized, lowest))
    tested = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    python, constraints = folder / "bin" / "python", folder / "constraints.txt"
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)  # noqa: S603 a path
    constraints.write_text("\n".join(pin for pin in tested if _normalized(pin.partition("==")[0]) not in names))
    install = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:")
    pins = [f"{name}=={version}" for name, version in lowest.items()]
    subprocess.run([*install, "--constraint", constraints, *pins], check=True)  # noqa: S603 versions of pyproject.toml
    print(*pins, sep="\n")


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
