"""Tables as GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from robcert.certify.visible import visible_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from robcert.certify.tables import Table

    from .contents import CaptionedTable

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~$@])")
"""Letters that begin a structure, a formula or the name of a user somewhere in a line."""


def markdown_tables(found: Iterable[CaptionedTable]) -> str:
    """Each table below its caption, with its note."""
    parts = []
    for one in found:
        note = f"\n{escaped(one.table.note)}\n" if one.table.note else ""
        parts.append(f"**{escaped(one.caption)}**\n\n{grid(one.table)}{note}")
    return "\n".join(parts)


def grid(table: Table) -> str:
    """Header and rows of ``table``."""
    lines = [_line(table.header), _line(["---"] * len(table.header), raw=True)]
    lines += [_line(row) for row in table.rows]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    r"""``text`` in one line, in which nothing is markup.

    >>> escaped("a|b <i> [x] 95 %")
    'a\\|b \\<i\\> \\[x\\] 95 %'
    """
    return _SPECIAL.sub(r"\\\1", visible_line(text))


def _line(cells: Sequence[str], *, raw: bool = False) -> str:
    return f"| {' | '.join(cell if raw else escaped(cell) for cell in cells)} |"
