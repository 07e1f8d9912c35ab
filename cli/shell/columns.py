"""How a table fits into a terminal: widths of its columns, and parts if it is too wide."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

GAP = 3
"""Characters between two columns."""

LONGEST_WORD = 24
"""Longer words may be broken."""

LONGEST_NAME = 36
"""Longer words of the first column, such as names of files, may be broken."""

UNBROKEN = re.compile(r"\[[^\[\]]*\]|\d+ : \d+|\S+")
"""What stays on one line: intervals, counts of two models, words."""


@dataclass(frozen=True, slots=True)
class Part:
    """Columns that are printed side by side.

    Attributes:
        columns: their numbers; the first column of the table is in every part.
        widths: their widths in characters.
    """

    columns: tuple[int, ...]
    widths: tuple[int, ...]


def parts_of(rows: Sequence[Sequence[str]], room: int) -> list[Part]:
    """Parts of a table that fit into ``room`` characters without broken words.

    A table that fits as it is has one part, with the widths of its longest cells.

    Args:
        rows: the header, then the rows, as they are printed.
        room: width of the terminal.
    """
    whole, least = _longest_lines(rows), _longest_words(rows)
    return [_part(numbers, whole, least, room) for numbers in _grouped(least, room)]


def whole_room(rows: Sequence[Sequence[str]]) -> int:
    """Width in which no cell of a table is folded."""
    return sum(_longest_lines(rows)) + GAP * (len(rows[0]) - 1)


def least_room(rows: Sequence[Sequence[str]]) -> int:
    """Width in which a table has one part."""
    return sum(_longest_words(rows)) + GAP * (len(rows[0]) - 1)


def _longest_lines(rows: Sequence[Sequence[str]]) -> list[int]:
    """Width of the longest line of each column."""
    columns = zip(*rows, strict=True)
    return [max(_width(line) for cell in column for line in _lines(cell)) for column in columns]


def _longest_words(rows: Sequence[Sequence[str]]) -> list[int]:
    """Width of the longest word of each column that is not to be broken.

    The first column, which names the rows, is not narrower than its lines or `LONGEST_WORD`.
    """
    first, *others = zip(*rows, strict=True)
    name = max(min(_width(word), LONGEST_NAME) for word in _words(first))
    line = max(min(_width(line), LONGEST_WORD) for cell in first for line in _lines(cell))
    return [
        max(name, line),
        *(max(min(_width(word), LONGEST_WORD) for word in _words(column)) for column in others),
    ]


def _grouped(least: Sequence[int], room: int) -> list[list[int]]:
    """Numbers of the columns of each part, as many as fit beside the first column."""
    groups = [[0]]
    for number in range(1, len(least)):
        group = [*groups[-1], number]
        if len(groups[-1]) > 1 and sum(least[n] + GAP for n in group) - GAP > room:
            group = [0, number]
            groups.append(group)
        groups[-1] = group
    return groups


def _part(numbers: list[int], whole: Sequence[int], least: Sequence[int], room: int) -> Part:
    """A part, whose columns share what their longest words leave of ``room``."""
    widths = {number: min(least[number], whole[number]) for number in numbers}
    spare = room - sum(widths.values()) - GAP * (len(numbers) - 1)
    for done, number in enumerate(sorted(numbers, key=lambda n: whole[n] - widths[n])):
        more = min(whole[number] - widths[number], max(spare, 0) // (len(numbers) - done))
        widths[number] += more
        spare -= more
    return Part(tuple(numbers), tuple(widths[number] for number in numbers))


def _words(column: Sequence[str]) -> list[str]:
    return [word for cell in column for word in UNBROKEN.findall(cell)] or [""]


def _lines(cell: str) -> list[str]:
    return cell.splitlines() or [""]


def _width(text: str) -> int:
    """Characters that ``text`` takes in a terminal."""
    from rich.cells import cell_len

    return cell_len(text)
