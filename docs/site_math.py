"""Formulas of the pages as MathML, which browsers draw without a script.

The part of TeX's notation that the pages use; anything else is an error.
"""

from __future__ import annotations

import re
from html import escape
from typing import NoReturn

IDENTIFIERS = {
    "Delta": "Δ", "Phi": "Φ", "alpha": "α", "chi": "χ", "delta": "δ", "ell": "ℓ", "gamma": "γ",
    "infty": "∞", "lambda": "λ", "nabla": "∇", "omega": "ω", "pi": "π", "rho": "ρ", "sigma": "σ",
    "top": "⊤", "varepsilon": "ε", "xi": "ξ",
}  # fmt: skip

OPERATORS = {
    "arg": "arg", "cdot": "⋅", "dots": "…", "exp": "exp", "ge": "≥", "in": "∈", "le": "≤",
    "ne": "≠", "sim": "∼",
}  # fmt: skip

FENCES = {
    "langle": "⟨", "rangle": "⟩", "Vert": "‖", "|": "‖", "vert": "|", "{": "{", "}": "}",
}  # fmt: skip

LIMITS = {"max": "max", "sum": "∑", "sup": "sup"}
"""Operators whose subscript stands below them in a displayed formula."""

SPACES = {",": "0.17em", ";": "0.28em", "quad": "1em", "qquad": "2em"}

ACCENTS = {"bar": ("mover", "¯"), "overline": ("mover", "¯"), "underline": ("munder", "_")}

SIGNS = {"-": "−", "*": "∗", "'": "′"}

_TOKEN = re.compile(
    r"\\(?:text|mathrm|begin|end)\{[^{}]*\}|\\(?:[A-Za-z]+|.)|[0-9]+(?:\.[0-9]+)?|\S", re.DOTALL
)


class FormulaError(ValueError):
    """A formula has notation that this module does not know."""


def mathml(tex: str, *, display: bool = False) -> str:
    """``tex`` as a ``<math>`` element.

    Raises:
        FormulaError: a command is unknown, or a brace or fence has no partner.
    """
    reader = _Reader(tex)
    body = reader.row()
    if reader.tokens:
        reader.fail(f"{reader.tokens[0]!r} has no beginning")
    style = ' display="block"' if display else ""
    return f"<math{style}>{body}</math>"


class _Reader:
    """Recursive descent over the tokens that are left."""

    def __init__(self, tex: str) -> None:
        self.tex = tex
        self.tokens = _TOKEN.findall(tex)

    def fail(self, fault: str) -> NoReturn:
        message = f"{fault} in the formula {self.tex!r}"
        raise FormulaError(message)

    def take(self) -> str:
        if not self.tokens:
            self.fail("something is missing at the end")
        return self.tokens.pop(0)

    def expect(self, token: str) -> None:
        if not self.tokens or self.take() != token:
            self.fail(f"{token!r} is missing")

    def row(self) -> str:
        """Atoms with their scripts up to what ends a row."""
        parts = []
        while (
            self.tokens
            and self.tokens[0] not in ("}", "&", r"\\", r"\right")
            and not (self.tokens[0].startswith(r"\end{"))
        ):
            parts.append(self.scripted())
        return f"<mrow>{''.join(parts)}</mrow>"

    def scripted(self) -> str:
        name = self.tokens[0].removeprefix("\\")
        base = self.atom()
        scripts: dict[str, str] = {}
        while self.tokens and self.tokens[0] in ("_", "^", "'"):
            kind = self.take()
            scripts["^" if kind == "'" else kind] = "<mo>′</mo>" if kind == "'" else self.argument()
        under = name in LIMITS
        match scripts:
            case {"_": low, "^": high}:
                tag = "munderover" if under else "msubsup"
                return f"<{tag}>{base}{low}{high}</{tag}>"
            case {"_": low}:
                tag = "munder" if under else "msub"
                return f"<{tag}>{base}{low}</{tag}>"
            case {"^": high}:
                tag = "mover" if under else "msup"
                return f"<{tag}>{base}{high}</{tag}>"
        return base

    def argument(self) -> str:
        """A group in braces, or a single sign: of the digits of a number the first."""
        token = self.tokens[0] if self.tokens else ""
        if token[:1].isdigit() and len(token) > 1:
            self.tokens[0] = token[1:]
            return f"<mn>{token[0]}</mn>"
        return self.atom()

    def atom(self) -> str:
        token = self.take()
        if token == "{":
            inside = self.row()
            self.expect("}")
            return inside
        if token.startswith("\\"):
            return self.command(token[1:])
        if token[0].isdigit():
            return f"<mn>{token}</mn>"
        if token.isalpha():
            return f"<mi>{token}</mi>"
        if token in "|[]()":
            return _fence(token)
        return f"<mo>{escape(SIGNS.get(token, token))}</mo>"

    def command(self, name: str) -> str:
        if name in IDENTIFIERS:
            return f"<mi>{IDENTIFIERS[name]}</mi>"
        if name in OPERATORS:
            return f"<mo>{OPERATORS[name]}</mo>"
        if name in LIMITS:
            return f'<mo movablelimits="true">{LIMITS[name]}</mo>'
        if name in FENCES:
            return _fence(FENCES[name])
        if name in SPACES:
            return f'<mspace width="{SPACES[name]}"/>'
        if name in ACCENTS:
            tag, accent = ACCENTS[name]
            return f"<{tag}>{self.argument()}<mo>{accent}</mo></{tag}>"
        return self.structure(name)

    def structure(self, name: str) -> str:
        if name == "frac":
            return f"<mfrac>{self.argument()}{self.argument()}</mfrac>"
        if name == "sqrt":
            return f"<msqrt>{self.argument()}</msqrt>"
        if name == "left":
            opening, inside = self.take(), self.row()
            self.expect(r"\right")
            return f"<mrow><mo>{opening}</mo>{inside}<mo>{self.take()}</mo></mrow>"
        if name.startswith("text{"):
            return f"<mtext>{escape(name[5:-1])}</mtext>"
        if name.startswith("mathrm{"):
            return f'<mi mathvariant="normal">{escape(name[7:-1])}</mi>'
        if name == "begin{pmatrix}":
            return self.matrix()
        return self.fail(f"\\{name} is not known")

    def matrix(self) -> str:
        rows = [[self.row()]]
        while (token := self.take()) != r"\end{pmatrix}":
            if token == "&":
                rows[-1].append(self.row())
            elif token == r"\\":
                rows.append([self.row()])
            else:
                self.fail(r"\end{pmatrix} is missing")
        cells = "".join(
            "<mtr>" + "".join(f"<mtd>{cell}</mtd>" for cell in row) + "</mtr>" for row in rows
        )
        return f"<mrow><mo>(</mo><mtable>{cells}</mtable><mo>)</mo></mrow>"


def _fence(sign: str) -> str:
    return f'<mo stretchy="false" lspace="0" rspace="0">{sign}</mo>'
