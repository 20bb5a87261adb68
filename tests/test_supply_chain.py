"""Dependencies: the hashed requirement lists of the image and of the tools that build it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.lowest_versions import lowest_versions

ROOT = Path(__file__).parents[1]
LISTS = ("build", "image", "tools")

_PIN = re.compile(
    r"^([A-Za-z0-9._-]+)==([^ ;\\]+)((?: ; [^\\]+)?) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)


def pins(name: str) -> dict[str, str]:
    """The pinned versions of a list, by package name."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    return {canonicalize_name(match[1]): match[2] for match in _PIN.finditer(text)}


def constraints() -> dict[str, str]:
    """The versions that everything else is installed with."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}


@pytest.mark.parametrize("name", LISTS)
def test_every_package_has_its_hashes(name: str) -> None:
    """Every requirement has hashes, and none names a package index."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    rest = [line for line in _PIN.sub("", text).splitlines() if not line.strip().startswith("#")]

    assert [] == rest
    assert "://" not in text
    assert "--index" not in text


@pytest.mark.parametrize("name", ["build", "image"])
def test_the_lists_agree_with_the_constraints(name: str) -> None:
    """The image installs the tested versions: ``make lock`` was run after the last change."""
    known = constraints()
    locked = pins(name)

    assert locked
    assert {package: known[package] for package in locked if package in known} == {
        package: version for package, version in locked.items() if package in known
    }


def test_the_image_has_what_the_package_declares() -> None:
    """Every dependency is in the list in an allowed version, and pinned in the constraints."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    locked = pins("image")
    for declared in map(Requirement, project["dependencies"]):
        assert declared.specifier.contains(locked[canonicalize_name(declared.name)])
    assert set(locked) <= set(constraints())


def test_every_dependency_has_a_lower_bound() -> None:
    """``make lowest`` can install the lowest allowed version of every dependency."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    lowest = lowest_versions(dependencies)

    assert len(dependencies) == len(lowest)
    for declared in map(Requirement, dependencies):
        assert declared.specifier.contains(lowest[declared.name])


@pytest.mark.parametrize("dependency", ["click", "click==8.2", "click<9", "click>=8.2,<9,!=8.3"])
def test_dependencies_without_a_lower_bound_are_refused(dependency: str) -> None:
    """A dependency without a lower bound, or with more than a lower and an upper one, is an error."""
    with pytest.raises(ValueError, match="is neither"):
        lowest_versions([dependency])


@pytest.mark.parametrize("package", ["h11", "requests", "urllib3", "uvicorn"])
def test_what_is_used_below_its_public_face_has_an_upper_bound(package: str) -> None:
    """New versions of packages whose undocumented parts the exporter uses are not installed before they are tested."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (declared,) = (found for found in map(Requirement, project["dependencies"]) if found.name == package)

    assert "<" in {specifier.operator for specifier in declared.specifier}


def test_what_is_imported_is_declared() -> None:
    """Every imported package is declared, not just a transitive dependency, and every declared package is imported.

    uvicorn imports h11, which is declared for its bounds.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    imported: set[str] = set()
    for file in (ROOT / "exporter").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module)
            elif isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
    modules = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names - {"exporter"}
    distributions = packages_distributions()

    assert {"h11", *(canonicalize_name(distributions[module][0]) for module in modules)} == {
        canonicalize_name(Requirement(declared).name) for declared in project["dependencies"]
    }


def test_the_build_has_what_it_needs() -> None:
    """The list contains the build backend of pyproject.toml and the tool that lists the image's contents."""
    system = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]
    assert {*system["requires"], "cyclonedx-bom"} <= set(pins("build"))
