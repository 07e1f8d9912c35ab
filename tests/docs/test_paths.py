"""Every path of the project that a page, a docstring or a comment names exists."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from places import ROOT

if TYPE_CHECKING:
    from pathlib import Path

FOLDERS = (
    *("certify", "cli", "reproduction", "trainers", "fixtures", "tests", "benchmarks", "docs"),
    r"\.ci",
)

PATH = re.compile(rf"(?<![\w./-])(?:{'|'.join(FOLDERS)})/[\w./*-]*\w(?:/|\.\w+)?(?![\w-])")

LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")

PAGES = [
    *(page for page in sorted(ROOT.glob("*.md")) if page.name != "CHANGELOG.md"),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "fixtures" / "README.md",
]

SOURCES = [
    file
    for folder in (
        *("certify", "cli", "reproduction", "trainers", "fixtures", "benchmarks", "docs", "tests"),
    )
    for file in sorted((ROOT / folder).glob("**/*.py"))
]


def lacking(text: str) -> list[str]:
    """Paths in ``text``, patterns with ``*`` included, that the tree lacks."""
    return [path for path in PATH.findall(text) if not any(ROOT.glob(path.rstrip("/")))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_and_links_of_a_page_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert lacking(text) == []
    assert [link for link in LINK.findall(text) if not (page.parent / link).exists()] == []


def test_paths_in_the_code_exist() -> None:
    files = [*SOURCES, ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / ".ci" / "run"]
    wrong = {
        str(file.relative_to(ROOT)): paths
        for file in files
        if (paths := lacking(file.read_text(encoding="utf-8")))
    }
    assert wrong == {}


def test_every_page_is_linked_from_the_first_one() -> None:
    first = ROOT / "docs" / "index.md"
    linked = {link.partition("#")[0] for link in LINK.findall(first.read_text(encoding="utf-8"))}
    pages = {page.name for page in first.parent.glob("*.md")} - {first.name}
    assert pages <= linked
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "docs/index.md" in LINK.findall(readme)
