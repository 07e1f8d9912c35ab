r"""Constants that a network computes from stored ones: how far float32 may be from their value.

They are computed in float64, as good as exactly. A runtime computes them in float32 before it runs,
in any order of its sums, and then has other weights. For each constant c a bound e of the
difference is followed from operation to operation (running error analysis, Higham 2002, section
3.3), and where c enters a sum it counts as :math:`\lceil e / (u |c|) \rceil` more roundings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx

from .constant_rules import RULES
from .precision import (
    FUNCTION,
    LARGEST,
    UNIT,
    VANISHING,
    Error,
    has_floats,
    in_float32,
    is_exact,
    unknown,
    unknown_error,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOST_ROUNDINGS = 4096
"""Constants that are less precise than so many roundings have no useful bound."""

ROUNDED_ONCE = frozenset({"add", "sub", "rsub", "mul", "sqrt"})
"""Operations that are rounded to the nearest number of float32."""

ELEMENTWISE = frozenset({"log", "log1p", "tanh", "sigmoid", "erf", "sin", "cos", "softplus"})
"""Functions of each element, which float64 has with a small relative error."""

COMPARED = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})

FILLED = frozenset({"zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"})
"""Operations to whose outputs nothing but shapes counts."""


@dataclass(frozen=True, slots=True, eq=False)
class ConstantCall:
    """An operation all of whose arguments are constants.

    Attributes:
        name: its name.
        target: the function.
        arguments: its arguments, numbers in float64.
        keywords: its further arguments.
        errors: the error of each of ``arguments``.
        real: whether the reference is the exact value and not the one in float64. Errors of float64
            are stated as those of float32 would be, and are smaller by 2^-29.
    """

    name: str
    target: Callable[..., Any]
    arguments: Sequence[Any]
    keywords: dict[str, Any]
    errors: Sequence[Error]
    real: bool = False

    @property
    def exact(self) -> bool:
        """Whether its arguments are."""
        given = [*self.arguments, *self.keywords.values()]
        return is_exact(self.errors) and all(map(_is_single, given))

    @property
    def sizes(self) -> list[Any]:
        """Absolute values of its arguments."""
        return [
            value.double().abs() if isinstance(value, Tensor) else value for value in self.arguments
        ]

    @property
    def bounds(self) -> list[Any]:
        """The errors of its arguments as tensors of their shapes, 0 for what is exact."""
        return [_filled(*pair) for pair in zip(self.arguments, self.errors, strict=True)]

    def option(self, name: str, position: int, default: Any) -> Any:
        """A further argument."""
        given = self.arguments[position] if len(self.arguments) > position else default
        return self.keywords.get(name, given)

    def error_of(self, result: Any, *, moves: bool) -> Error:
        """Bound of the float32 error of the ``result``; ``moves``: it only moves elements."""
        if (self.exact and moves) or (is_exact(self.errors) and not has_floats(self.arguments)):
            return None  # float32 numbers of Python alone are computed as they are there
        if any(map(_uncertain, self.arguments, self.errors)):  # an index or a choice
            return unknown_error(result)
        if self.name in FILLED:
            return self._of_filling(result)
        if self.name in COMPARED and self._apart():
            return None
        if moves:
            return self._moved()
        return self._of_arithmetic(result) if isinstance(result, Tensor) else unknown_error(result)

    def _of_arithmetic(self, result: Tensor) -> Error:
        """The error of what is computed, not moved."""
        if not result.is_floating_point():  # a comparison, a choice
            known = self.exact and not self._leaves_integers(result)
            return None if known else unknown(result)
        size = result.double().abs()
        if self.name not in RULES:
            known = self.real and self.exact and self.name in ELEMENTWISE
            return FUNCTION * size if known else unknown(result)
        found = RULES[self.name](self, size) + torch.zeros_like(size)
        found = torch.where(found >= 0, found, math.inf)  # of infinities that cancel
        if not self.real:
            found = torch.where(size + found < LARGEST, found, math.inf)
        if self.name in ROUNDED_ONCE and not any(
            bool((torch.as_tensor(bound) != 0).any()) for bound in self.bounds
        ):  # what float32 has is not rounded
            kept = self._unrounded(result) if self.real else size == size.float().double()
            found = torch.where(kept, 0.0, found)
        return torch.where(found > 0, found + VANISHING, 0.0)

    def _unrounded(self, result: Tensor) -> Tensor:
        """Where float64 has the exact result of exact arguments."""
        if self.name == "mul":  # 24 and 24 bits fit into 53
            return in_float32(self.arguments[0]) & in_float32(self.arguments[1])
        if self.name == "sqrt" or self.option("alpha", 2, 1) != 1:
            return torch.zeros_like(result, dtype=torch.bool)
        x, y = (torch.as_tensor(value, dtype=torch.float64) for value in self.arguments[:2])
        x, y = (y, -x) if self.name == "rsub" else (x, -y if self.name == "sub" else y)
        kept = result - x  # the rounding of a sum (Knuth 1969, section 4.2.2)
        return ((x - (result - kept)) + (y - kept)) == 0

    def _of_filling(self, result: Tensor) -> Error:
        """That of the number with which a tensor is filled; the first argument has its shape."""
        if not is_exact(self.errors[1:]):
            return unknown(result)
        single = all(map(_is_single, [*self.arguments[1:], *self.keywords.values()]))
        return None if single else UNIT * result.double().abs()

    def _leaves_integers(self, result: Tensor) -> bool:
        """Whether numbers become integers that cannot hold them, which no standard defines."""
        x = self.arguments[0]
        if self.name != "_to_copy" or result.dtype is torch.bool or not has_floats(x):
            return False
        kind, whole = torch.iinfo(result.dtype), x.double().trunc()
        return not bool(((whole >= kind.min) & (whole < float(kind.max) + 1)).all())

    def _apart(self) -> bool:
        """Whether no two compared numbers are nearer than their errors."""
        (x, y), (dx, dy) = self.arguments[:2], self.bounds[:2]
        off = torch.as_tensor(dx + dy)
        return bool(((off == 0) | (torch.as_tensor(abs(x - y)) > off)).all())

    def _moved(self) -> Error:
        def replaced(value: Any, error: Error) -> Any:
            if isinstance(value, list | tuple):
                errors = error if isinstance(error, list | tuple) else [None] * len(value)
                return [replaced(*pair) for pair in zip(value, errors, strict=True)]
            floats = isinstance(value, Tensor) and value.is_floating_point()
            return _filled(value, error) if floats else value

        found = self.target(*map(replaced, self.arguments, self.errors), **self.keywords)
        return [part.abs() for part in found] if isinstance(found, list | tuple) else found.abs()


def _uncertain(value: Any, error: Error) -> bool:
    """Whether whole numbers or truth values among arguments may be others."""
    if isinstance(value, list | tuple):
        errors = error if isinstance(error, list | tuple) else [error] * len(value)
        return any(map(_uncertain, value, errors))
    whole = isinstance(value, Tensor) and not value.is_floating_point()
    return whole and not is_exact(error)


def roundings(value: Any, error: Error) -> float:
    """How many roundings of each element of a constant its error amounts to."""
    if error is None:
        return 0.0
    if isinstance(error, list | tuple):
        return max((roundings(*pair) for pair in zip(value, error, strict=True)), default=0.0)
    size = torch.as_tensor(value).double().abs()
    share = torch.where(error > 0, error / (UNIT * size), 0.0)
    worst = float(share.max()) if share.numel() else 0.0
    return math.ceil(1.001 * worst) if math.isfinite(worst) else math.inf


def errors_of(arguments: Any, errors: dict[fx.Node, Error]) -> Any:
    """The errors of a recorded operation's arguments, None for what no operation computes."""
    if isinstance(arguments, fx.Node):
        return errors.get(arguments)
    if isinstance(arguments, list | tuple):
        return [errors_of(item, errors) for item in arguments]
    return None


def _is_single(value: Any) -> bool:
    """Whether a number that is no tensor has its value in float32 too."""
    return not isinstance(value, float) or not math.isfinite(value) or bool(in_float32(value))


def _filled(value: Any, error: Error) -> Any:
    if isinstance(value, Tensor) and not isinstance(error, Tensor):
        return torch.zeros(value.shape, dtype=torch.float64)
    if isinstance(value, float) and error is None and math.isfinite(value):
        return UNIT * abs(value) * (value != torch.tensor(value, dtype=torch.float32).item())
    return 0.0 if error is None else error
