"""A VNN-LIB file, version 1.0 or 2.0, as a property of one network.

Version 1.0 is the language of the competitions of 2020 to 2025 (``declare-const X_0 Real``),
version 2.0 the standard of 2025 (``declare-network``; https://www.vnnlib.org). Supported are the
parts that say: some input of a box makes the outputs satisfy linear constraints.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

from .formula import FALSE, TRUE, AllOf, AnyOf, InputBound, OutputRow
from .linear import Expressions, Linear, Side, Variable
from .reading import Command, PropertyText, Subscript, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .formula import Formula

MOST_VARIABLES = 4_000_000
"""Inputs or outputs that a file may declare."""

_LARGEST_NUMBER = Fraction(10) ** 300

_OLD_NAME = re.compile(r"([XY])_(0|[1-9]\d{0,8})")

_NO_EFFECT = frozenset({"set-logic", "set-info", "set-option", "check-sat", "get-model", "exit"})
"""Commands of SMT-LIB that do not change what is asked."""

_TYPES = frozenset({"real", "float32"})


@dataclass(slots=True)
class Declarations:
    """What a file declares.

    Attributes:
        version: ``1.0`` or ``2.0``.
        names: the declared names.
        sizes: number of inputs and of outputs.
    """

    version: str = "1.0"
    names: dict[str, Variable] = field(default_factory=dict)
    sizes: dict[Side, int] = field(default_factory=lambda: {Side.INPUT: 0, Side.OUTPUT: 0})


@dataclass(frozen=True, slots=True)
class ParsedProperty:
    """The content of a file.

    Attributes:
        source: the file.
        version: of the language.
        inputs: number of inputs.
        outputs: number of outputs.
        unsafe: what unsafe inputs and their outputs satisfy.
    """

    source: PropertyText
    version: str
    inputs: int
    outputs: int
    unsafe: Formula


def parsed(source: PropertyText) -> ParsedProperty:
    """The property in a file.

    Raises:
        PropertyFileError: the file is malformed or beyond what is supported.
    """
    return _Parser(source).parsed()


class _Parser:
    """The state of one reading."""

    def __init__(self, source: PropertyText) -> None:
        self.source = source
        self.declared = Declarations()
        self.expressions = Expressions(source, self.declared.names)
        self.assertions: list[Formula] = []

    def parsed(self) -> ParsedProperty:
        commands: dict[str, Callable[[Command], None]] = {
            "vnnlib-version": self._version,
            "declare-network": self._network,
            "declare-const": self._constant,
            "declare-fun": self._constant,
            "assert": self._assertion,
        }
        for command in self.source.commands():
            head = command.head
            if head in commands:
                commands[head](command)
            elif head not in _NO_EFFECT:
                raise self.source.fault(command.line, f"unsupported command {shown(head)}")
        self._require_complete()
        sizes = self.declared.sizes
        unsafe = AllOf(tuple(self.assertions))
        version = self.declared.version
        return ParsedProperty(self.source, version, sizes[Side.INPUT], sizes[Side.OUTPUT], unsafe)

    def _require_complete(self) -> None:
        if not self.declared.names or not self.assertions:
            what = (
                "declares no inputs and outputs" if not self.declared.names else "asserts nothing"
            )
            raise self.source.fault(1, f"not a VNN-LIB property: the file {what}")
        if self.declared.version == "2.0":
            return
        for side, letter in ((Side.INPUT, "X"), (Side.OUTPUT, "Y")):
            size = self.declared.sizes[side]
            missing = next(
                (i for i in range(size) if f"{letter}_{i}" not in self.declared.names), 0
            )
            if size == 0 or f"{letter}_{missing}" not in self.declared.names:
                reason = f"{letter}_{missing} is not declared: {side}s are numbered from 0"
                raise self.source.fault(1, reason)

    def _version(self, command: Command) -> None:
        number = command.items[1] if len(command.items) == 2 else ""
        if not isinstance(number, str) or re.fullmatch(r"<[12]\.0>", number) is None:
            reason = "versions 1.0 and 2.0 of VNN-LIB are supported, as in (vnnlib-version <2.0>)"
            raise self.source.fault(command.line, reason)
        self.declared.version = number[1:-1]

    def _constant(self, command: Command) -> None:
        """Version 1.0: ``(declare-const X_0 Real)``."""
        items = command.items
        if len(items) == 4 and isinstance(items[2], Command) and not items[2].items:
            items = [*items[:2], items[3]]  # (declare-fun X_0 () Real)
        name = items[1] if len(items) == 3 else ""
        match = _OLD_NAME.fullmatch(name) if isinstance(name, str) else None
        if match is None or items[2] not in ("Real", "real"):
            reason = "expected (declare-const X_0 Real) or (declare-const Y_0 Real)"
            raise self.source.fault(command.line, reason)
        side = Side.INPUT if match[1] == "X" else Side.OUTPUT
        self._declare(match[0], Variable(side, int(match[2])), command)
        size = max(self.declared.sizes[side], int(match[2]) + 1)
        self.declared.sizes[side] = self._sane_size(size, command)

    def _network(self, command: Command) -> None:
        """Version 2.0: ``(declare-network N (declare-input X real [1,5]) …)``."""
        if any(variable.shape is not None for variable in self.declared.names.values()):
            raise self.source.fault(command.line, "properties of one network are supported")
        parts = command.items[2:]
        if not all(isinstance(part, Command) for part in parts):
            raise self.source.fault(command.line, "expected (declare-network NAME (declare-input …")
        for part in parts:
            if isinstance(part, Command):
                self._tensor(part)
        for side in Side:
            if not any(v.side is side for v in self.declared.names.values()):
                raise self.source.fault(command.line, f"the network declares no {side}")

    def _tensor(self, command: Command) -> None:
        """``(declare-input X real [1,5])``, perhaps with the name of the tensor in the file."""
        sides = {"declare-input": Side.INPUT, "declare-output": Side.OUTPUT}
        side, items = sides.get(command.head), command.items
        if side is None:
            raise self.source.fault(command.line, f"{shown(command.head)} is not supported")
        named = len(items) == 5 and isinstance(items[4], str) and items[4].startswith('"')
        if not (len(items) == 4 or named) or not isinstance(items[3], Subscript):
            raise self.source.fault(command.line, f"expected ({command.head} X real [1,5])")
        if any(variable.side is side for variable in self.declared.names.values()):
            raise self.source.fault(command.line, f"networks with one {side} are supported")
        name, kind, shape = items[1], items[2], items[3].indices
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            given = shown(kind) if isinstance(kind, str) else "a list"
            raise self.source.fault(command.line, f"type {given}: tensors are real or float32")
        if not isinstance(name, str) or re.fullmatch(r"[A-Za-z]\w*", name) is None:
            raise self.source.fault(command.line, "the tensor has no valid name")
        self._declare(name, Variable(side, shape=shape), command)
        self.declared.sizes[side] = self._sane_size(math.prod(shape), command)

    def _declare(self, name: str, variable: Variable, command: Command) -> None:
        if name in self.declared.names:
            raise self.source.fault(command.line, f"{shown(name)} is declared twice")
        if self.assertions:
            raise self.source.fault(command.line, "a declaration after the first assertion")
        self.declared.names[name] = variable

    def _sane_size(self, size: int, command: Command) -> int:
        if not 0 < size <= MOST_VARIABLES:
            reason = f"{size} variables; 1 to {MOST_VARIABLES} inputs or outputs are supported"
            raise self.source.fault(command.line, reason)
        return size

    def _assertion(self, command: Command) -> None:
        formula = command.items[1] if len(command.items) == 2 else None
        if not isinstance(formula, Command):
            raise self.source.fault(command.line, "expected (assert (…))")
        self.assertions.append(self._formula(formula))

    def _formula(self, command: Command) -> Formula:
        head = command.head
        if head in {"and", "or"}:
            inner = [part for part in command.items[1:] if isinstance(part, Command)]
            if not inner or len(inner) + 1 != len(command.items):
                raise self.source.fault(command.line, f"'{head}' joins formulas in brackets")
            parts = tuple(map(self._formula, inner))
            return AllOf(parts) if head == "and" else AnyOf(parts)
        if head not in {"<=", "<", ">=", ">", "=", "=="}:
            reason = f"unexpected {shown(head)}; formulas consist of and, or, <=, <, >=, > and ="
            raise self.source.fault(command.line, reason)
        usual = self.expressions.bound(command)
        if usual is not None and head[0] != "=":
            return self._bound(*usual, upper=head[0] == "<")
        operands = self.expressions.operands(command)
        if len(operands) != 2:
            reason = f"'{head}' compares two expressions, found {len(operands)}"
            raise self.source.fault(command.line, reason)
        return self._comparison(head, operands, command.line)

    def _bound(self, variable: Variable, value: Fraction, *, upper: bool) -> Formula:
        """A bound of one variable."""
        if variable.side is Side.INPUT:
            return InputBound(variable.index, value, upper)
        sign = 1 if upper else -1
        return OutputRow(((variable.index, Fraction(sign)),), -sign * value)

    def _comparison(self, head: str, operands: Sequence[Linear], line: int) -> Formula:
        left, right = operands
        if head in {"=", "=="}:
            both = (self._at_most(left, right, line), self._at_most(right, left, line))
            return AllOf(both)
        if head in {">", ">="}:
            left, right = right, left
        return self._at_most(left, right, line)

    def _at_most(self, left: Linear, right: Linear, line: int) -> Formula:
        """The constraint left <= right."""
        form = Linear(dict(left.terms), left.constant)
        form.add(right, Fraction(-1))
        sides = {side for side, _ in form.terms}
        if not sides:
            return TRUE if form.constant <= 0 else FALSE
        smallest = min(abs(value) for value in form.terms.values())
        largest = max(abs(value) for value in form.numbers)
        if largest > _LARGEST_NUMBER or smallest < 1 / _LARGEST_NUMBER:
            raise self.source.fault(line, "a number is beyond the range of float64")
        if sides == {Side.OUTPUT}:
            rows = sorted((index, value) for (_, index), value in form.terms.items())
            return OutputRow(tuple(rows), form.constant)
        if len(sides) == 2:
            raise self.source.fault(
                line, "constraints of inputs and outputs together are unsupported"
            )
        if len(form.terms) > 1:
            reason = "constraints that relate several inputs are unsupported: inputs lie in a box"
            raise self.source.fault(line, reason)
        (((_, index), value),) = form.terms.items()
        return InputBound(index, -form.constant / value, upper=value > 0)
