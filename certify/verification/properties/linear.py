"""Arithmetic expressions of a property as linear forms with rational coefficients."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING

from .reading import Command, Subscript, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from robcert.certify.errors import PropertyFileError

    from .reading import PropertyText

LONGEST_NUMBER = 400
"""Characters of a number, and the largest exponent of ten."""

LARGEST_BITS = 8192
"""Length of numerators and denominators; products and sums of many numbers may grow."""

_USUAL = 10**200
"""Numerators and denominators below it need no check of their size."""

_PLAIN = re.compile(r"-?\d{1,20}(\.\d{1,20})?")
"""The usual number; others are read more slowly."""

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE]([-+]?\d{1,4}))?")


class Side(StrEnum):
    """A tensor of the network."""

    INPUT = "input"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Variable:
    """A declared name: one number, or a tensor of numbers that is used with a subscript.

    Attributes:
        side: whether it is input or output.
        index: position in the flattened tensor, of a single number.
        shape: shape of the tensor; None for a single number.
    """

    side: Side
    index: int = 0
    shape: tuple[int, ...] | None = None


@dataclass(slots=True)
class Linear:
    """A linear form of inputs and outputs: coefficients by variable, and a constant."""

    terms: dict[tuple[Side, int], Fraction] = field(default_factory=dict)
    constant: Fraction = Fraction(0)

    def add(self, other: Linear, factor: Fraction) -> None:
        """Add ``factor`` times the form ``other``."""
        self.constant += factor * other.constant
        for key, value in other.terms.items():
            total = self.terms.pop(key, Fraction(0)) + factor * value
            if total:
                self.terms[key] = total

    @property
    def numbers(self) -> Iterable[Fraction]:
        """All coefficients and the constant."""
        return (*self.terms.values(), self.constant)


@dataclass(frozen=True, slots=True)
class Expressions:
    """Reads arithmetic expressions.

    Attributes:
        source: the file, for errors.
        names: the declared names.
    """

    source: PropertyText
    names: Mapping[str, Variable]

    def bound(self, command: Command) -> tuple[Variable, Fraction] | None:
        """Variable and number of the usual ``(<= X_0 0.5)``; None for everything else."""
        if len(command.items) != 3:
            return None
        name, number = command.items[1:]
        if not isinstance(name, str) or not isinstance(number, str) or number in self.names:
            return None
        variable = self.names.get(name)
        if variable is None or variable.shape not in (None, ()):
            return None
        value = self._number(number, command.line)
        return (variable, value) if value.denominator < _USUAL > abs(value.numerator) else None

    def operands(self, command: Command) -> list[Linear]:
        """The forms of the items of ``command`` after its head."""
        items, found, position = command.items, [], 1
        while position < len(items):
            item = items[position]
            follower = items[position + 1] if position + 1 < len(items) else None
            if isinstance(item, Subscript):
                raise self.source.fault(command.line, "indices without a name before them")
            if isinstance(item, str) and isinstance(follower, Subscript):
                found.append(self._element(item, follower, command.line))
                position += 2
                continue
            found.append(self._form(item, command.line))
            position += 1
        return found

    def _form(self, item: str | Command, line: int) -> Linear:
        if isinstance(item, Command):
            return self._operation(item)
        variable = self.names.get(item)
        if variable is None:
            return Linear(constant=self._number(item, line))
        if variable.shape not in (None, ()):
            raise self.source.fault(line, f"{shown(item)} is a tensor and needs indices")
        return Linear({(variable.side, variable.index): Fraction(1)})

    def _element(self, name: str, subscript: Subscript, line: int) -> Linear:
        """Element of a tensor, numbered in row-major order."""
        variable = self.names.get(name)
        if variable is None:
            raise self._unknown(name, line)
        shape, indices = variable.shape, subscript.indices
        fits = shape is not None and len(shape) == len(indices)
        if not fits or any(i >= n for i, n in zip(indices, shape or (), strict=True)):
            where = "a single number" if shape is None else f"of shape {list(shape)}"
            reason = f"{name}{list(indices)} does not exist: {shown(name)} is {where}"
            raise self.source.fault(line, reason)
        position = 0
        for index, size in zip(indices, shape or (), strict=True):
            position = position * size + index
        return Linear({(variable.side, position): Fraction(1)})

    def _operation(self, command: Command) -> Linear:
        head, line = command.head, command.line
        if head not in {"+", "-", "*", "/"}:
            supported = "the arithmetic operators are +, -, * and / by a number"
            raise self.source.fault(line, f"unexpected {shown(head)}; {supported}")
        operands = self.operands(command)
        if not operands:
            raise self.source.fault(line, f"'{head}' needs operands")
        if head in {"+", "-"}:
            result = self._sum(operands, minus=head == "-", line=line)
        else:
            result = self._product(operands, divide=head == "/", line=line)
        self._require_sane(result.numbers, line)
        return result

    def _sum(self, operands: Sequence[Linear], *, minus: bool, line: int) -> Linear:
        result = Linear()
        only_one = len(operands) == 1
        for position, operand in enumerate(operands):
            negative = minus and (position > 0 or only_one)
            result.add(operand, Fraction(-1 if negative else 1))
            changed = (result.terms[key] for key in operand.terms if key in result.terms)
            self._require_sane((result.constant, *changed), line)
        return result

    def _product(self, operands: Sequence[Linear], *, divide: bool, line: int) -> Linear:
        forms = [operand for operand in operands if operand.terms]
        if len(forms) > 1 or (divide and any(operand.terms for operand in operands[1:])):
            raise self.source.fault(line, "products and quotients of variables are not linear")
        number = Fraction(1)
        for position, operand in enumerate(operands):
            if operand.terms:
                continue
            if divide and position and not operand.constant:
                raise self.source.fault(line, "division by zero")
            number *= 1 / operand.constant if divide and position else operand.constant
            self._require_sane((number,), line)
        result = Linear()
        result.add(forms[0] if forms else Linear(constant=Fraction(1)), number)
        return result

    def _require_sane(self, numbers: Iterable[Fraction], line: int) -> None:
        for number in numbers:
            if max(number.numerator.bit_length(), number.denominator.bit_length()) > LARGEST_BITS:
                raise self.source.fault(line, "the numbers of this expression are too long")

    def _number(self, token: str, line: int) -> Fraction:
        if _PLAIN.fullmatch(token):
            whole, _, part = token.partition(".")
            return Fraction(int(whole + part), 10 ** len(part))
        match = _NUMBER.fullmatch(token) if len(token) <= LONGEST_NUMBER else None
        if match is None:
            raise self._unknown(token, line)
        if abs(int(match[3] or 0)) > LONGEST_NUMBER:
            raise self.source.fault(line, f"the exponent of {shown(token)} is too large")
        return Fraction(token.removeprefix("+"))

    def _unknown(self, token: str, line: int) -> PropertyFileError:
        return self.source.fault(line, f"{shown(token)} is neither a number nor a declared name")
