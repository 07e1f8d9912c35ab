"""The float32 error of each operation on constants, from those of its arguments.

A rule takes a call and the absolute values of its result, and gives the error of that.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .precision import FUNCTION, LARGEST, NARROW, UNIT, VANISHING, in_float32, is_exact, unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from .constant_errors import ConstantCall

GRID = 2.0**12
"""Multiples of 1 / GRID that are not too large are added without rounding."""

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
    if call.keywords.get("rounding_mode") is not None:
        return unknown(size)
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
        return unknown(size)
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
        return unknown(size)
    limits = max((float(bound) for bound in call.bounds[1:] if isinstance(bound, float)), default=0)
    return torch.clamp_min(torch.as_tensor(call.bounds[0], dtype=torch.float64), limits)


@_rule("_to_copy")
def _converted(call: ConstantCall, size: Tensor) -> Tensor:
    to = call.keywords.get("dtype")
    wide = to in (None, torch.float32, torch.float64)  # a narrow type has steps
    passed = torch.as_tensor(call.bounds[0])
    if to is torch.float32:  # from float64
        kept = (passed == 0) & in_float32(size)
        passed = torch.where(kept, passed, _rounded(size, passed, 1))
    kept_apart = call.real and call.exact  # what float32 evaluations do differs between runtimes
    narrow = to in NARROW and not kept_apart
    return passed if (wide or call.exact) and not narrow else unknown(size)


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
        return unknown(size)
    x, dx = call.arguments[0], call.bounds[0]
    same = call.target(x - dx) == call.target(x + dx)
    return torch.where(same, 0.0, unknown(size))


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
        return unknown(size)
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
        return unknown(size)
    (c, x, y), (dc, dx, dy) = call.sizes[:3], call.bounds[:3]
    sizes = _infinite(c + x @ y >= LARGEST, c + x @ y)
    return _rounded(sizes, dc + x @ dy + dx @ y + dx @ dy, x.shape[-1] + 3)


@_rule("linalg_vector_norm")
def _norm(call: ConstantCall, size: Tensor) -> Tensor:
    """Norms are Lipschitz; the euclidean one of n numbers has n + 2 roundings of its square."""
    if float(call.option("ord", 1, 2)) != 2:
        return unknown(size)
    axes, keep = call.option("dim", 2, None), call.option("keepdim", 3, False)
    axes = list(range(call.arguments[0].ndim)) if axes is None else axes
    passed = call.bounds[0].square().sum(axes, keepdim=keep).sqrt() * (1 + 1e-9)
    count = call.arguments[0].numel() // max(1, passed.numel())
    vanished = math.sqrt(count * VANISHING)  # squares that are too small for float32
    size = _infinite(size.square() >= LARGEST, size)  # or too large
    return _rounded(size, passed, count + 4) + vanished
