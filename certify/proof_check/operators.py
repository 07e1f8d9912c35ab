"""What each operator of ONNX becomes: an affine map, a ReLU, or a constant.

Operators that only move elements are run on the numbers of the elements. Constants stay in their
own type; arithmetic on them that is rounded is refused, since runtimes may round it another way and
real arithmetic not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from .maps import Convolution, Factors, Matrix, Sum
from .model import MOST_ELEMENTS, Builder, Symbol, constant_of
from .rounding import SPARE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Numbers = NDArray[np.int64]
    Constant = NDArray[Any]
    Value = Symbol | Constant

RULES: dict[str, Callable[..., Symbol | NDArray[Any]]] = {}

BATCH_NORM_ROUNDINGS = 8
"""Roundings of the constants that batch normalisation computes from those stored."""


def _rule(*names: str) -> Callable[[Callable[..., Value]], Callable[..., Value]]:
    def enter(function: Callable[..., Value]) -> Callable[..., Value]:
        for name in names:
            RULES[name] = function
        return function

    return enter


@dataclass(frozen=True, slots=True, eq=False)
class Operator:
    """A node of the graph.

    Attributes:
        builder: receives what it becomes.
        node: the node.
        opset: version of the operators.
        sole_reader: whether no other node reads its first input.
    """

    builder: Builder
    node: onnx.NodeProto
    opset: int
    sole_reader: bool = False

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute of the node."""
        for each in self.node.attribute:
            if each.name == name:
                return helper.get_attribute_value(each)
        return default

    def integers(self, name: str, given: Value | None = None) -> list[int] | None:
        """Whole numbers that are an input in newer operator sets and an attribute in older ones."""
        if given is None:
            found = self.attribute(name)
            return None if found is None else [int(n) for n in np.atleast_1d(found)]
        if isinstance(given, Symbol):
            message = f"its {name} depends on the image"
            raise self.builder.refuse(message)
        return [int(n) for n in given.ravel()]

    def floats(self, value: Value) -> Array:
        """Stored numbers, which must be finite and float32.

        Raises:
            UncheckableModelError: they are not.
        """
        if isinstance(value, Symbol):
            message = "the checker needs a constant here"
            raise self.builder.refuse(message)
        if value.dtype != np.float32 or not bool(np.isfinite(value).all()):
            message = "its constants must be finite float32 numbers"
            raise self.builder.refuse(message)
        return value.astype(np.float64)


def _moved(of: Operator, values: Sequence[Value], move: Callable[..., Any]) -> Value:
    """``move`` of the values: each element of what it returns must be an element of one of them."""
    symbols = [value for value in values if isinstance(value, Symbol)]
    if not symbols:
        return np.asarray(move(*values))
    numbered: list[Any] = []
    pool: list[Array] = []
    first = constants = 0
    for value in values:
        if isinstance(value, Symbol):
            numbered.append(np.arange(first, first + value.size).reshape(value.shape))
            first += value.size
        else:
            pool.append(of.floats(value).ravel())
            numbered.append(-1 - np.arange(constants, constants + value.size).reshape(value.shape))
            constants += value.size
    index = np.asarray(move(*numbered), np.int64)
    return of.builder.chosen(symbols, index, np.concatenate(pool) if pool else None)


# --- elements that move ----------------------------------------------------------------------


@_rule("Identity", "Dropout")
def _identity(of: Operator, x: Value, *more: Value | None) -> Value:
    if of.node.op_type == "Dropout":
        trains = of.opset < 7 and not of.attribute("is_test", 0)
        switch = more[1] if len(more) > 1 else None
        if trains or isinstance(switch, Symbol) or (switch is not None and bool(switch.any())):
            message = "it is in training mode"
            raise of.builder.refuse(message)
    return x


WIDE = (np.dtype(np.float32), np.dtype(np.float64))
"""Types of numbers in which all runtimes compute."""


@_rule("Cast")
def _cast(of: Operator, x: Value) -> Value:
    kind = of.attribute("to")
    if isinstance(x, Symbol):
        if kind != TensorProto.FLOAT:
            message = "it rounds to another type"
            raise of.builder.refuse(message)
        return x
    to = helper.tensor_dtype_to_np_dtype(kind)
    if any(np.dtype(one).kind == "f" and one not in WIDE for one in (x.dtype, to)) or (
        kind == TensorProto.BFLOAT16
    ):
        message = "runtimes differ in how they compute with so few bits"
        raise of.builder.refuse(message)
    if not _holds(to, x):
        message = "it gives numbers to a type that cannot hold them"
        raise of.builder.refuse(message)
    found = x.astype(to)
    if kind == TensorProto.FLOAT and not bool((found == x).all()):
        message = "it rounds constants, which the stored ones then are not"
        raise of.builder.refuse(message)
    return found


def _holds(to: np.dtype[Any], x: Constant) -> bool:
    """Whether a conversion of ``x`` is defined, and float64 has its numbers if they are whole."""
    if x.dtype.kind == "f" and to.kind in "iu":
        kind, whole = np.iinfo(to), np.trunc(x.astype(np.float64))
        return bool(((whole >= kind.min) & (whole < float(kind.max) + 1)).all())
    if x.dtype.kind in "iu" and to.kind == "f":
        return bool(((x >= -(2**53)) & (x <= 2**53)).all())
    return True


@_rule("Constant")
def _constant(of: Operator) -> Value:
    for name, kind in (("value_float", np.float32), ("value_int", np.int64)):
        if (found := of.attribute(name)) is not None:
            return np.array(found, kind)
    for name, kind in (("value_floats", np.float32), ("value_ints", np.int64)):
        if (found := of.attribute(name)) is not None:
            return np.array(list(found), kind)
    return np.asarray(constant_of(of.attribute("value")))


@_rule("ConstantOfShape")
def _constant_of_shape(of: Operator, shape: Value) -> Value:
    sides = of.integers("shape", shape) or []
    stored = of.attribute("value")
    value = np.zeros(1, np.float32) if stored is None else np.asarray(constant_of(stored))
    if prod(sides) > MOST_ELEMENTS:
        message = "the model is too large for the checker"
        raise of.builder.refuse(message)
    return np.full(sides, value.ravel()[0])


@_rule("Shape")
def _shape(of: Operator, x: Value) -> Value:
    start, end = of.attribute("start", 0), of.attribute("end")
    return np.array(x.shape[start:end], np.int64)


@_rule("Reshape")
def _reshape(of: Operator, x: Value, shape: Value | None = None) -> Value:
    sides = of.integers("shape", shape)
    if sides is None:
        message = "it has no shape"
        raise of.builder.refuse(message)
    if not of.attribute("allowzero", 0):
        sides = [x.shape[at] if n == 0 else n for at, n in enumerate(sides)]
    return _moved(of, [x], lambda a: a.reshape(sides))


@_rule("Flatten")
def _flatten(of: Operator, x: Value) -> Value:
    axis = of.attribute("axis", 1)
    axis = axis + len(x.shape) if axis < 0 else axis
    return _moved(of, [x], lambda a: a.reshape(prod(x.shape[:axis]), -1))


@_rule("Transpose")
def _transpose(of: Operator, x: Value) -> Value:
    return _moved(of, [x], lambda a: a.transpose(of.integers("perm")))


@_rule("Squeeze")
def _squeeze(of: Operator, x: Value, axes: Value | None = None) -> Value:
    wanted = of.integers("axes", axes)
    return _moved(of, [x], lambda a: a.squeeze(None if wanted is None else tuple(wanted)))


@_rule("Unsqueeze")
def _unsqueeze(of: Operator, x: Value, axes: Value | None = None) -> Value:
    wanted = tuple(of.integers("axes", axes) or ())
    return _moved(of, [x], lambda a: np.expand_dims(a, wanted))


@_rule("Concat")
def _concat(of: Operator, *values: Value) -> Value:
    axis = of.attribute("axis")
    if axis is None:
        message = "it has no axis"
        raise of.builder.refuse(message)
    return _moved(of, values, lambda *parts: np.concatenate(parts, axis=axis))


@_rule("Gather")
def _gather(of: Operator, x: Value, index: Value) -> Value:
    if isinstance(index, Symbol):
        message = "its indices depend on the image"
        raise of.builder.refuse(message)
    axis = of.attribute("axis", 0)
    _require_small(of, prod(x.shape) // max(1, x.shape[axis]) * index.size)
    return _moved(of, [x], lambda a: np.take(a, index.astype(np.int64), axis=axis))


@_rule("Expand")
def _expand(of: Operator, x: Value, shape: Value) -> Value:
    sides = np.broadcast_shapes(x.shape, tuple(of.integers("shape", shape) or ()))
    _require_small(of, prod(sides))
    return _moved(of, [x], lambda a: np.broadcast_to(a, sides))


@_rule("Slice")
def _slice(of: Operator, x: Value, *given: Value) -> Value:
    names = ("starts", "ends", "axes", "steps")
    padded = [*given, *[None] * (4 - len(given))]
    starts, ends, axes, steps = (
        of.integers(name, value) for name, value in zip(names, padded, strict=True)
    )
    if starts is None or ends is None:
        message = "it has no starts or ends"
        raise of.builder.refuse(message)
    cuts = [slice(None)] * len(x.shape)
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = place if axes is None else axes[place]
        step = 1 if steps is None else steps[place]
        n = x.shape[axis]
        stop = None if step < 0 and end < -n else end
        cuts[axis] = slice(max(start, -n), stop, step)
    return _moved(of, [x], lambda a: a[tuple(cuts)])


@_rule("Pad")
def _pad(of: Operator, x: Value, pads: Value | None = None, *more: Value) -> Value:
    if of.attribute("mode", b"constant") != b"constant" or len(more) > 1:
        message = "the checker knows padding with a constant on all axes only"
        raise of.builder.refuse(message)
    value = np.array(of.attribute("value", 0.0), np.float32)
    if more and more[0] is not None:
        value = np.asarray(more[0], np.float32)
    widths = of.integers("pads", pads) or []
    n = len(x.shape)
    sides = [(widths[at], widths[n + at]) for at in range(n)]
    if min(widths) < 0:
        message = "the checker knows no negative padding"
        raise of.builder.refuse(message)
    _require_small(of, prod(side + sum(pad) for side, pad in zip(x.shape, sides, strict=True)))
    return _moved(of, [x, value.ravel()], lambda a, fill: np.pad(a, sides, constant_values=fill[0]))


def _require_small(of: Operator, size: int) -> None:
    if size > MOST_ELEMENTS:
        message = "the model is too large for the checker"
        raise of.builder.refuse(message)


# --- sums and products -----------------------------------------------------------------------


@_rule("Relu")
def _relu(of: Operator, x: Value) -> Value:
    return of.builder.relu(x) if isinstance(x, Symbol) else np.maximum(x, 0)


@_rule("LeakyRelu")
def _leaky_relu(of: Operator, x: Value) -> Value:
    """``a x + (1 - a) max(x, 0)``; an evaluation rounds the product with a alone."""
    if not isinstance(x, Symbol):
        message = "the checker needs the image in its first argument"
        raise of.builder.refuse(message)
    slope = float(np.float32(of.attribute("alpha", 0.01)))
    z = of.builder.cut(x)
    parts = [
        _times(of, each, np.array(factor))
        for each, factor in ((z, slope), (of.builder.relu(z), 1 - slope))
    ]
    return of.builder.affine(parts, x.shape, Sum((1, 1)))


@_rule("Clip")
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


@_rule("Neg")
def _neg(of: Operator, x: Value) -> Value:
    return of.builder.affine([x], x.shape, Sum((-1,))) if isinstance(x, Symbol) else -x


@_rule("Add")
def _add(of: Operator, x: Value, y: Value) -> Value:
    return _sum(of, x, y, 1)


@_rule("Sub")
def _sub(of: Operator, x: Value, y: Value) -> Value:
    return _sum(of, x, y, -1)


def _sum(of: Operator, x: Value, y: Value, sign: int) -> Value:
    """``x + sign y``, broadcast."""
    shape = _broadcast(of, x.shape, y.shape)
    _require_small(of, prod(shape))
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
    return _unrounded(of, x, y, np.add if sign > 0 else np.subtract)


@_rule("Mul")
def _mul(of: Operator, x: Value, y: Value) -> Value:
    if isinstance(x, Symbol) and isinstance(y, Symbol):
        message = "the checker has no bounds for products of two branches"
        raise of.builder.refuse(message)
    if isinstance(x, Symbol):
        return _times(of, x, of.floats(y))
    if isinstance(y, Symbol):
        return _times(of, y, of.floats(x))
    return _unrounded(of, x, y, np.multiply)


@_rule("Div")
def _div(of: Operator, x: Value, y: Value) -> Value:
    if isinstance(y, Symbol):
        message = "the checker has no bounds for quotients"
        raise of.builder.refuse(message)
    if not bool((y != 0).all()):
        message = "it divides by zero"
        raise of.builder.refuse(message)
    if isinstance(x, Symbol):
        return _times(of, x, 1 / of.floats(y))
    if not np.issubdtype(y.dtype, np.integer):
        return _unrounded(of, x, y, np.divide)
    return x // y + ((x % y != 0) & ((x < 0) != (y < 0)))  # toward zero


def _unrounded(of: Operator, x: Constant, y: Constant, operate: np.ufunc) -> Constant:
    """A result of constants, which must be exact if it is not of whole numbers."""
    found = np.asarray(operate(x, y))
    if np.issubdtype(found.dtype, np.integer):
        return found
    wide = found.astype(np.float64)
    if found.dtype != np.float32 or not _is_exact(wide, x, y, operate):
        message = "it computes constants with a rounding, of which the checker has no bounds"
        raise of.builder.refuse(message)
    return found


def _is_exact(found: Array, x: Constant, y: Constant, operate: np.ufunc) -> bool:
    """Whether float32 numbers ``found`` are the result of float32 numbers without rounding."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    if operate in (np.multiply, np.divide):  # a product of 24 and 24 bits has at most 53
        product, factor, other = (found, x, y) if operate is np.multiply else (x, found, y)
        return bool((product == factor * other).all())
    y = -y if operate is np.subtract else y
    part = found - x  # the rounding of a sum (Knuth 1969, section 4.2.2)
    return bool((x + y == found).all()) and not bool(((x - (found - part)) + (y - part)).any())


def _broadcast(of: Operator, first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    if first != second and of.attribute("broadcast") is not None:
        message = "the checker does not know how operator sets before 7 broadcast"
        raise of.builder.refuse(message)
    return np.broadcast_shapes(first, second)


def _times(of: Operator, x: Symbol, factor: Array) -> Symbol:
    shape = _broadcast(of, x.shape, factor.shape)
    _require_small(of, prod(shape))
    spread = np.ascontiguousarray(np.broadcast_to(factor, shape)).ravel()
    wide = of.builder.expanded(x, shape)
    return of.builder.affine([wide], shape, Factors(spread), spare=SPARE + 1)


@_rule("MatMul")
def _matmul(of: Operator, x: Value, y: Value) -> Value:
    if isinstance(x, Symbol) and not isinstance(y, Symbol):
        return _dense(of, x, of.floats(y))
    if isinstance(y, Symbol) and not isinstance(x, Symbol):
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
    _require_small(of, prod(shape))
    offset = None if bias is None else np.broadcast_to(bias, shape)
    return of.builder.affine([x], shape, Matrix(np.ascontiguousarray(matrix)), offset)


def _turned(of: Operator, x: Symbol) -> Symbol:
    """``x`` with its last two axes exchanged."""
    numbers = np.arange(x.size).reshape(x.shape)
    return of.builder.chosen([x], numbers.swapaxes(-1, -2))


@_rule("Gemm")
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
    scaled = _times(of, scaled, np.array(float(np.float32(alpha))))
    if c is None:
        return scaled
    offset = float(np.float32(beta)) * np.broadcast_to(of.floats(c), scaled.shape)
    return of.builder.affine([scaled], scaled.shape, Sum((1,)), offset)


@_rule("BatchNormalization")
def _batch_norm(of: Operator, x: Value, *given: Value) -> Value:
    trains = of.attribute("training_mode", 0) or any(of.node.output[1:])
    trains = trains or (of.opset < 7 and not of.attribute("is_test", 0))
    if trains or not isinstance(x, Symbol):
        message = "the checker knows batch normalisation of images in inference only"
        raise of.builder.refuse(message)
    sides = (1, -1, *[1] * (len(x.shape) - 2))
    scale, bias, mean, variance = (of.floats(each).reshape(sides) for each in given)
    spread = variance + float(np.float32(of.attribute("epsilon", 1e-5)))
    if not bool((spread > 0).all()):
        message = "its variance is not positive"
        raise of.builder.refuse(message)
    centred = of.builder.affine([x], x.shape, Sum((1,)), -np.broadcast_to(mean, x.shape))
    factor = np.broadcast_to(scale / np.sqrt(spread), x.shape).ravel()
    offset = np.broadcast_to(bias, x.shape)
    return of.builder.affine(
        [centred], x.shape, Factors(factor), offset, spare=BATCH_NORM_ROUNDINGS
    )


# --- windows ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Windows:
    """Windows over the spatial axes of an image, as attributes of a node describe them."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...]
    out: tuple[int, ...]

    @classmethod
    def of(cls, of: Operator, sides: tuple[int, ...], kernel: tuple[int, ...]) -> _Windows:
        """The windows of ``kernel`` elements over ``sides``."""
        n = len(sides)
        stride = tuple(of.integers("strides") or [1] * n)
        dilation = tuple(of.integers("dilations") or [1] * n)
        if not len(stride) == len(dilation) == len(kernel) == n or min(*stride, *dilation) < 1:
            message = "its windows make no sense"
            raise of.builder.refuse(message)
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        automatic = of.attribute("auto_pad", b"NOTSET")
        pads = of.integers("pads") or [0] * (2 * n)
        if automatic in (b"SAME_UPPER", b"SAME_LOWER"):
            wanted = [-(-side // s) for side, s in zip(sides, stride, strict=True)]
            total = [
                max(0, (o - 1) * s + r - side)
                for o, s, r, side in zip(wanted, stride, reach, sides, strict=True)
            ]
            before = [t // 2 if automatic == b"SAME_UPPER" else t - t // 2 for t in total]
            pads = [*before, *(t - b for t, b in zip(total, before, strict=True))]
        elif automatic == b"VALID":
            pads = [0] * (2 * n)
        if len(pads) != 2 * n or min(pads) < 0:
            message = "its padding makes no sense"
            raise of.builder.refuse(message)
        out = tuple(
            (side + pads[at] + pads[n + at] - reach[at]) // stride[at] + 1
            for at, side in enumerate(sides)
        )
        if min(out) < 1:
            message = "its windows are larger than the image"
            raise of.builder.refuse(message)
        return cls(kernel, stride, dilation, tuple(pads[:n]), out)

    def elements(self, numbers: Numbers) -> Numbers:
        """Elements of every window, ``(1, c, *out, kernel elements)``; -1 in the padding."""
        sizes = zip(
            *(numbers.shape[2:], self.out, self.kernel, self.stride, self.dilation, self.padding),
            strict=True,
        )
        widths = [(p, max(0, (o - 1) * s + (k - 1) * d + 1 - p - n)) for n, o, k, s, d, p in sizes]
        padded = np.pad(numbers, [(0, 0), (0, 0), *widths], constant_values=-1)
        found = []
        for place in product(*map(range, self.kernel)):
            cut = tuple(
                slice(i * d, i * d + (o - 1) * s + 1, s)
                for i, d, o, s in zip(place, self.dilation, self.out, self.stride, strict=True)
            )
            found.append(padded[(slice(None), slice(None), *cut)])
        return np.stack(found, axis=-1)

    def map(self, weight: Array, sides: tuple[int, ...]) -> Convolution:
        """The convolution by ``weight (groups, m, c, kernel elements)``."""
        return Convolution(
            weight, sides, self.out, self.kernel, self.stride, self.dilation, self.padding
        )


@_rule("Conv")
def _conv(of: Operator, x: Value, weight: Value, bias: Value | None = None) -> Value:
    if not isinstance(x, Symbol) or x.shape[0] != 1:
        message = "the checker knows convolutions of one image"
        raise of.builder.refuse(message)
    kernel = of.floats(weight)
    groups, sides = of.attribute("group", 1), x.shape[2:]
    m, c = kernel.shape[:2]
    if groups < 1 or m % groups or c * groups != x.shape[1]:
        message = "its channels do not fit"
        raise of.builder.refuse(message)
    windows = _Windows.of(of, sides, kernel.shape[2:])
    shape = (1, m, *windows.out)
    _require_small(of, prod(shape))
    offset = None
    if bias is not None:
        column = of.floats(bias).reshape(1, m, *[1] * len(sides))
        offset = np.broadcast_to(column, shape)
    linear = windows.map(kernel.reshape(groups, m // groups, c, -1), sides)
    return of.builder.affine([x], shape, linear, offset)


@_rule("AveragePool")
def _average_pool(of: Operator, x: Value) -> Value:
    if not isinstance(x, Symbol) or x.shape[0] != 1 or of.attribute("ceil_mode", 0):
        message = "the checker knows average pooling of one image, rounded down"
        raise of.builder.refuse(message)
    sides, channels = x.shape[2:], x.shape[1]
    windows = _Windows.of(of, sides, tuple(of.integers("kernel_shape") or ()))
    count = prod(windows.kernel)
    ones = windows.map(np.ones((1, 1, 1, count)), sides)
    inside = np.full(prod(windows.out), float(count))
    if not of.attribute("count_include_pad", 0):
        inside = ones.forward([np.ones((1, prod(sides)))])[0]
    if not bool((inside > 0).all()):
        message = "a window lies in the padding"
        raise of.builder.refuse(message)
    shape = (1, channels, *windows.out)
    linear = windows.map(np.ones((channels, 1, 1, count)), sides)
    total = of.builder.affine([x], shape, linear)
    return _times(of, total, (1 / inside).reshape(1, 1, *windows.out))


@_rule("MaxPool")
def _max_pool(of: Operator, x: Value) -> Value:
    plain = not of.attribute("ceil_mode", 0) and not any(of.node.output[1:])
    if not isinstance(x, Symbol) or x.shape[0] != 1 or not plain:
        message = "the checker knows max pooling of one image, rounded down"
        raise of.builder.refuse(message)
    windows = _Windows.of(of, x.shape[2:], tuple(of.integers("kernel_shape") or ()))
    _require_small(of, x.shape[1] * prod(windows.out) * prod(windows.kernel))
    numbers = windows.elements(np.arange(x.size).reshape(x.shape))
    least = np.where(numbers < 0, x.size, numbers).min(-1, keepdims=True)
    if bool((least == x.size).any()):
        message = "a window lies in the padding"
        raise of.builder.refuse(message)
    filled = np.where(numbers < 0, least, numbers)  # a copy changes no maximum
    build = of.builder
    if of.sole_reader and x.at in build.relus[-1:]:  # the maximum of ReLUs is that of a maximum
        before = build.before_relu(x)
        return build.relu(build.largest(build.chosen([before], filled)))
    return build.largest(build.chosen([build.cut(x)], filled))


@_rule("GlobalAveragePool")
def _global_average_pool(of: Operator, x: Value) -> Value:
    return _mean(of, x, list(range(2, len(x.shape))), keep=True)


@_rule("ReduceMean")
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
    found = _times(of, total, np.array([[1 / count]]))
    kept = [1 if axis in wanted else n for axis, n in enumerate(x.shape)]
    shape = kept if keep else [x.shape[axis] for axis in others]
    return Symbol(found.at, tuple(shape))
