"""What import contracts cannot say: doors, late imports, declared dependencies."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOPS = ("certify", "cli", "reproduction", "trainers", "fixtures")
DISTRIBUTIONS = {"PIL": "pillow", "google": "protobuf", "lightning_fabric": "lightning-fabric"}
"""Distributions that are not called as what they are imported by."""

LATE = ("statsmodels", "scipy.stats")
"""Each takes a second to import, so nothing imports them when a module is loaded."""

NO_IMPORT = {"onnxruntime", "onnxscript"}
"""Declared, yet imported by nobody: onnxruntime is the other build of onnxruntime-gpu, and torch's
exporter needs onnxscript."""


@dataclass(frozen=True, slots=True)
class Import:
    """One import statement: the module it names and where it stands."""

    file: str
    module: str
    names: tuple[str, ...]
    at_load: bool


@cache
def imports() -> tuple[Import, ...]:
    """Every import of the package folders, relative ones made absolute."""
    found = []
    for top in TOPS:
        for file in sorted((ROOT / top).glob("**/*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            found += imports_of(file.relative_to(ROOT), tree)
    return tuple(found)


def imports_of(file: Path, tree: ast.Module) -> list[Import]:
    late = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef) or is_type_checking(outer)
        for inner in ast.walk(outer)
    }
    found = []
    for node in ast.walk(tree):
        at_load = id(node) not in late
        if isinstance(node, ast.Import):
            found += [Import(str(file), alias.name, (), at_load) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module, names = node.module or "", tuple(alias.name for alias in node.names)
            if node.level:
                folder = ("robcert", *file.parts[: len(file.parts) - node.level])
                module = ".".join((*folder, *filter(None, [module])))
            found.append(Import(str(file), module, names, at_load))
    return found


def is_type_checking(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def past_the_door(found: Import) -> bool:
    """Whether a module inside a first-level package is reached by its path from outside.

    A whole module at the first level of a package (``from robcert.certify.masking import tables``)
    is not: its package stays in sight where it is used.
    """
    parts = found.module.split(".")
    if parts[0] != "robcert" or len(parts) < 4:
        return False
    package = Path(*parts[1:3])
    is_package = (ROOT / package / "__init__.py").exists()
    return is_package and not Path(found.file).is_relative_to(package)


def declared() -> dict[str, str]:
    """Every declared distribution and its version range, without those of tools."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    optional = (entry for name in ("cluster", "distributed", "parquet") for entry in extras[name])
    entries = (*project["dependencies"], *optional)
    split = (re.match(r"([\w.-]+)\s*([^;]*)", entry) for entry in entries)
    return {match[1].lower(): match[2].strip() for match in split if match}


def pins(name: str) -> dict[str, str]:
    """Versions of a constraints file by distribution."""
    lines = (ROOT / "constraints" / name).read_text(encoding="utf-8").splitlines()
    entries = (line.split(";")[0].strip() for line in lines if line and not line.startswith("#"))
    return {entry.split("==")[0].lower(): entry.split("==")[1] for entry in entries}


def test_packages_are_imported_by_their_door() -> None:
    found = [one for one in imports() if not one.module.startswith("robcert.cli")]
    assert [one for one in found if past_the_door(one)] == []


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("from robcert.certify.stats.intervals import proportion", True),
        ("from ..stats.intervals import proportion", True),
        ("from robcert.certify.stats import intervals", False),
        ("from robcert.certify.stats import proportion", False),
        ("from .search.state import Found", False),
        ("from robcert.certify.core import Norm", False),
    ],
)
def test_the_check_of_doors_sees_a_planted_import(line: str, wrong: bool) -> None:
    (found,) = imports_of(Path("certify/attacks") / "planted.py", ast.parse(line))
    assert past_the_door(found) is wrong


@pytest.mark.parametrize("module", LATE)
def test_slow_imports_are_late(module: str) -> None:
    at_load = [found for found in imports() if found.at_load]
    named = [
        (found, {found.module, *(f"{found.module}.{n}" for n in found.names)}) for found in at_load
    ]
    early = [f for f, names in named for n in names if n == module or n.startswith(f"{module}.")]
    assert early == []


def test_every_import_is_a_declared_dependency_and_none_is_idle() -> None:
    tops = {found.module.split(".")[0] for found in imports()} - {"robcert"}
    third = {DISTRIBUTIONS.get(top, top) for top in tops if top not in sys.stdlib_module_names}
    known = {name.removesuffix("-gpu") for name in declared()}
    assert third - known == set()
    assert known - third <= NO_IMPORT


def test_every_dependency_has_the_lowest_version_that_was_tried() -> None:
    lowest, tested = pins("lowest.txt"), pins("tested.txt")
    for name, versions in declared().items():
        own = name if name in lowest else name.removesuffix("-gpu")
        own = own if own in lowest else f"{own}-gpu"
        bound = versions.removeprefix(">=")
        assert versions.startswith(">="), f"{name} has no lower bound"
        assert lowest[own] == bound or lowest[own].startswith(f"{bound}."), name
        assert own in tested, f"{own} is not in constraints/tested.txt"
