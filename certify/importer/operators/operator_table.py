"""The table of ONNX operators: which function computes which operator, from which version on.

A row is a plain function of torch tensors. Its positional parameters are the operator's inputs
(None for an input that is left out), its keyword-only parameters the attributes, under ONNX's names
in snake case (``transA`` is ``trans_a``; ``min`` is ``min_``, to spare Python's own). Three
keywords are not attributes: ``n_outputs`` (how many outputs the node names; such a function returns
a tuple), ``input_types`` (ONNX element
type of each input, 0 where unknown) and ``straight_through``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Function = Callable[..., Any]
"""Tensors in, one tensor or a tuple of tensors out."""

CONTEXT = frozenset({"n_outputs", "input_types", "straight_through"})
"""Keywords that the importer fills in; every other keyword is an attribute."""


class Gradient(StrEnum):
    """What backpropagation through an operator gives."""

    TRUE = "true"
    NONE = "none"  # zero or undefined by nature: comparisons, ArgMax, casts to integers
    STRAIGHT_THROUGH = "straight-through"  # zero almost everywhere, has a surrogate: Round, Sign
    NUMBER_FORMAT = "straight-through (number format)"  # the same for rounding to int8 and the like
    RANDOM = "random"  # another output each time


@dataclass(frozen=True, slots=True)
class Operator:
    """One row: what computes an operator from version ``since`` of its domain on.

    Attributes:
        function: see the module's docstring.
        since: first opset version with this meaning.
        gradient: what backpropagation gives.
        host: inputs wanted as Python numbers (shapes, axes); constants among them arrive as such.
        limits: inputs that may be Python numbers or tensors of one element; constants arrive as
            numbers, unless the graph computes them and is to show how.
        ignore: attributes that do not change the outputs.
        parameters: names of the inputs in order; a variadic operator repeats its last one.
        n_required: how many of them must be there.
        variadic: whether any number of inputs may follow.
        attributes: names of the attributes that the function takes.
        required: those without a default.
        context: which of the importer's own keywords it takes.
    """

    function: Function
    since: int
    gradient: Gradient
    host: frozenset[str]
    limits: frozenset[str]
    ignore: frozenset[str]
    parameters: tuple[str, ...]
    n_required: int
    variadic: bool
    attributes: frozenset[str]
    required: frozenset[str]
    context: frozenset[str]

    def takes(self, given: Sequence[bool]) -> bool:
        """Whether a node may have these inputs (True) and omissions (False)."""
        complete = len(given) >= self.n_required and all(given[: self.n_required])
        return complete and (self.variadic or len(given) <= len(self.parameters))

    def parameter(self, position: int) -> str | None:
        """Name of the input at ``position``; None if the function has no such input."""
        if position < len(self.parameters):
            return self.parameters[position]
        return self.parameters[-1] if self.variadic else None


OPERATORS: dict[tuple[str, str], list[Operator]] = {}
"""Rows by (domain, operator type), newest first."""


def operator(
    *names: str,
    since: int = 1,
    domain: str = "",
    gradient: Gradient = Gradient.TRUE,
    host: Iterable[str] = (),
    limits: Iterable[str] = (),
    ignore: Iterable[str] = (),
) -> Callable[[Function], Function]:
    """Decorator that enters a function under every one of ``names``."""

    def enter(function: Function) -> Function:
        signature = inspect.signature(function)
        kinds = {name: p.kind for name, p in signature.parameters.items()}
        keywords = {name for name, kind in kinds.items() if kind is inspect.Parameter.KEYWORD_ONLY}
        lacking_default = {
            name for name, p in signature.parameters.items() if p.default is inspect.Parameter.empty
        }
        row = Operator(
            function,
            since,
            gradient,
            frozenset(host),
            frozenset(limits),
            frozenset(ignore),
            tuple(name for name in kinds if name not in keywords),
            len(lacking_default - keywords),
            inspect.Parameter.VAR_POSITIONAL in kinds.values(),
            frozenset(keywords - CONTEXT),
            frozenset(keywords & lacking_default - CONTEXT),
            frozenset(keywords & CONTEXT),
        )
        for name in names:
            enter_row(name, row, domain=domain)
        return function

    return enter


def enter_row(name: str, row: Operator, *, domain: str = "") -> None:
    """Add one row; rows of an operator stay sorted, newest first."""
    rows = OPERATORS.setdefault((domain, name), [])
    rows.append(row)
    rows.sort(key=lambda other: -other.since)


def elementwise(function: Function, *names: str, n_inputs: int = 1, since: int = 1) -> None:
    """Enter a torch function of ``n_inputs`` tensors and no attributes, as it is."""
    parameters = tuple(f"x{i}" for i in range(n_inputs))
    empty: frozenset[str] = frozenset()
    ignore = frozenset({"consumed_inputs"})
    row = Operator(
        function,
        since,
        Gradient.TRUE,
        empty,
        empty,
        ignore,
        parameters,
        n_inputs,
        False,
        empty,
        empty,
        empty,
    )
    for name in names:
        enter_row(name, row)


def lookup(domain: str, name: str, version: int) -> Operator | None:
    """The row for an operator at an opset version; None if the table has none."""
    rows = OPERATORS.get((domain, name), [])
    return next((row for row in rows if row.since <= version), None)


def keyword(attribute: str) -> str:
    """Keyword of an ONNX attribute.

    >>> keyword("transA"), keyword("kernel_shape"), keyword("min")
    ('trans_a', 'kernel_shape', 'min_')
    """
    snake = re.sub(r"(?<=[a-z])([A-Z])", lambda match: "_" + match[1].lower(), attribute)
    return snake + "_" if snake in {"min", "max"} else snake
