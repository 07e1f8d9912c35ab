"""The page of the items of `robcert reproduce`, made from the items themselves."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from robcert.reproduction import ITEMS, needs

if TYPE_CHECKING:
    from typing import Any

HEAD = """# Items of robcert reproduce

What `robcert reproduce ITEM` needs at the papers' size ([how it works](reproduce.md)). Epochs are
of all models together. Passes: rough number of passes over one image, forward and backward as one.
This page is made from the code; `robcert reproduce --list` prints what each item needs.
"""


def items_page() -> str:
    """The page as Markdown."""
    parts = [HEAD]
    for paper, found in groupby(needs(), key=lambda one: str(one["item"]).partition("-")[0]):
        parts += [f"\n## {paper}\n\n", *_table(list(found))]
    return "".join(parts)


def _table(found: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| item | what | source | models | epochs | data | images | passes |\n",
        "|---|---|---|---|---|---|---|---|\n",
    ]
    for one in found:
        cells = (
            one["item"],
            one["title"].replace("|", "\\|"),
            ITEMS[one["item"]].source,
            str(one["models"]),
            str(one["epochs"]),
            one["data"],
            str(one["images"]),
            f"{one['passes']:.0e}",
        )
        lines.append(f"| {' | '.join(cells)} |\n")
    return lines
