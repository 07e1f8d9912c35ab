"""Sums, products and piecewise linear functions: affine maps and ReLUs."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from .constants import unrounded
from .maps import Factors, Matrix, Sum
from .network import Symbol
from .replaced import require_columns
from .rounding import SPARE
from .rules import require_small, rule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .rules import Operator

    Array = NDArray[np.float64]
    Constant = NDArray[Any]
    Value = Symbol | Constant

BATCH_NORM_ROUNDINGS = 8
"""Roundings of the constants that batch normalisation computes from those stored."""


@rule("Relu")
def _relu(of: Operator, x: Value) -> Value:
    return of.builder.relu(x) if isinstance(x, Symbol) else np.maximum(x, 0)


@rule("LeakyRelu")
def _leaky_relu(of: Operator, x: Value) -> Value:
    """``a x + (1 - a) max(x, 0)``; an evaluation rounds the product with a alone."""
    if not isinstance(x, Symbol):
        message = "the checker needs the image in its first argument"
        raise of.builder.refuse(message)
    slope = float(np.float32(of.attribute("alpha", 0.01)))
    z = of.builder.cut(x)
    parts = [
        times(of, each, np.array(factor))
        for each, factor in ((z, slope), (of.builder.relu(z), 1 - slope))
    ]
    return of.builder.affine(parts, x.shape, Sum((1, 1)))


@rule("Clip")
def _clip(of: Operator, x: Value, low: Value | None = None, high: Value | None = None) -> Value:
    if not isinstance(x, Symbol):
        message = "the checker needs the image in its first argument"
        raise of.builder.refuse(message)
    below, above = (_limit(of, name, given) for name, given in (("min", low), ("max", high)))
    return of.builder.clipped(x, below, above)


def _limit(of: Operator, name: str, given: Value | None) -> float | None:
    """A limit of a clip, an input in newer operator sets and an attribute in older ones."""
    if given is None:
        stored = of.attribute(name)
        return None if stored is None else float(np.float32(stored))
    (found,) = of.floats(given).ravel()
    return float(found)


@rule("Neg")
def _neg(of: Operator, x: Value) -> Value:
    return of.builder.affine([x], x.shape, Sum((-1,))) if isinstance(x, Symbol) else -x


@rule("Add")
def _add(of: Operator, x: Value, y: Value) -> Value:
    return _sum(of, x, y, 1)


@rule("Sub")
def _sub(of: Operator, x: Value, y: Value) -> Value:
    return _sum(of, x, y, -1)


def _sum(of: Operator, x: Value, y: Value, sign: int) -> Value:
    """``x + sign y``, broadcast."""
    shape = _broadcast(of, x.shape, y.shape)
    require_small(of, prod(shape))
    build = of.builder
    if isinstance(x, Symbol) and isinstance(y, Symbol):
        both = [build.expanded(x, shape), build.expanded(y, shape)]
        return build.affine(both, shape, Sum((1, sign)))
    if isinstance(x, Symbol):
        offset = sign * np.broadcast_to(of.floats(y), shape)
        return build.affine([build.expanded(x, shape)], shape, Sum((1,)), offset)
    if isinstance(y, Symbol):
        offset = np.broadcast_to(of.floats(x), shape)
        return build.affine([build.expanded(y, shape)], shape, Sum((sign,)), offset)
    return unrounded(of, x, y, np.add if sign > 0 else np.subtract)


@rule("Mul")
def _mul(of: Operator, x: Value, y: Value) -> Value:
    if isinstance(x, Symbol) and isinstance(y, Symbol):
        message = "the checker has no bounds for products of two branches"
        raise of.builder.refuse(message)
    if isinstance(x, Symbol):
        return times(of, x, of.floats(y))
    if isinstance(y, Symbol):
        return times(of, y, of.floats(x))
    return unrounded(of, x, y, np.multiply)


@rule("Div")
def _div(of: Operator, x: Value, y: Value) -> Value:
    if isinstance(y, Symbol):
        message = "the checker has no bounds for quotients"
        raise of.builder.refuse(message)
    if not bool((y != 0).all()):
        message = "it divides by zero"
        raise of.builder.refuse(message)
    if isinstance(x, Symbol):
        return times(of, x, 1 / of.floats(y))
    if not np.issubdtype(y.dtype, np.integer):
        return unrounded(of, x, y, np.divide)
    return x // y + ((x % y != 0) & ((x < 0) != (y < 0)))  # toward zero


def _broadcast(of: Operator, first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    if first != second and of.attribute("broadcast") is not None:
        message = "the checker does not know how operator sets before 7 broadcast"
        raise of.builder.refuse(message)
    return np.broadcast_shapes(first, second)


def times(of: Operator, x: Symbol, factor: Array) -> Symbol:
    """``x`` times constants, broadcast."""
    shape = _broadcast(of, x.shape, factor.shape)
    require_small(of, prod(shape))
    spread = np.ascontiguousarray(np.broadcast_to(factor, shape)).ravel()
    wide = of.builder.expanded(x, shape)
    return of.builder.affine([wide], shape, Factors(spread), spare=SPARE + 1)


@rule("MatMul")
def _matmul(of: Operator, x: Value, y: Value) -> Value:
    if isinstance(x, Symbol) and not isinstance(y, Symbol):
        return _dense(of, x, of.floats(y))
    if isinstance(y, Symbol) and not isinstance(x, Symbol):
        if x.ndim > len(y.shape):  # its axes in front are those of the output
            message = "its shapes do not fit"
            raise of.builder.refuse(message)
        return _turned(of, _dense(of, _turned(of, y), _matrix(of, of.floats(x)).T))
    message = "the checker has no bounds for products of two branches"
    raise of.builder.refuse(message)


def _matrix(of: Operator, weight: Array) -> Array:
    if weight.ndim < 2 or prod(weight.shape[:-2]) != 1:
        message = "the checker knows products with one matrix only"
        raise of.builder.refuse(message)
    return weight.reshape(weight.shape[-2:])


def _dense(of: Operator, x: Symbol, weight: Array, bias: Array | None = None) -> Symbol:
    """``x @ weight + bias``; a weight with axes of length 1 in front adds them to the output."""
    matrix = _matrix(of, weight)
    if x.shape[-1] != matrix.shape[0] or weight.ndim > len(x.shape):
        message = "its shapes do not fit"
        raise of.builder.refuse(message)
    shape = (*x.shape[:-1], matrix.shape[1])
    require_small(of, prod(shape))
    offset = None if bias is None else np.broadcast_to(bias, shape)
    return of.builder.affine([x], shape, Matrix(np.ascontiguousarray(matrix)), offset)


def _turned(of: Operator, x: Symbol) -> Symbol:
    """``x`` with its last two axes exchanged."""
    numbers = np.arange(x.size).reshape(x.shape)
    return of.builder.chosen([x], numbers.swapaxes(-1, -2))


@rule("Gemm")
def _gemm(of: Operator, x: Value, y: Value, c: Value | None = None) -> Value:
    if not isinstance(x, Symbol) or len(x.shape) != 2:
        message = "the checker needs the image in its first argument"
        raise of.builder.refuse(message)
    alpha, beta = of.attribute("alpha", 1.0), of.attribute("beta", 1.0)
    weight = of.floats(y)
    if of.attribute("transA", 0):
        x = _turned(of, x)
    if of.attribute("transB", 0):
        weight = weight.T
    if alpha == beta == 1:
        return _dense(of, x, weight, None if c is None else of.floats(c))
    scaled = _dense(of, x, weight)
    scaled = times(of, scaled, np.array(float(np.float32(alpha))))
    if c is None:
        return scaled
    offset = float(np.float32(beta)) * np.broadcast_to(of.floats(c), scaled.shape)
    return of.builder.affine([scaled], scaled.shape, Sum((1,)), offset)


@rule("BatchNormalization")
def _batch_norm(of: Operator, x: Value, *given: Value) -> Value:
    trains = of.attribute("training_mode", 0) or any(of.node.output[1:])
    trains = trains or (of.opset < 7 and not of.attribute("is_test", 0))
    if trains or not isinstance(x, Symbol):
        message = "the checker knows batch normalisation of images in inference only"
        raise of.builder.refuse(message)
    sides = (1, -1, *[1] * (len(x.shape) - 2))
    scale, bias, mean, variance = (of.floats(each).reshape(sides) for each in given)
    spread = variance + float(np.float32(of.attribute("epsilon", 1e-5)))
    if not bool((variance >= 0).all() and (spread > 0).all()):
        message = "its variance is not positive"
        raise of.builder.refuse(message)
    require_columns(of, x)
    centred = of.builder.affine([x], x.shape, Sum((1,)), -np.broadcast_to(mean, x.shape))
    factor = np.broadcast_to(scale / np.sqrt(spread), x.shape).ravel()
    offset = np.broadcast_to(bias, x.shape)
    return of.builder.affine(
        [centred], x.shape, Factors(factor), offset, spare=BATCH_NORM_ROUNDINGS
    )


@rule("GlobalAveragePool")
def _global_average_pool(of: Operator, x: Value) -> Value:
    return _mean(of, x, list(range(2, len(x.shape))), keep=True)


@rule("ReduceMean")
def _reduce_mean(of: Operator, x: Value, axes: Value | None = None) -> Value:
    wanted = of.integers("axes", axes)
    if not wanted:
        message = "the checker needs its axes"
        raise of.builder.refuse(message)
    return _mean(of, x, wanted, keep=bool(of.attribute("keepdims", 1)))


def _mean(of: Operator, x: Value, axes: Sequence[int], *, keep: bool) -> Value:
    """Mean of ``x`` along ``axes``."""
    if not isinstance(x, Symbol):
        message = "the checker needs the image in its first argument"
        raise of.builder.refuse(message)
    wanted = sorted(axis % len(x.shape) for axis in axes)
    others = [axis for axis in range(len(x.shape)) if axis not in wanted]
    count = prod(x.shape[axis] for axis in wanted)
    numbers = np.arange(x.size).reshape(x.shape).transpose(*others, *wanted)
    flat = of.builder.chosen([x], numbers.reshape(-1, count))
    total = _dense(of, flat, np.ones((count, 1)))
    found = times(of, total, np.array([[1 / count]]))
    kept = [1 if axis in wanted else n for axis, n in enumerate(x.shape)]
    shape = kept if keep else [x.shape[axis] for axis in others]
    return Symbol(found.at, tuple(shape))
