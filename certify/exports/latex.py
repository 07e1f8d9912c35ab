"""Tables as LaTeX with booktabs and graphicx; the text is ASCII, so every engine reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robcert.certify.visible import visible_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from robcert.certify.tables import Table

    from .contents import CaptionedTable

LONGEST_CELL = 40
"""Letters of a cell that is not wrapped."""

PREAMBLE = "% Needs \\usepackage{booktabs} and \\usepackage{graphicx}.\n"

FITTED = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%"
"""What makes a table as wide as the line if it would be wider."""

LETTERS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "[": "{[}",  # after the end of a row it would begin an option
    "]": "{]}",
    "*": "{*}",  # likewise
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "…": r"\ldots{}",
    "×": r"$\times$",
    "±": r"$\pm$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "∞": r"$\infty$",
    "√": r"$\surd$",
    "·": r"$\cdot$",
    "→": r"$\to$",
    "−": "$-$",
    "°": r"$^\circ$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "γ": r"$\gamma$",
    "δ": r"$\delta$",
    "∇": r"$\nabla$",
    "‖": r"$\Vert$",
    "ε": r"$\varepsilon$",
    "λ": r"$\lambda$",
    "ρ": r"$\rho$",
    "σ": r"$\sigma$",
    "ω": r"$\omega$",
    "Δ": r"$\Delta$",
    "Φ": r"$\Phi$",
    "ℓ": r"$\ell$",
    "₁": "$_1$",
    "₂": "$_2$",
    "’": "'",
    "“": "``",
    "”": "''",
}


def latex_tables(found: Iterable[CaptionedTable]) -> str:
    r"""Each table in a ``table`` environment, with its caption and the label ``tab:robcert-...``.

    The note of a table stands below its rows.
    """
    return "\n".join([PREAMBLE, *(_table(one) for one in found)])


def escaped(text: str) -> str:
    r"""``text`` in one line of ASCII, in which nothing is a command.

    >>> escaped("ω at 8/255: 5 % & more")
    '$\\omega$ at 8/255: 5 \\% \\& more'
    """
    letters = "".join(map(_letter, visible_line(text)))
    minus = "$-$" if letters[:1] == "-" and letters[1:2].isdigit() else letters[:1]
    return (minus + letters[1:]).replace("--", "-{}-")  # two of them would be one dash


def _letter(letter: str) -> str:
    """One letter; one that LaTeX may lack is told by its number."""
    if letter in LETTERS:
        return LETTERS[letter]
    return letter if letter.isascii() else f"U+{ord(letter):04X}"


def _table(one: CaptionedTable) -> str:
    table = one.table
    columns = "".join(_alignment(table, place) for place in range(len(table.header)))
    note = [f"\\par\\smallskip\\parbox{{\\linewidth}}{{\\footnotesize {escaped(table.note)}}}"]
    lines = [
        "\\begin{table}[htbp]",
        "\\centering",
        f"\\caption{{{escaped(one.caption)}}}",
        f"\\label{{tab:robcert-{_label(one.label)}}}",
        FITTED,
        f"\\begin{{tabular}}{{{columns}}}",
        "\\toprule",
        _row(table.header),
        "\\midrule",
        *(_row(row) for row in table.rows),
        "\\bottomrule",
        "\\end{tabular}}",
        *(note if table.note else []),
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _alignment(table: Table, place: int) -> str:
    """Column of numbers to the right, of words to the left, of sentences in a box that wraps."""
    cells = [row[place] for row in table.rows]
    if max(map(len, cells), default=0) > LONGEST_CELL:
        return "p{0.3\\linewidth}"
    return "l" if place == 0 or any(cell[:1].isalpha() for cell in cells) else "r"


def _row(cells: Sequence[str]) -> str:
    return f"{' & '.join(escaped(cell) for cell in cells)} \\\\"


def _label(text: str) -> str:
    """``text`` as the name of a label: letters, digits, points and hyphens."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in text)
