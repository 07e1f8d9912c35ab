"""Windows over an image: convolutions and pools."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from .maps import Convolution
from .network import Symbol
from .replaced import require_no_lost_zeros
from .rules import require_small, rule
from .sums import times

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .rules import Operator

    Array = NDArray[np.float64]
    Numbers = NDArray[np.int64]
    Constant = NDArray[Any]
    Value = Symbol | Constant


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


@rule("Conv")
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
    require_small(of, prod(shape))
    offset = None
    if bias is not None:
        column = of.floats(bias).reshape(1, m, *[1] * len(sides))
        offset = np.broadcast_to(column, shape)
    linear = windows.map(kernel.reshape(groups, m // groups, c, -1), sides)
    return of.builder.affine([x], shape, linear, offset)


@rule("AveragePool")
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
    return times(of, total, (1 / inside).reshape(1, 1, *windows.out))


@rule("MaxPool")
def _max_pool(of: Operator, x: Value) -> Value:
    plain = not of.attribute("ceil_mode", 0) and not any(of.node.output[1:])
    if not isinstance(x, Symbol) or x.shape[0] != 1 or not plain:
        message = "the checker knows max pooling of one image, rounded down"
        raise of.builder.refuse(message)
    require_no_lost_zeros(of, x)
    windows = _Windows.of(of, x.shape[2:], tuple(of.integers("kernel_shape") or ()))
    require_small(of, x.shape[1] * prod(windows.out) * prod(windows.kernel))
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
