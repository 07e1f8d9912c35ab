"""Tables as GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from robcert.certify.visible import visible_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from robcert.certify.tables import Table

    from .contents import CaptionedTable

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~$@&]|:(?=//)|(?<=www)\.)", re.IGNORECASE)
"""What begins a structure, an entity, a link, a formula or the name of a user within a line."""

_BLOCK = re.compile(r"^(\d{0,9})([-+.)])(?=[-+\s]|$)")
"""What would make a line an entry of a list, or a rule."""


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
    >>> escaped("1. see https://x.y &lt;")
    '1\\. see https\\://x.y \\&lt;'
    """
    return _BLOCK.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", visible_line(text).strip()))


def _line(cells: Sequence[str], *, raw: bool = False) -> str:
    return f"| {' | '.join(cell if raw else escaped(cell) for cell in cells)} |"
