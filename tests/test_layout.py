"""The layout of the package: order of the folders, no cycles, sizes, and names in the words of the field."""

from __future__ import annotations

import ast
import re
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[1] / "exporter"

ORDER = (
    "clock",
    "yamlconf",
    "config",
    "dify",
    "tracking",
    "polling",
    "state",
    "metrics",
    "web",
    "simulator",
    "daemon",
)
"""Each imports only from itself and from those before it. The modules of the commands, at the top, come last."""

MOST_MODULES = 16
MOST_LINES = 450
LONGER: dict[str, str] = {}
"""Files that may be longer than ``MOST_LINES``, each with the reason."""

PRIVATE_WORDS = re.compile(
    r"activity|anew|asker|cadence|census|deeds?|doorkeeper|fold(s|ed)?|foreseen?|gather(s|ed)?|journal|judge[ds]?|kept|"
    r"ledger|left|lives|paces?|patience|roster|seal(s|ed)?|served|shelf|soil(s|ed)?|surroundings|told|trust"
)
"""Words for which the field has common terms; CONTRIBUTING.md lists the terms."""

LIBRARY_NAMES = frozenset({"bisect_left", "gather", "trust_env"})
"""Names that libraries define."""


def modules_of(package: Path) -> dict[str, Path]:
    """The file of each module below ``package`` by its dotted name; a package is named without ``__init__``."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = [package.name, *path.relative_to(package).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(package: Path) -> dict[str, set[str]]:
    """The modules of ``package`` that each of its modules imports, anywhere in the file."""
    modules = modules_of(package)
    return {
        name: {imported for node in ast.walk(_parse(path)) for imported in _imported(node, modules)}
        for name, path in modules.items()
    }


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imported(node: ast.AST, modules: dict[str, Path]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in modules)
    elif isinstance(node, ast.ImportFrom) and node.module in modules:
        for alias in node.names:
            member = f"{node.module}.{alias.name}"
            yield member if member in modules else node.module


def against_order(package: Path) -> list[str]:
    """The imports against ``ORDER``. The version in ``exporter/__init__.py`` is allowed everywhere."""
    return [
        f"{name} imports {imported}"
        for name, imports in imports_of(package).items()
        for imported in sorted(imports - {package.name})
        if _rank(imported) > _rank(name)
    ]


def _rank(module: str) -> int:
    folder = module.split(".")[1] if "." in module else ""
    return ORDER.index(folder) if folder in ORDER else len(ORDER)


def cycle(package: Path) -> list[str]:
    """Modules that import each other in a circle, in order; empty if there are none."""
    try:
        TopologicalSorter(imports_of(package)).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def private_names(path: Path) -> list[str]:
    """The names in a file that contain a private word, including the name of the file."""
    names = {path.stem, *(name for node in ast.walk(_parse(path)) for name in _names(node))}
    return sorted(name for name in names - LIBRARY_NAMES if any(PRIVATE_WORDS.fullmatch(word) for word in _words(name)))


def _names(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.keyword(arg=str(name)):
            yield name
        case ast.alias(asname=str(name)):
            yield name


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def test_imports_follow_the_order() -> None:
    """A folder imports only from those before it in the order; imports for type checking count too."""
    assert [] == against_order(PACKAGE)


def test_every_folder_has_a_place_in_the_order() -> None:
    """The order names each folder of the package, and nothing that does not exist."""
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}

    assert folders <= {*ORDER}
    assert [] == [name for name in ORDER if name not in folders and not (PACKAGE / f"{name}.py").exists()]


def test_no_modules_import_each_other() -> None:
    """There is no cycle of imports between modules."""
    assert [] == cycle(PACKAGE)


def test_folders_are_small() -> None:
    """A folder has at most 16 modules, not counting ``__init__.py``."""
    sizes = Counter(path.parent.name for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")

    assert {} == {folder: size for folder, size in sizes.items() if size > MOST_MODULES}


def test_files_are_short() -> None:
    """A file has at most 450 lines, except for the listed ones, each of which has a reason and needs it."""
    lines = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}

    assert set(LONGER) == {name for name, count in lines.items() if count > MOST_LINES}


@pytest.mark.parametrize("folder", ["exporter", "tools", "deploy", "bench"])
def test_names_use_the_words_of_the_field(folder: str) -> None:
    """No class, function, variable, parameter or file has a name with a word of the private vocabulary."""
    files = sorted((PACKAGE.parent / folder).rglob("*.py"))

    assert [] == [f"{path.relative_to(PACKAGE.parent)}: {name}" for path in files for name in private_names(path)]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package in which ``clock`` imports ``web.app``, which imports ``clock`` for type checking only."""
    root = tmp_path / "exporter"
    (root / "web").mkdir(parents=True)
    (root / "__init__.py").write_text("from exporter import clock\n")
    (root / "clock.py").write_text("def now():\n    from exporter.web.app import serve\n")
    (root / "web" / "__init__.py").write_text("from exporter import cli\nfrom exporter import VERSION\n")
    (root / "web" / "app.py").write_text("if TYPE_CHECKING:\n    import exporter.clock\n")
    (root / "cli.py").write_text("import exporter.web.app\nimport exporter.unknown\n")
    return root


def test_wrong_imports_are_found(package: Path) -> None:
    """The check finds imports in functions and for type checking, of modules and of their contents."""
    assert ["exporter.clock imports exporter.web.app", "exporter.web imports exporter.cli"] == against_order(package)
    assert {"exporter.clock"} == imports_of(package)["exporter.web.app"]


def test_cycles_are_found(package: Path) -> None:
    """The check finds a cycle and says which modules it consists of."""
    assert {"exporter.clock", "exporter.web.app"} == {*cycle(package)}
    (package / "clock.py").write_text("")

    assert [] == cycle(package)


def test_private_words_are_found(tmp_path: Path) -> None:
    """The check splits names into words: in classes, functions, parameters, attributes, keywords and aliases."""
    path = tmp_path / "paces.py"
    path.write_text(
        "import x as _LEDGER\nclass HTTPJournal: pass\ndef soil_block(told, pacemaker): a.was_kept = b(anew=1)\n"
        "async def judge(): await gather(trust_env=1)\nleft, leftover = 1, 2\n"
    )

    assert ["HTTPJournal", "_LEDGER", "anew", "judge", "left", "paces", "soil_block", "told", "was_kept"] == (
        private_names(path)
    )
