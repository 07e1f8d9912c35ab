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

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

UNIT = 2.0**-24
"""Unit roundoff of float32."""

FUNCTION = 2.0**-20
"""Relative error of an elementary function in float32."""

VANISHING = 1e-37
"""Error where a number is too small for the precision of float32."""

MOST_ROUNDINGS = 4096
"""Constants that are less precise than so many roundings have no useful bound."""

ROUNDED_ONCE = frozenset({"add", "sub", "rsub", "mul", "sqrt"})
"""Operations that are rounded to the nearest number of float32."""

ELEMENTWISE = frozenset({"log", "log1p", "tanh", "sigmoid", "erf", "sin", "cos", "softplus"})
"""Functions of each element, which float64 has with a small relative error."""

NARROW = (torch.float16, torch.bfloat16)
"""Types to which some runtimes round and others do not, where they lack an operation in them."""

LARGEST = 1e38
"""Beyond it a number, or a partial sum, may overflow in float32."""

COMPARED = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})

FILLED = frozenset({"zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"})
"""Operations to whose outputs nothing but shapes counts."""

GRID = 2.0**12
"""Multiples of 1 / GRID that are not too large are added without rounding."""

Error = Any
"""A bound for each element of a constant; None for one that is exact; lists of these."""


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
        if self.exact and (moves or not has_floats(self.arguments)):
            return None
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
            return None if known else _unknown(result)
        size = result.double().abs()
        if self.name not in RULES:
            known = self.real and self.exact and self.name in ELEMENTWISE
            return FUNCTION * size if known else _unknown(result)
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
            return _in_float32(self.arguments[0]) & _in_float32(self.arguments[1])
        if self.name == "sqrt" or self.option("alpha", 2, 1) != 1:
            return torch.zeros_like(result, dtype=torch.bool)
        x, y = (torch.as_tensor(value, dtype=torch.float64) for value in self.arguments[:2])
        x, y = (y, -x) if self.name == "rsub" else (x, -y if self.name == "sub" else y)
        kept = result - x  # the rounding of a sum (Knuth 1969, section 4.2.2)
        return ((x - (result - kept)) + (y - kept)) == 0

    def _of_filling(self, result: Tensor) -> Error:
        """That of the number with which a tensor is filled; the first argument has its shape."""
        if not is_exact(self.errors[1:]):
            return _unknown(result)
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


def unknown_error(result: Any) -> Error:
    """The error of a result of which nothing is known."""
    if isinstance(result, list | tuple):
        return [unknown_error(part) for part in result]
    return torch.full(torch.as_tensor(result).shape, math.inf, dtype=torch.float64)


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


def is_exact(error: Error) -> bool:
    """Whether all of several errors are 0."""
    if isinstance(error, list | tuple):
        return all(map(is_exact, error))
    return error is None or not bool((error != 0).any())


def has_floats(values: Any) -> bool:
    """Whether a tensor of numbers is among arguments."""
    if isinstance(values, list | tuple):
        return any(map(has_floats, values))
    return isinstance(values, Tensor) and values.is_floating_point()


def _is_single(value: Any) -> bool:
    """Whether a number that is no tensor has its value in float32 too."""
    return not isinstance(value, float) or not math.isfinite(value) or bool(_in_float32(value))


def _in_float32(value: Any) -> Tensor:
    value = torch.as_tensor(value, dtype=torch.float64)
    return value == value.float().double()


def _unknown(result: Tensor) -> Tensor:
    return torch.full_like(result, math.inf, dtype=torch.float64)


def _filled(value: Any, error: Error) -> Any:
    if isinstance(value, Tensor) and not isinstance(error, Tensor):
        return torch.zeros(value.shape, dtype=torch.float64)
    if isinstance(value, float) and error is None and math.isfinite(value):
        return UNIT * abs(value) * (value != torch.tensor(value, dtype=torch.float32).item())
    return 0.0 if error is None else error


# --- rules: from a call and the absolute values of its result to the error of that ---------------

_Rule = Any  # a function of a call and a tensor that gives a tensor
RULES: dict[str, _Rule] = {}


def _rule(*names: str) -> Callable[[_Rule], _Rule]:
    def enter(function: _Rule) -> _Rule:
        for name in names:
            RULES[name] = function
        return function

    return enter


def _rounded(size: Tensor, passed: Tensor, count: int) -> Tensor:
    """The error ``passed`` on, and ``count`` roundings of terms of ``size``."""
    share = count * UNIT / (1 - count * UNIT) if count * UNIT < 0.5 else math.inf
    return passed + share * (size + passed)


def _infinite(where: Any, otherwise: Tensor) -> Tensor:
    return torch.where(torch.as_tensor(where), math.inf, otherwise)


def _sum_error(call: ConstantCall, size: Tensor, first: int, second: int) -> Tensor:
    """Of the argument ``first``, and ``alpha`` times the ``second``."""
    scale = abs(float(call.option("alpha", 2, 1)))
    passed = torch.as_tensor(call.bounds[first] + scale * call.bounds[second])
    if scale != 1:  # the product is rounded too
        size = torch.as_tensor(abs(call.sizes[first]) + scale * abs(call.sizes[second]))
    return _rounded(size, passed, 2)


@_rule("add", "sub", "add_", "sub_")
def _sum(call: ConstantCall, size: Tensor) -> Tensor:
    return _sum_error(call, size, 0, 1)


@_rule("rsub")
def _reversed(call: ConstantCall, size: Tensor) -> Tensor:
    return _sum_error(call, size, 1, 0)


def _product_error(x: Any, y: Any, dx: Any, dy: Any, size: Tensor) -> Tensor:
    passed = torch.as_tensor(abs(x) * dy + dx * abs(y) + dx * dy)
    alone = _scales_alone(x) & (torch.as_tensor(dx) == 0)
    alone = alone | _scales_alone(y) & (torch.as_tensor(dy) == 0)
    return torch.where(alone & _normal(size), passed, _rounded(size, passed, 2))


def _normal(size: Tensor) -> Tensor:
    """Whether float32 has a result with all its bits; 0 may stand for a smaller one."""
    return size > VANISHING


def _scales_alone(factor: Any) -> Tensor:
    """Whether products with ``factor`` are not rounded: it is a power of two, or 0."""
    mantissa, _ = torch.frexp(torch.as_tensor(factor, dtype=torch.float64))
    return (mantissa.abs() == 0.5) | (mantissa == 0)


@_rule("mul", "mul_")
def _product(call: ConstantCall, size: Tensor) -> Tensor:
    (x, y), (dx, dy) = call.sizes[:2], call.bounds[:2]
    return _product_error(x, y, dx, dy, size)


@_rule("square")
def _square(call: ConstantCall, size: Tensor) -> Tensor:
    x, dx = call.sizes[0], call.bounds[0]
    return _product_error(x, x, dx, dx, size)


def _quotient_error(divisor: Any, dx: Any, dy: Any, size: Tensor) -> Tensor:
    """Also of the product with the reciprocal."""
    least = torch.as_tensor(abs(divisor) - dy)
    passed = (dx + size * dy) / least
    alone = _scales_alone(divisor) & (torch.as_tensor(dy) == 0) & _normal(size)
    return _infinite(least <= 0, torch.where(alone, passed, _rounded(size, passed, 4)))


@_rule("div", "div_")
def _quotient(call: ConstantCall, size: Tensor) -> Tensor:
    if call.keywords.get("rounding_mode") is not None and not call.exact:
        return _unknown(size)
    dx, dy = call.bounds[:2]
    return _quotient_error(call.sizes[1], dx, dy, size)


@_rule("reciprocal")
def _reciprocal(call: ConstantCall, size: Tensor) -> Tensor:
    return _quotient_error(call.sizes[0], 0.0, call.bounds[0], size)


@_rule("sqrt", "sqrt_")
def _root(call: ConstantCall, size: Tensor) -> Tensor:
    x, dx = call.arguments[0], call.bounds[0]
    passed = torch.where(dx > 0, dx / size, 0.0)  # sqrt(x) - sqrt(x - dx) <= dx / sqrt(x)
    return _infinite(x < dx, _rounded(size, passed, 4))


@_rule("rsqrt")
def _inverse_root(call: ConstantCall, size: Tensor) -> Tensor:
    least = call.arguments[0] - call.bounds[0]
    passed = least.rsqrt() - size
    return _infinite(least <= 0, passed + FUNCTION * (size + passed))


POWERS = {2.0: _square, 0.5: _root, -1.0: _reciprocal, -0.5: _inverse_root}


@_rule("pow")
def _power(call: ConstantCall, size: Tensor) -> Tensor:
    exponent = call.arguments[1]
    if not isinstance(exponent, Tensor) and float(exponent) in POWERS:
        return POWERS[float(exponent)](call, size)
    if not is_exact(call.errors):
        return _unknown(size)
    largest = float(torch.as_tensor(exponent).double().abs().max())
    return FUNCTION * (16 + 8 * largest) * size


@_rule("exp")
def _exponential(call: ConstantCall, size: Tensor) -> Tensor:
    passed = size * torch.expm1(call.bounds[0])
    return passed + FUNCTION * (size + passed)


@_rule("neg", "abs", "relu", "clamp", "clamp_min", "clamp_max")
def _kept(call: ConstantCall, size: Tensor) -> Tensor:
    """Lipschitz with constant 1 in the limits too, which are numbers or stored tensors."""
    if not is_exact(call.errors[1:]):
        return _unknown(size)
    limits = max((float(bound) for bound in call.bounds[1:] if isinstance(bound, float)), default=0)
    return torch.clamp_min(torch.as_tensor(call.bounds[0], dtype=torch.float64), limits)


@_rule("_to_copy")
def _converted(call: ConstantCall, size: Tensor) -> Tensor:
    to = call.keywords.get("dtype")
    wide = to in (None, torch.float32, torch.float64)  # a narrow type has steps
    passed = torch.as_tensor(call.bounds[0])
    if to is torch.float32:  # from float64
        kept = (passed == 0) & _in_float32(size)
        passed = torch.where(kept, passed, _rounded(size, passed, 1))
    kept_apart = call.real and call.exact  # what float32 evaluations do differs between runtimes
    narrow = to in NARROW and not kept_apart
    return passed if (wide or call.exact) and not narrow else _unknown(size)


def counted_up(value: Tensor) -> Tensor:
    """The error of start, start + delta, … in float32 where each number is added to the last.

    That is how ONNX Runtime computes Range; 0 where all numbers lie on a grid of float32.
    """
    value = value.double()
    largest = float(value.abs().max()) if value.numel() else 0.0
    on_grid = bool((value * GRID == (value * GRID).round()).all())
    share = 0.0 if on_grid and largest < 1 / (GRID * UNIT) else value.numel() * UNIT
    return torch.full_like(value, 1.01 * share * largest)


@_rule("floor", "ceil", "round", "trunc")
def _stepped(call: ConstantCall, size: Tensor) -> Tensor:
    """Exact where no step lies within the error."""
    if len(call.arguments) > 1 or call.keywords:
        return _unknown(size)
    x, dx = call.arguments[0], call.bounds[0]
    same = call.target(x - dx) == call.target(x + dx)
    return torch.where(same, 0.0, _unknown(size))


@_rule("scatter_add")
def _scattered(call: ConstantCall, size: Tensor) -> Tensor:
    """Sums of a few numbers, exact on a grid of float32."""
    kept, axis, places, added = call.arguments[:4]
    sizes = call.sizes[0].scatter_add(axis, places, call.sizes[3])
    sizes = _infinite(sizes >= LARGEST, sizes)
    passed = call.bounds[0].scatter_add(axis, places, call.bounds[3])
    on_grid = all(bool((x * GRID == (x * GRID).round()).all()) for x in (kept, added))
    if call.exact and on_grid and float(sizes.max()) < 1 / (GRID * UNIT):
        return torch.zeros_like(size)
    return _rounded(sizes, passed, places.shape[axis] + 2)


@_rule("maximum", "minimum")
def _larger(call: ConstantCall, size: Tensor) -> Tensor:
    zeros = torch.zeros_like(size)
    return torch.maximum(call.bounds[0] + zeros, call.bounds[1] + zeros)


@_rule("where")
def _chosen(call: ConstantCall, size: Tensor) -> Tensor:
    if call.errors[0] is not None:
        return _unknown(size)
    zeros = torch.zeros_like(size)
    return torch.where(call.arguments[0], call.bounds[1] + zeros, call.bounds[2] + zeros)


def _of_elements(call: ConstantCall) -> tuple[Tensor, int]:
    """The error of a sum of elements, and their number."""
    dim, keep = call.option("dim", 1, None), call.option("keepdim", 2, False)
    axes = list(range(call.arguments[0].ndim)) if dim in (None, []) else dim
    sizes = call.sizes[0].sum(axes, keepdim=keep)
    count = call.arguments[0].numel() // max(1, sizes.numel())
    sizes = _infinite(sizes >= LARGEST, sizes)
    return _rounded(sizes, call.bounds[0].sum(axes, keepdim=keep), count + 2), count


@_rule("sum")
def _total(call: ConstantCall, _: Tensor) -> Tensor:
    return _of_elements(call)[0]


@_rule("mean")
def _mean(call: ConstantCall, size: Tensor) -> Tensor:
    error, count = _of_elements(call)
    return error / count


@_rule("mm", "bmm", "matmul")
def _matrix(call: ConstantCall, _: Tensor) -> Tensor:
    (x, y), (dx, dy) = call.sizes[:2], call.bounds[:2]
    sizes = _infinite(x @ y >= LARGEST, x @ y)
    return _rounded(sizes, x @ dy + dx @ y + dx @ dy, x.shape[-1] + 2)


@_rule("addmm")
def _sum_of_product(call: ConstantCall, size: Tensor) -> Tensor:
    if call.keywords:  # beta, alpha
        return _unknown(size)
    (c, x, y), (dc, dx, dy) = call.sizes[:3], call.bounds[:3]
    sizes = _infinite(c + x @ y >= LARGEST, c + x @ y)
    return _rounded(sizes, dc + x @ dy + dx @ y + dx @ dy, x.shape[-1] + 3)


@_rule("linalg_vector_norm")
def _norm(call: ConstantCall, size: Tensor) -> Tensor:
    """Norms are Lipschitz; the euclidean one of n numbers has n + 2 roundings of its square."""
    if float(call.option("ord", 1, 2)) != 2:
        return _unknown(size)
    axes, keep = call.option("dim", 2, None), call.option("keepdim", 3, False)
    axes = list(range(call.arguments[0].ndim)) if axes is None else axes
    passed = call.bounds[0].square().sum(axes, keepdim=keep).sqrt() * (1 + 1e-9)
    count = call.arguments[0].numel() // max(1, passed.numel())
    vanished = math.sqrt(count * VANISHING)  # squares that are too small for float32
    size = _infinite(size.square() >= LARGEST, size)  # or too large
    return _rounded(size, passed, count + 4) + vanished
