"""What the tests of the pages share: the tree, and tables and blocks of Markdown."""

from __future__ import annotations

import re

from places import ROOT


def text_of(page: str) -> str:
    """Text of ``page``, a path from the top of the tree."""
    return (ROOT / page).read_text(encoding="utf-8")


def table_rows(text: str) -> list[list[str]]:
    """Cells of every row of every Markdown table of ``text``, head rows included."""
    lines = (line.strip() for line in text.splitlines())
    rows = [line.strip("|").split("|") for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows if set("".join(row)) - set("-: ")]


def code_of(cell: str) -> list[str]:
    """Texts between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def blocks_of(text: str, kind: str) -> list[str]:
    """Contents of the code blocks of ``kind`` (``python``, ``sh``, …) in ``text``."""
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.S | re.M)
