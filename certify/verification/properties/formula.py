"""Constraints of a property in exact arithmetic, and their disjunctive normal form.

Strict comparisons are taken as non-strict ones: the closed unsafe set includes its boundary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from robcert.certify.errors import PropertyFileError

if TYPE_CHECKING:
    from fractions import Fraction

LARGEST_FORM = 20_000
"""Conjunctions of the normal form."""

LARGEST_FORM_ATOMS = 1_000_000
"""Constraints of all these conjunctions together."""


@dataclass(frozen=True, slots=True)
class InputBound:
    """A bound of one input.

    Attributes:
        index: position in the flattened input.
        value: the bound.
        upper: whether inputs lie below it, not above.
    """

    index: int
    value: Fraction
    upper: bool


@dataclass(frozen=True, slots=True)
class OutputRow:
    r"""The constraint :math:`\sum_j c_j y_j + d \le 0` of the outputs.

    Attributes:
        coefficients: pairs (j, c_j), by output, none of them zero.
        constant: d.
    """

    coefficients: tuple[tuple[int, Fraction], ...]
    constant: Fraction


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part holds; true without parts."""

    parts: tuple[Formula, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Some part holds; false without parts."""

    parts: tuple[Formula, ...]


Atom = InputBound | OutputRow
Formula = InputBound | OutputRow | AllOf | AnyOf
Clause = tuple[Atom, ...]

TRUE, FALSE = AllOf(()), AnyOf(())


@dataclass(frozen=True, slots=True)
class NormalForm:
    """A disjunction of conjunctions.

    Attributes:
        common: constraints of all conjunctions.
        clauses: further constraints of each.
    """

    common: Clause
    clauses: tuple[Clause, ...]


def normal_form(formula: Formula) -> NormalForm:
    """Disjunctive normal form; its size is known, and limited, before it is built.

    Raises:
        PropertyFileError: it is too large.
    """
    atoms: list[Atom] = []
    others: list[Formula] = []
    waiting: list[Formula] = [formula]
    while waiting:
        part = waiting.pop()
        if isinstance(part, AllOf):
            waiting.extend(reversed(part.parts))
        elif isinstance(part, AnyOf):
            others.append(part)
        else:
            atoms.append(part)
    rest = AllOf(tuple(others))
    count, size = _size(rest)
    if count > LARGEST_FORM or size > LARGEST_FORM_ATOMS:
        many = f"{count}" if count < 10**9 else f"about 1e{math.floor(math.log10(count))}"
        message = (
            f"the property is a disjunction of {many} cases with {min(size, 10**15)} constraints; "
            f"at most {LARGEST_FORM} cases with {LARGEST_FORM_ATOMS} constraints are supported"
        )
        raise PropertyFileError(message, hint="split it into several files")
    return NormalForm(tuple(atoms), tuple(_clauses(rest)))


_COUNT_LIMIT = 10**300
"""Counts beyond this are not told apart."""


def _size(formula: Formula) -> tuple[int, int]:
    """Number of conjunctions of the normal form, and of the constraints in all of them."""
    if isinstance(formula, AllOf):
        count, size = 1, 0
        for part in formula.parts:
            inner, atoms = _size(part)
            count, size = count * inner, min(size * inner + atoms * count, _COUNT_LIMIT)
            count = min(count, _COUNT_LIMIT)
        return count, size
    if isinstance(formula, AnyOf):
        sizes = [_size(part) for part in formula.parts]
        return (
            min(sum(count for count, _ in sizes), _COUNT_LIMIT),
            min(sum(atoms for _, atoms in sizes), _COUNT_LIMIT),
        )
    return 1, 1


def _clauses(formula: Formula) -> list[Clause]:
    """The conjunctions, in the order of the file."""
    if isinstance(formula, AllOf):
        if any(_size(part)[0] == 0 for part in formula.parts):
            return []  # without a look at the other parts, however large they are
        parts = [_clauses(part) for part in formula.parts]
        return [tuple(atom for clause in chosen for atom in clause) for chosen in product(*parts)]
    if isinstance(formula, AnyOf):
        return [clause for part in formula.parts for clause in _clauses(part)]
    return [(formula,)]
