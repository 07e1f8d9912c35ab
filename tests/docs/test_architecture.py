"""docs/architecture.md, the tree, the imports and the import contracts tell one story."""

from __future__ import annotations

import ast
import re
import tomllib
from typing import TYPE_CHECKING

import pytest
from docs_pages import code_of, table_rows, text_of
from places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = text_of("docs/architecture.md")

TOPS = ("certify", "trainers")

Floors = list[set[str]]


def floors(top: str) -> Floors:
    """Names on every floor of ``top`` as the page draws them, ground floor first."""
    (block,) = re.findall(rf"^```floors-{top}\n(.*?)^```", PAGE, re.S | re.M)
    return [set(line.split()) for line in reversed(block.splitlines())]


def packages(top: str) -> Iterator[Path]:
    """Folders of Python code under ``top``, packages in packages included."""
    return (file.parent.relative_to(ROOT) for file in (ROOT / top).glob("**/__init__.py"))


def package_rows() -> dict[str, list[str]]:
    """Names at the door of each package of the table, by the package's path."""
    rows = table_rows(
        PAGE[PAGE.index("## The packages") : PAGE.index("## From the command to a number")]
    )
    return {code_of(path)[0].rstrip("/"): code_of(door) for path, _, door in rows[1:]}


def contract(top: str) -> Floors:
    """The layers contract of ``robcert.<top>`` in pyproject.toml, ground floor first.

    Both spellings are read: full module names, and names inside a container.
    """
    project = tomllib.loads(text_of("pyproject.toml"))
    prefix = f"robcert.{top}."
    for entry in project["tool"]["importlinter"]["contracts"]:
        inside = entry.get("containers") == [f"robcert.{top}"]
        layers = [re.findall(r"[\w.]+", layer) for layer in entry.get("layers", ())]
        names = [[name.removeprefix(prefix) for name in layer] for layer in layers]
        own = inside or all(name.startswith(prefix) for layer in layers for name in layer)
        if entry["type"] == "layers" and own:
            return [set(layer) for layer in reversed(names)]
    pytest.skip(f"pyproject.toml has no layers contract of the packages of robcert.{top}")


def imports(top: str) -> Iterator[tuple[str, str, str]]:
    """Every import from one first-level member of ``top`` to another: file, importer, imported."""
    for file in (ROOT / top).glob("**/*.py"):
        place = file.relative_to(ROOT)
        module = ["robcert", *place.parent.parts]
        importer = place.with_suffix("").parts[1]
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            for name in imported_modules(node, module):
                parts = name.split(".")
                if parts[:2] == ["robcert", top] and parts[2] != importer:
                    yield str(place), importer, parts[2]


def imported_modules(node: ast.AST, package: list[str]) -> list[str]:
    """Modules, or names in them, that ``node`` imports into a module of ``package``."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.count(".") > 1]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = package[: len(package) + 1 - node.level] if node.level else []
    start = [*base, *([node.module] if node.module else [])]
    return [".".join([*start, alias.name]) for alias in node.names]


@pytest.mark.parametrize("top", TOPS)
def test_every_package_is_in_the_table_and_the_table_names_no_other(top: str) -> None:
    listed = {path for path in package_rows() if path.startswith(top)}
    assert listed == {str(path) for path in packages(top)} - {top}


@pytest.mark.parametrize(("path", "names"), package_rows().items())
def test_a_door_names_what_the_page_says(path: str, names: list[str]) -> None:
    door = ast.parse(text_of(f"{path}/__init__.py"))
    imported = (node for node in ast.walk(door) if isinstance(node, ast.ImportFrom))
    assert set(names) <= {alias.asname or alias.name for node in imported for alias in node.names}


@pytest.mark.parametrize("top", TOPS)
def test_every_first_level_package_stands_on_one_floor(top: str) -> None:
    names = [name for floor in floors(top) for name in floor]
    assert len(set(names)) == len(names)
    assert {path.parts[1] for path in packages(top) if len(path.parts) > 1} <= set(names)
    assert all(
        (ROOT / top / name).is_dir() or (ROOT / top / f"{name}.py").is_file() for name in names
    )


@pytest.mark.parametrize("top", TOPS)
def test_no_import_goes_up_or_stays_on_its_floor(top: str) -> None:
    height = {name: level for level, floor in enumerate(floors(top)) for name in floor}
    wrong = [
        (file, imported)
        for file, importer, imported in imports(top)
        if importer in height and imported in height and height[importer] <= height[imported]
        if height[importer] > 0 or height[imported] > 0
    ]
    assert wrong == []


@pytest.mark.parametrize("top", TOPS)
def test_the_floors_are_those_of_the_import_contract(top: str) -> None:
    assert contract(top) == floors(top)
