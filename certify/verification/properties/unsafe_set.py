"""The unsafe set of a property: cases, each a box of inputs and linear constraints of outputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from robcert.certify.errors import PropertyFileError

from .box import LARGEST_FLOAT32, Box, float_below
from .formula import InputBound, OutputRow, normal_form
from .parsing import parsed
from .reading import PropertyText

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from .formula import NormalForm
    from .parsing import ParsedProperty

LARGEST_BOXES = 8_000_000
"""Inputs of all boxes together; each bound is a rational number."""


@dataclass(frozen=True, slots=True)
class Case:
    r"""A part of the unsafe set: inputs of ``box`` whose outputs satisfy every row.

    Attributes:
        box: the inputs.
        rows: constraints :math:`\sum_j c_j y_j + d \le 0`; without rows every input is unsafe.
    """

    box: Box
    rows: tuple[OutputRow, ...]

    def misses(self, outputs: Sequence[float]) -> tuple[Fraction, ...]:
        """Amounts by which ``outputs`` violate the rows, in exact arithmetic; 0 where satisfied."""
        exact = {j: Fraction(outputs[j]) for row in self.rows for j, _ in row.coefficients}
        return tuple(
            max(sum((c * exact[j] for j, c in row.coefficients), row.constant), Fraction(0))
            for row in self.rows
        )

    def scales(self, outputs: Sequence[float]) -> tuple[Fraction, ...]:
        """Size of the largest term of each row at ``outputs``."""
        return tuple(
            max(abs(row.constant), *(abs(c * Fraction(outputs[j])) for j, c in row.coefficients))
            for row in self.rows
        )

    def float_rows(self) -> tuple[list[dict[int, float]], list[float], bool]:
        """Coefficients and constants of the rows in float64, and whether the former are exact.

        A row may be multiplied by a positive number so that its coefficients become exact.
        Constants are rounded down: the statement that some row is positive becomes no easier.
        """
        rows, constants, exact = [], [], True
        for row in self.rows:
            factor = _exact_factor([value for _, value in row.coefficients])
            rows.append({j: float(c * (factor or 1)) for j, c in row.coefficients})
            constants.append(float_below(row.constant * (factor or 1)))
            exact &= factor is not None
        return rows, constants, exact


@dataclass(frozen=True, slots=True)
class UnsafeSet:
    """A property: it holds if no input has the outputs of a case.

    Attributes:
        path: its file.
        sha256: hash of the file.
        version: version of VNN-LIB.
        inputs: number of inputs.
        outputs: number of outputs.
        cases: the parts of the unsafe set; without cases the property holds for every network.
        empty: cases left out because their boxes are empty.
    """

    path: Path
    sha256: str
    version: str
    inputs: int
    outputs: int
    cases: tuple[Case, ...]
    empty: int = 0


def read_property(path: Path) -> UnsafeSet:
    """The property in a VNN-LIB file, plain or compressed by gzip.

    Raises:
        PropertyFileError: the file is missing, malformed, too large, or says what is not
            supported; the message names the line.
    """
    source = PropertyText.of(path)
    return unsafe_set(parsed(source))


def unsafe_set(found: ParsedProperty) -> UnsafeSet:
    """The cases of a parsed property.

    Raises:
        PropertyFileError: they are too many, or an input is not bounded from both sides.
    """
    source = found.source
    try:
        form = normal_form(found.unsafe)
    except PropertyFileError as error:
        message = f"{source.path}: {error}"
        raise PropertyFileError(message, hint=error.hint) from error
    boxes = _Boxes(source, found.inputs, form)
    shared = [atom for atom in form.common if isinstance(atom, OutputRow)]
    cases = []
    for clause in form.clauses:
        box = boxes.of(clause)
        if box is not None:
            own = [atom for atom in clause if isinstance(atom, OutputRow)]
            cases.append(Case(box, tuple(dict.fromkeys([*shared, *own]))))
    empty = len(form.clauses) - len(cases)
    sizes = (found.inputs, found.outputs)
    return UnsafeSet(source.path, source.sha256, found.version, *sizes, tuple(cases), empty)


class _Boxes:
    """Boxes of the cases; cases with the same bounds share one."""

    def __init__(self, source: PropertyText, inputs: int, form: NormalForm) -> None:
        self.source, self.inputs = source, inputs
        self.lower: list[Fraction | None] = [None] * inputs
        self.upper: list[Fraction | None] = [None] * inputs
        _tighten(self.lower, self.upper, _bounds(form.common))
        self.known: dict[tuple[InputBound, ...], Box | None] = {}

    def of(self, clause: Iterable[object]) -> Box | None:
        """The box of a case; None if it is empty."""
        bounds = _bounds(clause)
        if bounds not in self.known:
            if (len(self.known) + 1) * self.inputs > LARGEST_BOXES:
                message = (
                    f"{self.source.path}: more than {LARGEST_BOXES // self.inputs} different "
                    f"boxes of {self.inputs} inputs are not supported"
                )
                raise PropertyFileError(message, hint="split the property into several files")
            self.known[bounds] = self._box(bounds)
        return self.known[bounds]

    def _box(self, bounds: tuple[InputBound, ...]) -> Box | None:
        lower, upper = list(self.lower), list(self.upper)
        _tighten(lower, upper, bounds)
        low = [value for value in lower if value is not None]
        high = [value for value in upper if value is not None]
        if len(low) < self.inputs or len(high) < self.inputs:
            side, values = ("lower", lower) if len(low) < self.inputs else ("upper", upper)
            message = f"{self.source.path}: input {values.index(None)} has no {side} bound"
            raise PropertyFileError(message, hint="every input needs two bounds in every case")
        if any(a > b for a, b in zip(low, high, strict=True)):
            return None
        if -min(low) > LARGEST_FLOAT32 or max(high) > LARGEST_FLOAT32:
            message = f"{self.source.path}: an input's bound is beyond the range of float32"
            raise PropertyFileError(message)
        return Box(tuple(low), tuple(high))


def _bounds(clause: Iterable[object]) -> tuple[InputBound, ...]:
    return tuple(atom for atom in clause if isinstance(atom, InputBound))


def _tighten(
    lower: list[Fraction | None], upper: list[Fraction | None], bounds: Iterable[InputBound]
) -> None:
    """Apply further bounds."""
    for bound in bounds:
        if bound.upper:
            known = upper[bound.index]
            upper[bound.index] = bound.value if known is None else min(known, bound.value)
        else:
            known = lower[bound.index]
            lower[bound.index] = bound.value if known is None else max(known, bound.value)


def _exact_factor(values: Sequence[Fraction]) -> Fraction | None:
    """A positive number whose products with ``values`` are float64 numbers; None if not found."""
    candidates = [Fraction(1)]
    if len(values) == 1:
        candidates.append(1 / abs(values[0]))
    elif values:
        shared = math.lcm(*(value.denominator for value in values))
        candidates.append(Fraction(shared, math.gcd(*(int(value * shared) for value in values))))
    return next((c for c in candidates if all(_is_float(c * v) for v in values)), None)


def _is_float(value: Fraction) -> bool:
    try:
        return Fraction(float(value)) == value
    except OverflowError:
        return False
